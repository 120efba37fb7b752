"""What a rule's texts lose to another's on the same examples, in points of the losses' similarity, 0 to 100."""

import numpy as np
import pandas as pd

from analysis.answers.answer import Estimate
from analysis.load import Records
from analysis.spread import of_mean


def scores(part: Records, rules: pd.DataFrame) -> pd.DataFrame:
    """Similarity to the references, 0..100: one row an example, one column for each (run_id, rule) of `rules`."""
    texts = part.generations(rules)
    return 100 * texts.pivot(index="example", columns=["run_id", "rule"], values="score")


def mean(values: "pd.Series[float]") -> Estimate:
    """The mean over examples with Student's interval."""
    numbers = np.asarray(values.dropna(), np.float64)
    return Estimate(float(numbers.mean()), *of_mean(numbers))


def key(rule: "pd.Series") -> tuple[str, int]:
    """The column of `scores` that is this row of a frontier."""
    return str(rule["run_id"]), int(rule["rule"])
