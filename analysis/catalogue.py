"""Every figure and table that records may allow, in the order of the index; each stands beside its function."""

from analysis.plots.card import OUTPUTS as CARD
from analysis.plots.coloured import OUTPUTS as COLOURED
from analysis.plots.consistency import OUTPUTS as CONSISTENCY
from analysis.plots.decay_points import OUTPUTS as DECAY_POINTS
from analysis.plots.exits import OUTPUTS as EXITS
from analysis.plots.frontier import OUTPUTS as FRONTIER
from analysis.plots.methods import OUTPUTS as METHODS
from analysis.plots.perturbation import OUTPUTS as PERTURBATION
from analysis.plots.promises import OUTPUTS as PROMISES
from analysis.plots.reliability import OUTPUTS as RELIABILITY
from analysis.plots.seconds import OUTPUTS as SECONDS
from analysis.tables.certified import OUTPUTS as CERTIFIED
from analysis.tables.classifier_f1 import OUTPUTS as CLASSIFIER_F1
from analysis.tables.efficiency import OUTPUTS as EFFICIENCY
from analysis.tables.lengths import OUTPUTS as LENGTHS
from analysis.tables.scores import OUTPUTS as SCORES
from analysis.tables.speed import OUTPUTS as SPEED
from analysis.tables.state_copying import OUTPUTS as STATE_COPYING

CATALOGUE = (
    *CARD,
    *SCORES,
    *EFFICIENCY,
    *CERTIFIED,
    *LENGTHS,
    *CLASSIFIER_F1,
    *STATE_COPYING,
    *PERTURBATION,
    *DECAY_POINTS,
    *FRONTIER,
    *CONSISTENCY,
    *COLOURED,
    *EXITS,
    *RELIABILITY,
    *PROMISES,
    *METHODS,
    *SECONDS,
    *SPEED,
)
