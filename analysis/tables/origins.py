"""Whose numbers a row holds, in every table."""

OURS, PUBLISHED = "this run", "published"
