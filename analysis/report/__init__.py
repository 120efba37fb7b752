"""The report: one self-contained page that a reader can open without a network, a server or an account."""

from analysis.report.page import write

__all__ = ["write"]
