"""Examples that come in clusters, such as questions about one article: the cluster as the unit that is drawn.

Questions about one article are alike, so n of them say less of a new article than n questions about n articles. Over
clusters a promise is about the mean loss of a new cluster; its n is the number of clusters, which costs power.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from calm_bench.calibration.checks import FloatArray

Numbers = NDArray[np.int64]


def cluster_numbers(names: Sequence[str | None]) -> Numbers | None:
    """The cluster of each example as a number from 0, in order of first appearance; None where one has no cluster."""
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return None if None in numbers else np.array([numbers[name] for name in names], dtype=np.int64)


def cluster_means(values: FloatArray, clusters: Numbers) -> FloatArray:
    """The mean of `values` (K, n) over the examples of each cluster, (K, C); `clusters` (n,) from 0 to C - 1."""
    return np.stack([np.bincount(clusters, row) for row in values]) / np.bincount(clusters)
