"""The report: one self-contained page that a reader can open without a network, a server or an account."""

from analysis.report.page import own_pages, write

__all__ = ["own_pages", "write"]
