"""One function per table, each from a tidy frame to a tidy frame, and the three formats they are written in."""

from analysis.tables.certified import certified, certified_shown
from analysis.tables.efficiency import efficiency, efficiency_wide, missing, note
from analysis.tables.formats import write_table

__all__ = ["certified", "certified_shown", "efficiency", "efficiency_wide", "missing", "note", "write_table"]
