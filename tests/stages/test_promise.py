"""What is said of promises before anything is decoded."""

from typing import Any

import pytest

from calm_bench.config import CalibrationConfig
from calm_bench.errors import InputError
from calm_bench.stages.promise import foresee

LONERS: list[str | None] = [None] * 100


def calibration(**changes: Any) -> CalibrationConfig:
    settings = {"textual": [], "risk": [0.02, 0.25], "epsilon": 0.05, "method": "ltt", "trials": 5, "fraction": 0.8}
    return CalibrationConfig(**{**settings, "seed": 0, "bootstrap_seed": 0, **changes})


def test_a_tolerance_out_of_reach_is_named_with_what_it_needs() -> None:
    assert foresee(calibration(), 3, LONERS) == [
        "calibration.risk=0.02: n = 100 cannot certify it, whatever the losses (149 needed)"
    ]
    assert foresee(calibration(), 3, [None] * 149) == []
    (line,) = foresee(calibration(joint=True), 3, [None] * 149)
    assert "237 needed" in line  # at 0.05 / 6


def test_examples_that_come_in_clusters_are_counted() -> None:
    clusters = [f"article {number % 12}" for number in range(300)]
    (line,) = foresee(calibration(risk=[0.25]), 3, clusters)
    assert line.startswith("the 300 examples come in 12 clusters")
    assert "calibration.unit=cluster" in line
    assert foresee(calibration(risk=[0.25], unit="cluster"), 3, clusters) == []
    (line,) = foresee(calibration(risk=[0.1], unit="cluster"), 3, clusters)
    assert "n = 12 cannot certify it" in line
    assert foresee(calibration(risk=[0.25]), 3, [str(number) for number in range(300)]) == []  # each a cluster


@pytest.mark.parametrize(
    ("changes", "clusters", "words"),
    [
        ({"unit": "cluster"}, LONERS, "calibration.unit=cluster: some examples have no cluster"),
        ({"unit": "cluster"}, ["one"] * 9, "of n=1 examples: leaves calibration or test empty"),
        ({"joint": True, "method": "crc"}, LONERS, "method=crc: promises no probability"),
        ({"fraction": 0.99}, [None] * 9, "leaves calibration or test empty"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_decoded(
    changes: dict[str, Any], clusters: list[str | None], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        foresee(calibration(**changes), 3, clusters)
