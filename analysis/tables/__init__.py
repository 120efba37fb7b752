"""One function per table, each from a tidy frame to a tidy frame, and the three formats they are written in."""

from analysis.tables.certified import certified
from analysis.tables.efficiency import efficiency, efficiency_wide, missing
from analysis.tables.formats import write_table

__all__ = ["certified", "efficiency", "efficiency_wide", "missing", "write_table"]
