"""A record of the size of CNN/DM's, made up, and what it takes to write, certify, analyse and mirror it (offline).

    python -m tests.records.paper_sized [--examples 11490] [--folder DIR]

11,490 examples under 67 rules of 82 tokens each are 63 million rows of tokens. Each step is a process of its own: its
peak memory is what counts. The exit status is 1 where one takes more than 3 GiB.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from calm_bench.records import environment, exits, schema
from calm_bench.records.stage_cache import Chunks, StageCache
from calm_bench.records.store import Run

EXAMPLES, TOKENS, LAYERS, CHUNK = 11_490, 82, 8, 128
MOST_GIB = 3.0
MEASURES, GRID = ("softmax", "state", "classifier"), np.round(np.arange(0.95, 0.0, -0.05), 2)
CALIBRATION = {
    "textual": [0.1, 0.25], "risk": [0.02, 0.05], "epsilon": 0.05, "method": "ltt", "trials": 50, "fraction": 0.8,
    "seed": 0, "bootstrap_seed": 0,
}  # fmt: skip
CONFIG = {
    "task": {"name": "cnndm", "quality": {"_target_": "calm_bench.metrics.rouge.Rouge1"}}, "model": {"name": "t5"},
    "measure": {measure: {} for measure in MEASURES}, "calibration": CALIBRATION,
}  # fmt: skip
STEPS = ("write", "certify", "analyse", "mirror")


def rules() -> pd.DataFrame:
    """The full model, the oracle, eight static layers, and three measures at 19 thresholds."""
    named = [("full", None), ("oracle", None), *(("static", float(layer)) for layer in range(1, LAYERS + 1))]
    named += [(measure, float(threshold)) for measure in MEASURES for threshold in GRID]
    return pd.DataFrame(
        {
            "rule": number,
            "name": measure if value is None else f"{measure}@{value:g}",
            "kind": "adaptive" if measure in MEASURES else measure,
            "measure": measure if measure in MEASURES else None,
            "threshold": value if measure in MEASURES else None,
            "decay": "additive(tau=4)",
            "first_layer": 1,
            "last_layer": int(value) if measure == "static" and value else LAYERS,
            "state_copying": "exit_state",
            "drafts": None,
        }
        for number, (measure, value) in enumerate(named)
    )


def chunk(first: int, count: int, about: pd.DataFrame) -> dict[str, pa.Table | pd.DataFrame]:
    """Made-up texts of `count` examples: lower thresholds leave earlier and lose more."""
    rng = np.random.default_rng(first)
    n_rules = len(about)
    depth = about["threshold"].fillna(about["last_layer"] / LAYERS).to_numpy() * LAYERS
    shape = (count, n_rules, TOKENS)
    layers = np.clip(np.round(depth[:, None] + rng.standard_normal(shape)), 1, LAYERS).astype(np.int16)
    layers[:, 0] = LAYERS
    example, rule, position = (index.ravel().astype(np.int32) for index in np.indices(shape, np.int32))
    confidence = np.where((layers < LAYERS) & about["measure"].notna().to_numpy()[:, None], rng.random(shape), np.nan)
    token_ids = rng.integers(0, 32_000, shape, np.int32).ravel()
    ids, index = np.unique(token_ids, return_inverse=True)
    tokens = pa.table(
        {
            "example": first + example,
            "rule": rule,
            "position": position,
            "token_id": token_ids,
            "piece": pa.DictionaryArray.from_arrays(index.astype(np.int32), [f"▁piece{number}" for number in ids]),
            "exit_layer": layers.ravel(),
            "confidence": pa.array(confidence.ravel().astype(np.float32), from_pandas=True),
        }
    )
    words = np.array([f"word{number}" for number in range(5000)])
    texts = [[" ".join(rng.choice(words, 50)) for _ in range(8)] for _ in range(count)]
    risk = 0.08 * (1 - depth / LAYERS) * rng.random((count, n_rules))
    textual = 0.5 * (1 - depth / LAYERS) * rng.random((count, n_rules))
    flops = layers.sum(-1).ravel() * 1e9
    generations = pd.DataFrame(
        {
            "example": first + np.repeat(np.arange(count), n_rules),
            "rule": np.tile(np.arange(n_rules), count),
            "prediction": [texts[e][r % 8] for e in range(count) for r in range(n_rules)],
            "n_tokens": TOKENS,
            "mean_exit_layer": layers.mean(-1).ravel(),
            "score": rng.random(count * n_rules),
            "textual_loss": textual.ravel(),
            "risk_loss": risk.ravel(),
            "flops": flops,
            "flops_elbayad": flops,
        }
    )
    numbers = range(first, first + count)
    examples = pd.DataFrame(
        {
            "example": numbers,
            "id": [f"article-{number:05d}" for number in numbers],
            "split": "test",
            "cluster": None,
            "source": [" ".join(rng.choice(words, 700)) for _ in numbers],
            "references": [[" ".join(rng.choice(words, 50))] for _ in numbers],
            "n_source_tokens": 800,
            "n_target_tokens": TOKENS,
        }
    )
    return {
        "examples": schema.to_table("examples", examples),
        "generations": schema.to_table("generations", generations),
        "tokens": schema.to_table("tokens", tokens),
        "exits": exits.count(rule, layers.ravel(), position, confidence.ravel()),
    }


def write(folder: Path, examples: int) -> None:
    """Chunks as a decoding leaves them, and a record that adopts them as a run does."""
    from calm_bench.calibration import METHODS
    from calm_bench.config import CalibrationConfig
    from calm_bench.metrics.rouge import Rouge1
    from calm_bench.records import losses
    from calm_bench.stages.promise import certificates, frontier, make_promises

    about, firsts = rules(), range(0, examples, CHUNK)
    with StageCache(folder).hold("decode", {"examples": examples}) as stage:
        chunks = Chunks(stage, len(firsts))
        for number, first in enumerate(firsts):
            if not chunks.done(number):
                chunks.write(number, chunk(first, min(CHUNK, examples - first), about))
    record = Run.create(folder, "cnndm-sized", CONFIG, name="cnndm", seed=0)
    record.write("rules", about)
    for name in ("examples", "generations", "tokens"):
        record.stream(name, chunks.each(name))
    record.write("exits", exits.added(part.to_pandas() for part in chunks.each("exits")))
    columns = losses.by_rule(chunks.each("generations"), [*losses.COLUMNS, "score"], len(about), examples)
    outcomes = losses.outcomes_of(about, columns)
    statistics = {rule: columns["score"][rule, :, None] for rule in range(len(about))}
    promises = make_promises(outcomes, CalibrationConfig(**CALIBRATION), METHODS["ltt"])
    record.write("certificates", certificates(promises, Rouge1(), lambda _: statistics))
    points = frontier(outcomes, outcomes.flops, Rouge1(), statistics, seed=0)
    record.write("frontier", points.assign(seconds=None, speedup=None, speedup_low=None, speedup_high=None))
    words = [promise.certificate.promise for promise in promises]
    record.finish(words, n=examples, layers=LAYERS, quality="ROUGE-1", similarity="ROUGE-1", speed=[])


def certify(folder: Path, _: int) -> None:
    """New promises, whose rules' texts are scored."""
    from calm_bench import new_promises

    new_promises.main([str(folder / "cnndm-sized"), "calibration.risk=[0.03]", "calibration.textual=[0.15]"])


def analyse(folder: Path, _: int) -> None:
    """Every figure and table, and the report."""
    import analysis

    analysis.draw(analysis.load(folder / "cnndm-sized"), folder / "figures")


def mirror(folder: Path, _: int) -> None:
    """What W&B keeps of it offline."""
    from calm_bench.records.mirror import mirror

    mirror(Run.open(folder / "cnndm-sized"), mode="offline")


def measured(folder: Path, examples: int) -> Iterator[tuple[str, float, float]]:
    """Of each step: its name, its seconds, and the peak memory in GiB of its process and of those that it started."""
    for step in STEPS:
        start = time.monotonic()
        command = [sys.executable, "-m", "tests.records.paper_sized", "--step", step, "--folder", str(folder)]
        done = subprocess.run([*command, "--examples", str(examples)], stdout=subprocess.PIPE, text=True, check=True)
        yield step, time.monotonic() - start, float(done.stdout.splitlines()[-1])


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.records.paper_sized", description=__doc__)
    parser.add_argument("--examples", type=int, default=EXAMPLES)
    parser.add_argument("--folder", type=Path, help="where to leave it all (default: a folder that is taken away)")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.step:
        globals()[options.step](options.folder, options.examples)
        children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
        print(max(1e6 * environment.peak_memory_mb() / 2**30, children))
        return 0
    too_much = False
    with tempfile.TemporaryDirectory() as scratch:
        rows = options.examples * len(rules()) * TOKENS
        print(f"{options.examples} examples, {rows:,} rows of tokens")
        for step, seconds, gib in measured(options.folder or Path(scratch), options.examples):
            print(f"{step:8} {seconds:6.0f} s  {gib:5.2f} GiB", flush=True)
            too_much |= gib > MOST_GIB
    return int(too_much)


if __name__ == "__main__":
    sys.exit(main())
