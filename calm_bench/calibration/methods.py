"""Four ways to say which thresholds keep the mean loss at most delta, and what each of them promises.

Every method judges `losses` (K, n) on each of `parts` (trials, n), the examples it may calibrate on, as many in each. A
new method is a class below `Method` with its three members; `certify` and `trials` take an object as well as a name.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np

from calm_bench.calibration import pvalues
from calm_bench.calibration.checks import BoolArray, FloatArray, check_choice
from calm_bench.calibration.parts import part_sizes, part_totals
from calm_bench.calibration.procedures import bonferroni, fixed_sequence
from calm_bench.errors import InputError

Guarantee = Literal["probability", "expectation", "none"]


class Verdict(NamedTuple):
    """`accepted` (trials, K), of which the last is chosen, and the `p_values` (trials, K) it rests on, if any."""

    accepted: BoolArray
    p_values: FloatArray | None


@runtime_checkable
class Method(Protocol):
    """What `certify` and `trials` need of a calibration method."""

    @property
    def name(self) -> str:
        """As recorded and plotted."""

    @property
    def guarantee(self) -> Guarantee:
        """How the mean loss of the chosen threshold is held: with probability 1 - epsilon, in expectation, or not."""

    def judge(self, losses: FloatArray, parts: BoolArray, delta: float, epsilon: float) -> Verdict:
        """Judge the K thresholds, strictly descending, on each part. `losses` (K, n) and probabilities are checked."""


@dataclass(frozen=True)
class LearnThenTest(Method):
    """Learn then Test (Angelopoulos et al. 2021), the paper's method: a p-value per threshold, then multiple testing.

    With probability 1 - epsilon the mean loss of the chosen threshold is at most delta, however the losses depend on
    the threshold. `bound`: "hoeffding_bentkus" (the paper's), "hoeffding" (Eq. 9) or "wsr". `procedure`:
    "fixed_sequence" (the paper's) or "bonferroni". Raises InputError on another name.
    """

    bound: str = "hoeffding_bentkus"
    procedure: str = "fixed_sequence"

    guarantee: ClassVar[Guarantee] = "probability"

    def __post_init__(self) -> None:
        check_choice("bound", self.bound, list(_BOUNDS))
        check_choice("procedure", self.procedure, list(_PROCEDURES))

    @property
    def name(self) -> str:
        choices = [(self.bound, "hoeffding_bentkus"), (self.procedure, "fixed_sequence")]
        return "-".join(["ltt", *(chosen for chosen, default in choices if chosen != default)])

    def judge(self, losses: FloatArray, parts: BoolArray, delta: float, epsilon: float) -> Verdict:
        p_values = _BOUNDS[self.bound](losses, parts, delta)
        return Verdict(_PROCEDURES[self.procedure](p_values, epsilon), p_values)


@dataclass(frozen=True)
class UpperConfidenceBound(Method):
    """Go down while an upper confidence bound of the mean loss is at most delta (Bates et al. 2021; "Fast yet Safe").

    With probability 1 - epsilon the mean loss of the chosen threshold is at most delta: stopping at the first bound
    above delta is a fixed-sequence test, so the losses need not be monotone in the threshold. The bound is the betting
    one, `betting.upper_bound`; it is at most delta exactly when the betting p-value is at most epsilon, which is
    quicker to ask.
    """

    name: ClassVar[str] = "ucb"
    guarantee: ClassVar[Guarantee] = "probability"

    def judge(self, losses: FloatArray, parts: BoolArray, delta: float, epsilon: float) -> Verdict:
        accepted = np.zeros((len(parts), len(losses)), np.bool_)
        going = np.arange(len(parts))  # trials that have accepted all so far: what follows a failure need not be known
        for place, all_losses in enumerate(losses):
            own = np.stack([all_losses[parts[trial]] for trial in going])
            going = going[pvalues.wsr(own, delta, level=epsilon) <= epsilon]
            if not len(going):
                break
            accepted[going, place] = True
        return Verdict(accepted, None)


@dataclass(frozen=True)
class ConformalRiskControl(Method):
    """Conformal Risk Control (Angelopoulos et al. 2022): the mean loss is at most delta IN EXPECTATION over samples.

    Any one calibration sample may miss delta, with a probability that is not bounded; epsilon is not used. The method
    needs losses that only grow as the threshold falls, so each example's loss is replaced by its largest so far.
    """

    name: ClassVar[str] = "crc"
    guarantee: ClassVar[Guarantee] = "expectation"

    def judge(self, losses: FloatArray, parts: BoolArray, delta: float, epsilon: float) -> Verdict:
        monotone = np.maximum.accumulate(losses, axis=0)
        return Verdict((part_totals(monotone, parts) + 1) / (part_sizes(parts) + 1) <= delta, None)


@dataclass(frozen=True)
class Naive(Method):
    """Accept any threshold whose sample mean is at most delta. It promises nothing: a control, never a default."""

    name: ClassVar[str] = "naive"
    guarantee: ClassVar[Guarantee] = "none"

    def judge(self, losses: FloatArray, parts: BoolArray, delta: float, epsilon: float) -> Verdict:
        return Verdict(part_totals(losses, parts) / part_sizes(parts) <= delta, None)


def _hoeffding(losses: FloatArray, parts: BoolArray, delta: float) -> FloatArray:
    return pvalues.hoeffding_from_total(part_totals(losses, parts), part_sizes(parts), delta)


def _hoeffding_bentkus(losses: FloatArray, parts: BoolArray, delta: float) -> FloatArray:
    return pvalues.hoeffding_bentkus_from_total(part_totals(losses, parts), part_sizes(parts), delta)


def _wsr(losses: FloatArray, parts: BoolArray, delta: float) -> FloatArray:
    # One part at a time: all parts, thresholds and examples at once would need gigabytes.
    return np.stack([pvalues.wsr(losses[:, part], delta) for part in parts])


_BOUNDS: dict[str, Callable[[FloatArray, BoolArray, float], FloatArray]] = {
    "hoeffding_bentkus": _hoeffding_bentkus,
    "hoeffding": _hoeffding,
    "wsr": _wsr,
}
_PROCEDURES = {"fixed_sequence": fixed_sequence, "bonferroni": bonferroni}

_NAMED: tuple[Method, ...] = (
    LearnThenTest(),
    UpperConfidenceBound(),
    ConformalRiskControl(),
    Naive(),
    LearnThenTest("hoeffding"),
    LearnThenTest("wsr"),
    LearnThenTest(procedure="bonferroni"),
)
METHODS = {method.name: method for method in _NAMED}
"""The methods that a name can choose."""


def find_method(method: str | Method) -> Method:
    """The method of that name, or the object itself; raises InputError on anything else."""
    return method if isinstance(method, Method) else METHODS[check_choice("method", method, list(METHODS))]


def shared_level(method: Method, epsilon: float, together: int) -> float:
    """What each of `together` promises is tested at so that all hold at once with probability 1 - epsilon (Bonferroni).

    Raises InputError where the method promises no probability that could be shared, or `together` is below 1.
    """
    if together < 1:
        raise InputError(f"together={together}: must be at least 1")
    if together > 1 and method.guarantee != "probability":
        raise InputError(f"method={method.name}: promises no probability, so {together} promises cannot share one")
    return epsilon / together
