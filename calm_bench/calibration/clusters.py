"""Examples that come in clusters, such as questions about one article: the cluster as the unit that is drawn.

Questions about one article are alike, so n of them say less of a new article than n questions about n articles. Over
clusters a promise is about the mean loss of a new cluster; its n is the number of clusters, which costs power.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calm_bench.calibration.checks import FloatArray
from calm_bench.errors import InputError

Numbers = NDArray[np.int64]


def cluster_numbers(names: ArrayLike) -> Numbers:
    """The cluster of each example as a number from 0, in order of first appearance; `names` (n,) must not be null.

    Raises InputError where all examples are one cluster, of which no other can be held out.
    """
    values = np.asarray(names, dtype=object)
    order = {name: number for number, name in enumerate(dict.fromkeys(values.tolist()))}
    if None in order:
        raise InputError("calibration.unit=cluster: some examples have no cluster")
    if len(order) < 2:
        raise InputError("calibration.unit=cluster: all examples are one cluster; at least two are needed")
    return np.array([order[name] for name in values.tolist()], dtype=np.int64)


def cluster_means(values: FloatArray, clusters: Numbers) -> FloatArray:
    """The mean of `values` (K, n) over the examples of each cluster, (K, C); `clusters` (n,) from 0 to C - 1."""
    return np.stack([np.bincount(clusters, row) for row in values]) / np.bincount(clusters)
