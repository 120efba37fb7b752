"""Grids at quantiles of confidences: they say at which threshold a token leaves, and come from another split."""

from pathlib import Path

import numpy as np
import pytest

from calm_bench.decoding import Decay, Rule, decode
from calm_bench.errors import InputError
from calm_bench.measures import Classifier, Measure, Softmax, State
from calm_bench.records.store import Run
from calm_bench.stages.grids import exit_thresholds, quantiles
from tests import cli
from tests.models_for_tests import random_sources, random_t5

LENGTH = 6


@pytest.mark.parametrize("decay", [Decay("additive", 4.0), Decay("multiplicative", 2.0), Decay("none")], ids=str)
@pytest.mark.parametrize("measure", [Softmax(), State(), Classifier()], ids=lambda measure: measure.name)
def test_a_token_leaves_where_its_exit_threshold_is_reached(measure: Measure, decay: Decay) -> None:
    """Of a text's tokens only the first has the full model's history under any rule."""
    model = random_t5(3)
    model.backbone.lm_head.weight.data *= 4  # surer than a random model, so that the decay's floor is passed
    sources = random_sources(5, 8)
    first = decode(model, sources, [Rule.full()], 1).token_ids[:, 0].tolist()
    start = Rule.adaptive(measure, 1.0, decay).min_layer
    at_layer = exit_thresholds(model, sources, first, measure, start, decay, LENGTH).reshape(-1, len(sources))
    grid = quantiles(at_layer.ravel(), 7)
    rules = [Rule.adaptive(measure, threshold, decay) for threshold in grid]
    left = decode(model, sources, rules, LENGTH).exit_layers[:, :, 0]
    for threshold, layers in zip(grid, left.T, strict=True):
        clear = np.abs(at_layer - threshold).min(0) > 1e-5
        reached = at_layer >= threshold
        expected = np.where(reached.any(0), start + reached.argmax(0), model.depth)
        np.testing.assert_array_equal(layers[clear], expected[clear])
    assert len(np.unique(left)) > 1


def test_padding_changes_nothing_and_every_token_counts() -> None:
    model, measure, decay = random_t5(4), Softmax(), Decay("additive", 4.0)
    (source,) = random_sources(6, 1)
    text = decode(model, [source], [Rule.full()], LENGTH).token_ids[0, 0].tolist()
    together = exit_thresholds(model, [source], [text], measure, 1, decay, LENGTH)
    assert together.shape == ((model.depth - 1) * len(text),)
    padded = exit_thresholds(model, [source, source * 2], [text, text[:1]], measure, 1, decay, LENGTH)
    per_layer = padded.reshape(model.depth - 1, -1)[:, : len(text)]
    np.testing.assert_allclose(per_layer.ravel(), together, atol=1e-5)


def test_quantiles_descend_within_the_unit_interval() -> None:
    values = np.concatenate([np.linspace(0.9, 1.0, 1001), np.full(500, -0.3), np.full(500, 1.4)])
    grid = quantiles(values, 9)
    np.testing.assert_allclose(grid, np.linspace(0.99, 0.91, 9), atol=1e-6)
    assert quantiles(np.full(50, 0.5), 9) == [0.5]
    for nothing in (np.array([]), np.array([-0.1, 1.2]), np.array([1e-9])):
        with pytest.raises(InputError, match=r"no confidence of the sample lies within \(0, 1\]"):
            quantiles(nothing, 3)


@pytest.mark.slow
def test_a_run_on_quantiles_of_another_split(tiny_checkpoint: Path, tmp_path: Path) -> None:
    command = [f"model.path={tiny_checkpoint}", "limit=4", "task.max_new_tokens=6", "baselines=[]", *cli.QUICK]
    quantile = ["threshold=quantiles", "threshold.quantiles.examples=20", "threshold.quantiles.count=4"]
    refused = cli.run(*command, *quantile, cwd=tmp_path)
    assert refused.returncode == 2
    assert "threshold.quantiles.split=train: task tatoeba_enfr has no such split" in refused.stderr

    done = cli.run(*command, *quantile, "threshold.quantiles.split=validation", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run = Run.open(tmp_path / done.stdout.splitlines()[-1].removeprefix("run: "))
    grids = run.read("rules").dropna(subset="threshold").groupby("measure")["threshold"].apply(list)
    assert {measure: len(grid) for measure, grid in grids.items()} == dict.fromkeys(cli.MEASURES, 4)
    assert len({tuple(grid) for grid in grids}) == len(cli.MEASURES)
