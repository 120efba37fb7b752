"""From losses to promises: p-values, a fixed-sequence test, a certificate. Pure functions on NumPy and SciPy."""

from calm_bench.calibration.betting import upper_bound
from calm_bench.calibration.certificate import Certificate, certify
from calm_bench.calibration.certification import Grid, Outcomes, Promise, Settings, promises
from calm_bench.calibration.clusters import cluster_means, cluster_numbers
from calm_bench.calibration.held_out import HeldOut, held_out
from calm_bench.calibration.losses import risk_loss, textual_loss
from calm_bench.calibration.methods import (
    METHODS,
    ConformalRiskControl,
    LearnThenTest,
    Method,
    Naive,
    UpperConfidenceBound,
    Verdict,
)
from calm_bench.calibration.power import nearest_delta, smallest_n
from calm_bench.calibration.procedures import bonferroni, fixed_sequence, last_accepted
from calm_bench.calibration.pvalues import hoeffding, hoeffding_bentkus, wsr
from calm_bench.calibration.trials import Trials, trials

__all__ = [
    "METHODS",
    "Certificate",
    "ConformalRiskControl",
    "Grid",
    "HeldOut",
    "LearnThenTest",
    "Method",
    "Naive",
    "Outcomes",
    "Promise",
    "Settings",
    "Trials",
    "UpperConfidenceBound",
    "Verdict",
    "bonferroni",
    "certify",
    "cluster_means",
    "cluster_numbers",
    "fixed_sequence",
    "held_out",
    "hoeffding",
    "hoeffding_bentkus",
    "last_accepted",
    "nearest_delta",
    "promises",
    "risk_loss",
    "smallest_n",
    "textual_loss",
    "trials",
    "upper_bound",
    "wsr",
]
