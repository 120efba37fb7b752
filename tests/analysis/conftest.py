"""Synthetic but realistic records, written to the contract's files without a model."""

from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from analysis import Records, load, outputs
from analysis.__main__ import main
from calm_bench.records.exits import count
from calm_bench.records.rules import named
from calm_bench.records.schema import SCHEMA_VERSION, SCHEMAS
from calm_bench.records.store import Run

LAYERS = 8
THRESHOLDS = np.round(np.arange(0.95, 0.0, -0.05), 2)
WORDS = [
    "le",
    "la",
    "chat",
    "chien",
    "mange",
    "voit",
    "vie",
    "rose",
    "été",
    "où",
    "garçon",
    "maison",
    "<b>",
    "&",
    "pain",
]
TEXTS = {"softmax": 0.9, "state": 1.8, "classifier": 1.2}  # how fast a measure's texts part from the full model's
TOKEN_COLUMNS = ["example", "rule", "position", "token_id", "piece", "exit_layer", "confidence"]
SUMMARY = {"n": 10, "similarity": "similarity", "speed": [], "grids": []}
CALIBRATION = {
    "textual": [0.1, 0.25], "risk": [0.02, 0.05], "epsilon": 0.05, "method": "ltt", "trials": 50, "fraction": 0.8,
    "seed": 0,
}  # fmt: skip
WriteRun = Callable[..., Path]


def _rule(measure: str, threshold: float, rng: np.random.Generator, n: int, lengths: np.ndarray) -> dict[str, Any]:
    """Exit layers, confidences and losses of one rule on n examples."""
    if measure == "full":
        mean, part = float(LAYERS), 0.0
    elif measure == "oracle":
        mean, part = 1.9, 0.0
    elif measure == "static":
        mean, part = threshold, 0.45 * (1 - threshold / LAYERS) ** 1.5
    else:
        easy = 1 - threshold
        mean = 1.3 + (LAYERS - 1.6) * threshold ** (1.4 * TEXTS[measure])
        part = 0.35 * easy ** (2.5 / TEXTS[measure])
    spread = 0 if measure in ("full", "static") else 1.6
    layers = [np.clip(np.round(mean + spread * rng.standard_normal(k)), 1, LAYERS).astype(int) for k in lengths]
    textual = np.where(rng.random(n) < min(1, 2.5 * part), rng.beta(2, 3, n), 0.0)
    return {"layers": layers, "textual": textual, "change": textual * rng.normal(0.15, 0.3, n)}


def _flops(mean: float, measure: str) -> float:
    return LAYERS / (mean * (1.25 if measure == "softmax" else 1.0)) * 0.97


def build(
    n: int = 24,
    seed: int = 0,
    measures: tuple[str, ...] = tuple(TEXTS),
    thresholds: np.ndarray = THRESHOLDS,
    timed: bool = True,
    attack: str = "<script>alert('x')</script>",
) -> dict[str, Any]:
    """The frames of one run: n examples under every rule, certificates over 50 trials, and timings."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(4, 14, n)
    words = [[str(w) for w in rng.choice(WORDS, k - 1)] for k in lengths]
    references = [" ".join(w) for w in words]
    if n > 1:
        words[1][0] = attack
    full_score = np.clip(rng.beta(5, 3, n), 0, 1)
    rules = [("full", np.nan), ("oracle", np.nan), *[("static", float(k)) for k in range(1, LAYERS + 1)]]
    rules += [(m, float(t)) for m in measures for t in thresholds]
    generations, tokens, frontier = [], [], []
    for number, (measure, threshold) in enumerate(rules):
        drawn = _rule(measure, threshold, rng, n, lengths)
        score = np.clip(full_score - drawn["change"], 0, 1)
        means = np.array([layers.mean() for layers in drawn["layers"]])
        pooled = float(np.concatenate(drawn["layers"]).mean())
        flops = _flops(pooled, measure)
        for i in range(n):
            text = list(words[i]) if drawn["textual"][i] == 0 else [str(w) for w in rng.choice(WORDS, lengths[i] - 1)]
            generations.append(
                {
                    "example": i,
                    "rule": number,
                    "prediction": " ".join(text),
                    "n_tokens": int(lengths[i]),
                    "mean_exit_layer": float(means[i]),
                    "score": float(score[i]),
                    "textual_loss": float(drawn["textual"][i]),
                    "risk_loss": float(max(0.0, full_score[i] - score[i])),
                    "flops": 1e6 / flops,
                    "flops_elbayad": 1e6 / flops,
                }
            )
            layers = drawn["layers"][i]
            last = (layers == LAYERS) | (measure in ("full", "oracle", "static"))
            confidence = np.where(last, np.nan, np.clip(threshold + rng.random(len(layers)) * (1 - threshold), 0, 1))
            tokens += [
                (i, number, place, int(rng.integers(2, 4096)), piece, int(layer), sure)
                for place, (piece, layer, sure) in enumerate(
                    zip([*("▁" + word for word in text), "</s>"], layers, confidence, strict=True)
                )
            ]
        quality = 100 * score.mean()
        seconds = 0.004 + 0.004 * lengths.mean() * (0.15 + 0.85 * pooled / LAYERS)
        is_timed = timed and (measure in ("full", "static") or threshold in (0.5, 0.3))
        frontier.append(
            {
                "rule": number,
                "n": n,
                "score": quality,
                "score_low": quality - 1.5,
                "score_high": quality + 1.5,
                "mean_exit_layer": pooled,
                "mean_exit_layer_low": pooled - 0.1,
                "mean_exit_layer_high": pooled + 0.1,
                "flops_reduction": flops,
                "flops_reduction_t5": 0.98 * flops,
                "textual_loss": float(drawn["textual"].mean()),
                "risk_loss": float(np.maximum(0, full_score - score).mean()),
                "seconds": seconds if is_timed else np.nan,
                "speedup": 8 / pooled * 0.8 if is_timed else np.nan,
                "speedup_low": 8 / pooled * 0.75 if is_timed else np.nan,
                "speedup_high": 8 / pooled * 0.85 if is_timed else np.nan,
            }
        )
    described = _described(rules)
    examples = pd.DataFrame(
        {
            "example": range(n),
            "id": [f"e{i:04d}" for i in range(n)],
            "split": "test",
            "cluster": None,
            "source": ["translate English to French: " + text[::-1] for text in references],
            "references": [[text] for text in references],
            "n_source_tokens": lengths + 4,
            "n_target_tokens": lengths,
        }
    )
    frames = {
        "rules": described,
        "examples": examples,
        "generations": pd.DataFrame(generations),
        "tokens": pd.DataFrame(tokens, columns=TOKEN_COLUMNS),
        "frontier": pd.DataFrame(frontier),
    }
    columns = ("rule", "exit_layer", "position", "confidence")
    frames["exits"] = count(*(frames["tokens"][name].to_numpy() for name in columns))
    readable = named(frames["frontier"], described)
    frames["certificates"] = _certificates(readable, measures, n, rng)
    frames["timings"] = _timings(readable, lengths, rng) if timed else None
    return frames | _probes(measures, n)


def _described(rules: list[tuple[str, float]]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "rule": number,
            "name": measure if np.isnan(threshold) else f"{measure}@{threshold:g}",
            "kind": "adaptive" if measure in TEXTS else measure,
            "measure": measure if measure in TEXTS else None,
            "threshold": threshold if measure in TEXTS else None,
            "decay": "additive(tau=4)" if measure in ("softmax", "classifier") else "none",
            "first_layer": 1,
            "last_layer": int(threshold) if measure == "static" else LAYERS,
            "state_copying": "exit_state",
            "drafts": None,
        }
        for number, (measure, threshold) in enumerate(rules)
    )


def _probes(measures: tuple[str, ...], n: int) -> dict[str, Any]:
    """What the model was asked beside its rules."""
    layers, bins = np.meshgrid(np.arange(1, LAYERS), np.arange(5), indexing="ij")
    confidence = 0.1 + 0.2 * bins.ravel()
    agreement = np.clip(confidence**0.7 + 0.03 * layers.ravel(), 0, 1)
    reliability = pd.concat(
        pd.DataFrame(
            {
                "measure": measure,
                "layer": layers.ravel(),
                "bin": bins.ravel(),
                "n_tokens": 20,
                "confidence": confidence,
                "agreement": agreement,
                "agreement_low": agreement - 0.05,
                "agreement_high": np.minimum(agreement + 0.05, 1),
            }
        )
        for measure in measures
    )
    steps = [0, 1, 2, 4, 8]
    kinds, step = np.repeat(["sampled", "layer"], len(steps)), np.array(steps * 2)
    worth = np.where(kinds == "layer", 0.8, 0.5) + 0.03 * np.arange(len(steps) * 2) % 0.15
    perturbation = pd.DataFrame({"kind": kinds, "step": step, "n": n, "changed": np.where(kinds == "layer", 0.3, 1.0)})
    for name, value in (("score", worth - 0.2), ("score_full", 0.7), ("similarity", worth)):
        for end, shift in (("", 0.0), ("_low", -0.04), ("_high", 0.04)):
            perturbation[name + end] = value + shift
    f1 = np.linspace(0.6, 0.2, LAYERS - 1)
    classifier_f1 = pd.DataFrame(
        {
            "layer": np.arange(1, LAYERS),
            "n": n,
            "n_tokens": 9 * n,
            "disagree": f1 / 2,
            "f1": f1,
            "f1_low": f1 - 0.05,
            "f1_high": f1 + 0.05,
        }
    )
    return {"reliability": reliability, "perturbation": perturbation, "classifier_f1": classifier_f1}


def _certificates(frontier: pd.DataFrame, measures: tuple[str, ...], n: int, rng: np.random.Generator) -> pd.DataFrame:
    rows = []
    full = frontier.iloc[0].to_dict()
    falling = frontier.sort_values("threshold", ascending=False)
    grids = {measure: falling[falling.measure == measure].to_dict("records") for measure in measures}
    for objective, deltas in (("textual", (0.1, 0.25)), ("risk", (0.02, 0.05))):
        for delta in deltas:
            for measure in measures:
                points = grids[measure]
                ok = [point[f"{objective}_loss"] < 0.85 * delta for point in points]
                count = [*ok, False].index(False)
                for trial in [None, *range(50)]:
                    place = count - 1 - (0 if trial is None else int(rng.random() < 0.3))
                    point = points[place] if place >= 0 else full
                    rows.append(
                        {
                            "objective": objective,
                            "delta": delta,
                            "epsilon": 0.05,
                            "measure": measure,
                            "method": "ltt",
                            "guarantee": "probability",
                            "unit": "example",
                            "together": 1,
                            "trial": trial,
                            "n_calibration": n if trial is None else int(0.8 * n),
                            "rule": int(point["rule"]),
                            "p_value": 0.01 if place >= 0 else np.nan,
                            "nearest_delta": np.nan,
                            "nearest_rule": None,
                            "test_loss": None
                            if trial is None
                            else max(0, point[f"{objective}_loss"] + 0.1 * delta * rng.normal()),
                            "test_score": None if trial is None else point["score"],
                            "mean_exit_layer": point["mean_exit_layer"],
                            "flops_reduction": point["flops_reduction"],
                        }
                    )
    return pd.DataFrame(rows).astype(
        {"trial": "Int32", "nearest_rule": "Int32", "test_loss": float, "test_score": float}
    )


def _timings(frontier: pd.DataFrame, lengths: np.ndarray, rng: np.random.Generator) -> pd.DataFrame:
    rows = []
    for _, rule in frontier[frontier.seconds.notna()].iterrows():
        for i in range(min(12, len(lengths))):
            for repeat in range(3):
                layers = rule.mean_exit_layer
                decoder = 0.004 * lengths[i] * (0.15 + 0.85 * layers / LAYERS) * rng.lognormal(0, 0.05)
                rows.append(
                    {
                        "arm": "rule",
                        "rule": int(rule.rule),
                        "measure": None,
                        "example": i,
                        "repeat": repeat,
                        "order": len(rows),
                        "executor": "grid",
                        "seconds": 0.004 + decoder,
                        "encoder_seconds": 0.004,
                        "n_tokens": int(lengths[i]),
                        "mean_exit_layer": layers,
                        "weight_bytes": 1 << 20,
                        "same_text": True,
                    }
                )
    return pd.DataFrame(rows)


def columns_of(table: str, frame: pd.DataFrame) -> pa.Schema | None:
    """Those of a probe's table, which stand in its file alone."""
    return None if table in SCHEMAS else pa.Schema.from_pandas(frame, preserve_index=False)


def write(
    folder: Path,
    run_id: str = "20260101-000000-demo",
    name: str = "demo",
    task: str = "tatoeba_enfr",
    seed: int = 0,
    status: str = "finished",
    schema_version: int = SCHEMA_VERSION,
    model: str = "bundled",
    created: str = "2026-01-01T00:00:00",
    config: dict[str, Any] | None = None,
    drop: tuple[str, ...] = (),
    change: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
    **options: Any,
) -> Path:
    """Write a run folder to the contract and return it; `options` go to `build`.

    drop: tables to leave out. change: what becomes of the frames that `build` gives.
    """
    path = folder / run_id
    path.mkdir(parents=True)
    resolved = {
        "task": {"name": task},
        "model": {"name": model},
        "measure": {m: {"_target_": m} for m in options.get("measures", tuple(TEXTS))},
        "probes": {name: {"_target_": name} for name in ("reliability", "perturbation", "classifier_f1")},
        "seed": seed,
        "calibration": CALIBRATION,
        **(config or {}),
    }
    promise = "With probability at least 95%, exiting by softmax at 0.5 keeps the mean textual loss at most 0.25."
    info = {
        "schema_version": schema_version, "run_id": run_id, "name": name, "status": status, "created": created,
        "finished_at": created, "command": f"python -m calm_bench +experiment={name}", "config": resolved, "seed": seed,
        "summary": {"quality": "BLEU", "layers": LAYERS, "model_identity": model, **SUMMARY}, "promises": [promise],
        "tables": {},
        "environment": {"cpu": "a test", "git_commit": "abc1234"}, "peak_memory_mb": 100.0,
    }  # fmt: skip
    run = Run(path, info)
    frames = build(seed=seed, **options)
    for file, frame in (change(frames) if change else frames).items():
        if frame is not None and file not in drop:
            run.write(file, frame, columns=columns_of(file, frame))
    return path


def chosen(records: Records, **thresholds: float) -> pd.DataFrame:
    """The rules of these measures at these thresholds."""
    return records.rules[records.rules["measure"].map(thresholds) == records.rules["threshold"]]


@pytest.fixture
def write_run(tmp_path: Path) -> WriteRun:
    def written(**options: Any) -> Path:
        return write(tmp_path / "runs", **options)

    return written


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`only(*stems)`: these outputs of the catalogue are drawn alone, for a test that looks at no other."""

    def kept(*stems: str) -> None:
        catalogue = [output for output in outputs.CATALOGUE if output.stem in stems]
        assert {output.stem for output in catalogue} == set(stems)
        monkeypatch.setattr(outputs, "CATALOGUE", catalogue)

    return kept


@dataclass(frozen=True)
class Drawing:
    """What `python -m analysis` has made of an ordinary run: its folder, and the lines that it said."""

    run: Path
    out: Path
    said: list[str]


@pytest.fixture(scope="session")
def drawing(tmp_path_factory: pytest.TempPathFactory) -> Drawing:
    run, out = write(tmp_path_factory.mktemp("drawn")), tmp_path_factory.mktemp("figures")
    with redirect_stdout(StringIO()) as said:
        assert main([str(run.parent), "--out", str(out)]) == 0
    return Drawing(run, out, said.getvalue().splitlines())


@pytest.fixture(scope="session")
def records(tmp_path_factory: pytest.TempPathFactory) -> Records:
    """The records of one ordinary finished run."""
    return load([write(tmp_path_factory.mktemp("session"))])
