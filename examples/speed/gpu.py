"""What an NVIDIA GPU reaches, in one run: microseconds a token at batch 1, and what a grid of rules costs at batch 256.

    python examples/speed/gpu.py --out gpu.json

At batch 1 each shape of T5 v1.1 has random bfloat16 weights, a source of 512 tokens and a text of 100: full depth,
static exits, each measure asked at every layer without ever leaving, leaving at layer 2, and leaving at about a third
of the layers beside static exits there; transformers' generate(), with its growing cache, its static one, and that one
under torch.compile. Arms take turns; times are of the decoder alone, medians and quartiles over the repeats. A grid is
19 thresholds of one measure on the bundled model (float32) and its sentences, beside one decode at full depth.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import transformers
from shape import ASSETS, SHAPES, leaving_at, random_model

from calm_bench.cost.seconds import Arm, Source, Timed, clock, time_arms
from calm_bench.decoding import Decay, Decoder, Rule
from calm_bench.measures import Classifier, Measure, MlpClassifier, Softmax, State
from calm_bench.models import load
from calm_bench.stages.arms import CACHES, generate_arms, read_arm, rule_arm

MEASURES = (State(), Classifier(), MlpClassifier(256), Softmax())
PROMPT, LONGEST = "translate English to French: ", 48


def always(measure: Measure, threshold: float, first: int) -> Rule:
    """Asked from a layer on; it leaves there (threshold -1) or never (2)."""
    return Rule.adaptive(measure, threshold, Decay("none"), first)


def one_text(shape: str, options: argparse.Namespace) -> pd.DataFrame:
    """A row for each timed text at batch 1; `what` says of which arm."""
    model = random_model(shape, options.device)
    decoder, depth, length = Decoder(model, "bfloat16"), model.depth, options.tokens
    source = [*np.random.default_rng(0).integers(5, 4000, options.source - 1).tolist(), 1]
    rules = {"full": Rule.full()}
    for measure in MEASURES:
        rules[f"{measure.name}, never leaving"] = always(measure, 2.0, 1)
        rules[f"{measure.name}, leaving at 2"] = always(measure, -1.0, 2)
    for measure in MEASURES:
        rules[f"{measure.name}, adaptive"] = leaving_at(decoder, measure, depth / 3, source, length)
    rules |= {f"static {layer}": Rule.static(layer) for layer in range(1, depth // 2 + 2)}
    arms = []
    for number, rule in enumerate(rules.values()):
        arms.append(rule_arm("rule", decoder.serving(rule, alone=True), model, number, rule, length, {}))
    arms += filter(None, [read_arm(decoder.serving(rules["full"], alone=True), model.device)])
    ours = time_arms(arms, [source], [0], repeats=options.repeats, warmup=2, threads=1, seed=0)
    model.backbone.to(torch.bfloat16)
    theirs = generate_arms(model, options.generate, [source], None, length, {})
    others = time_arms(theirs, [source], [0], repeats=max(1, options.repeats // 3), warmup=1, threads=1, seed=0)
    table = pd.concat([ours, others], ignore_index=True)
    generated = table["executor"].str.replace("transformers", "generate()")
    names = table["rule"].map(dict(enumerate(rules))).fillna(table["arm"]).where(table["arm"] != "generate", generated)
    what = [*rules, "read", *generated[table["arm"] == "generate"].unique()]
    us = 1e6 * (table["seconds"] - table["encoder_seconds"]) / table["n_tokens"].replace(0, np.nan)
    return table.assign(shape=shape, us=us, what=pd.Categorical(names, what))


def grids(options: argparse.Namespace) -> pd.DataFrame:
    """A row for each timed pass of a set of rules over one batch of the bundled sentences."""
    model = load(str(ASSETS / "model"), device=options.device)
    pairs = pd.read_parquet(ASSETS / "data/tatoeba_enfr/test.parquet")["translation"]
    sources = model.tokenize([PROMPT + pair["en"] for pair in pairs.sample(options.batch, random_state=0)])
    sets = {"full": [Rule.full()]}
    for measure in MEASURES:
        tau = 4.0 if measure.needs_logits or measure.name == "classifier" else 0.0
        sets[measure.name] = [Rule.adaptive(measure, step / 20, Decay("additive", tau)) for step in range(1, 20)]
    paper = [rule for name in ("full", "state", "classifier", "softmax") for rule in sets[name]]
    sets["all 67 rules"] = [*paper, Rule.oracle(), *(Rule.static(layer) for layer in range(1, model.depth + 1))]
    decoder = Decoder(model, executor="grid")

    def arm(name: str, rules: list[Rule]) -> Arm:
        def run(_: Source) -> Timed:
            start = clock(model.device)
            context = decoder.encode(sources)
            encoded = clock(model.device)
            result = decoder.run(context, rules, LONGEST)
            end, tokens = clock(model.device), int(result.n_tokens.sum())
            return Timed(end - start, encoded - start, tokens, result.exit_layers.sum() / tokens, None, [])

        return Arm(name, None, None, "grid", run)

    arms = [arm(name, rules) for name, rules in sets.items()]
    table = time_arms(arms, [[]], [0], repeats=options.repeats, warmup=1, threads=options.threads, seed=0)
    return table.assign(arm=pd.Categorical(table["arm"], list(sets)))


def quartiles(values: pd.Series, digits: int) -> str:
    low, middle, high = values.quantile([0.25, 0.5, 0.75])
    return f"{middle:9.{digits}f}  ({low:.{digits}f} to {high:.{digits}f})"


def print_texts(table: pd.DataFrame, depth: int) -> None:
    """Of one shape."""
    texts = table[table["arm"] != "read"].groupby("what", observed=True)
    us, layers = texts["us"].median(), texts["mean_exit_layer"].mean()
    read = table[table["arm"] == "read"]
    copied = (read["weight_bytes"] / read["seconds"]).median() / 1e9
    static = {layers[name]: us[name] for name in us.index if name.startswith("static") or name == "full"}
    print(f"\n{table['shape'].iloc[0]} ({depth} layers), us a token; copies {copied:.0f} GB/s, read and written")
    print(f"{'':34}layers   median  (quartiles)          n  tokens/s   GB/s  of copy  over full  over static")
    for name, rows in texts:
        ideal = np.interp(layers[name], sorted(static), [static[at] for at in sorted(static)])
        rate = rows["weight_bytes"].astype(float).median() / rows["seconds"].median() / 1e9
        bytes_read = "" if np.isnan(rate) else f"{rate:7.0f}  {rate / copied:7.0%}"
        over = f"{us[name] / ideal:11.2f}" if name.endswith("adaptive") else ""
        print(
            f"{name:34}{layers[name]:6.2f}  {quartiles(rows['us'], 1):28}{len(rows):3}{1e6 / us[name]:10.0f}"
            f"{bytes_read:16}{us[name] / us['full']:11.2f}{over}"
        )


def print_grids(table: pd.DataFrame, batch: int) -> None:
    decoding = table.assign(ms=1000 * (table["seconds"] - table["encoder_seconds"])).groupby("arm", observed=True)["ms"]
    full = decoding.median()["full"]
    print(f"\nbatch {batch}, the bundled model in float32, ms of decoding, and over one full decode")
    for name, ms in decoding:
        print(f"{name:20}{quartiles(ms, 1):32}{len(ms):3}{ms.median() / full:8.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", help="a JSON file for each text's time")
    parser.add_argument("--shapes", nargs="*", choices=SHAPES, default=["small", "base", "large"], help="(all three)")
    parser.add_argument(
        "--generate", nargs="*", choices=list(CACHES), default=list(CACHES), help="caches of generate() (all three)"
    )
    parser.add_argument("--source", type=int, default=512, help="tokens of the source (512)")
    parser.add_argument("--tokens", type=int, default=100, help="tokens of the text (100)")
    parser.add_argument("--batch", type=int, default=256, help="sentences decoded together in a grid (256)")
    parser.add_argument("--repeats", type=int, default=9, help="timed texts of each arm (9); a third for generate()")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of a grid (1)")
    parser.add_argument("--device", default="cuda", help="(cuda)")
    options = parser.parse_args()
    card = torch.cuda.get_device_name() if options.device == "cuda" else options.device
    versions = f"torch {torch.__version__}, transformers {transformers.__version__}"
    print(f"{card}; {versions}; source {options.source}, {options.tokens} tokens, bfloat16 weights")
    tables = {"grids": grids(options)}
    print_grids(tables["grids"], options.batch)
    for shape in options.shapes:
        tables[shape] = one_text(shape, options)
        print_texts(tables[shape], SHAPES[shape]["num_layers"])
        if options.out:
            rows = {name: json.loads(table.to_json(orient="records")) for name, table in tables.items()}
            Path(options.out).write_text(json.dumps({"card": card, "versions": versions, **rows}))


if __name__ == "__main__":
    main()
