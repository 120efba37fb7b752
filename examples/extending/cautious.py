"""A calibration method of your own: which thresholds may be promised."""

from dataclasses import dataclass
from typing import ClassVar

from calm_bench.calibration import METHODS, Method, Verdict
from calm_bench.calibration.checks import BoolArray, FloatArray
from calm_bench.calibration.methods import Guarantee


@dataclass(frozen=True)
class Cautious(Method):
    """Learn then Test for a tolerance smaller by the factor `share`: the promise is kept with room to spare."""

    share: float
    name: ClassVar[str] = "cautious"
    guarantee: ClassVar[Guarantee] = "probability"

    def judge(self, losses: FloatArray, parts: BoolArray, delta: float, epsilon: float) -> Verdict:
        """Which of K thresholds, descending, to accept on each part: `losses` (K, n), `parts` (trials, n)."""
        return METHODS["ltt"].judge(losses, parts, self.share * delta, epsilon)
