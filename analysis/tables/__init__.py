"""One function per table, each from tidy frames to a tidy frame, and the three formats they are written in."""

from analysis.tables.certified import certified, certified_shown
from analysis.tables.classifier_f1 import classifier_f1, classifier_f1_note, classifier_f1_shown
from analysis.tables.efficiency import efficiency, efficiency_note, efficiency_shown, missing
from analysis.tables.formats import Table, write_table
from analysis.tables.lengths import text_lengths, text_lengths_note, text_lengths_shown
from analysis.tables.scores import scores, scores_shown
from analysis.tables.state_copying import state_copying, state_copying_note, state_copying_shown

__all__ = [
    "Table",
    "certified",
    "certified_shown",
    "classifier_f1",
    "classifier_f1_note",
    "classifier_f1_shown",
    "efficiency",
    "efficiency_note",
    "efficiency_shown",
    "missing",
    "scores",
    "scores_shown",
    "state_copying",
    "state_copying_note",
    "state_copying_shown",
    "text_lengths",
    "text_lengths_note",
    "text_lengths_shown",
    "write_table",
]
