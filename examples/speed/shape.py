"""Seconds of a T5 shape at batch 1, with random weights and one long source: no checkpoint is needed.

    python examples/speed/shape.py --shape small --source 512 --tokens 64

Our decoder at full depth, at each static layer and under measures whose thresholds are set so that they leave at
about `--layers` on average, beside CTranslate2 on the same weights (pip install 'calm-bench[peers]'). Random weights
say nothing about quality, and their exits lie where the thresholds put them; the seconds are those of any such model.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from transformers import T5Config, T5ForConditionalGeneration

import calm_bench
from analysis.answers.speed import NOTE, rows
from calm_bench.console import aligned
from calm_bench.cost import speed
from calm_bench.cost.seconds import time_arms
from calm_bench.decoding import Decay, Decoder, Rule
from calm_bench.measures import Classifier, Measure, Softmax, State
from calm_bench.models import EarlyExitT5, ExitClassifier, load
from calm_bench.models.mlp_classifier import MlpClassifier
from calm_bench.stages.arms import peer_arms, read_arm, rule_arm
from calm_bench.stages.decode import rules_table

ASSETS = Path(calm_bench.__file__).parent / "assets"
SHAPES = {
    "tiny": {"d_model": 64, "d_kv": 16, "num_heads": 4, "d_ff": 128, "num_layers": 2, "vocab_size": 5000},
    "small": {"d_model": 512, "d_kv": 64, "num_heads": 6, "d_ff": 1024, "num_layers": 8, "vocab_size": 32128},
    "base": {"d_model": 768, "d_kv": 64, "num_heads": 12, "d_ff": 2048, "num_layers": 12, "vocab_size": 32128},
    "large": {"d_model": 1024, "d_kv": 64, "num_heads": 16, "d_ff": 2816, "num_layers": 24, "vocab_size": 32128},
}


def random_model(shape: str, device: str = "cpu") -> EarlyExitT5:
    """A T5 v1.1 of this shape whose texts do not end, with the bundled model's tokenizer for its first tokens."""
    torch.manual_seed(0)
    with torch.device(device):
        return _random_model(shape)


def _random_model(shape: str) -> EarlyExitT5:
    config = T5Config(
        **SHAPES[shape],
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
        decoder_start_token_id=0,
        pad_token_id=0,
        eos_token_id=1,
    )
    backbone = T5ForConditionalGeneration(config).eval()
    tokenizer = load(str(ASSETS / "model")).tokenizer
    head = torch.randn(config.vocab_size, config.d_model) * config.d_model**-0.5 * 3
    head[1] = head[len(tokenizer) :] = 0  # never the best: end-of-sequence, and what the tokenizer has no name for
    backbone.lm_head.weight = torch.nn.Parameter(head)
    backbone.shared.weight.data = torch.randn(config.vocab_size, config.d_model)
    learned = {
        "classifier": ExitClassifier(config.d_model).eval(),
        "mlp_classifier": MlpClassifier(config.d_model, config.num_layers, 256).eval(),
    }
    return EarlyExitT5(backbone, tokenizer, learned)


def leaving_at(decoder: Decoder, measure: Measure, layers: float, source: Sequence[int], tokens: int) -> Rule:
    """The rule of a measure whose mean exit layer on this source is about `layers`, by bisection of its threshold."""
    low, high = 0.0, 1.0
    for _ in range(12):
        rule = Rule.adaptive(measure, (low + high) / 2, Decay("none"))
        executor = decoder.serving(rule, alone=True)
        mean = float(executor.run(executor.encode([source]), [rule], tokens).mean_exit_layer[0, 0])
        low, high = (rule.threshold or 0, high) if mean < layers else (low, rule.threshold or 0)
    return rule


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="small", help="widths and layers (small)")
    parser.add_argument("--source", type=int, default=512, help="tokens of the source (512)")
    parser.add_argument("--tokens", type=int, default=64, help="tokens of the text (64)")
    parser.add_argument("--layers", type=float, default=3.0, help="mean exit layer of the adaptive rules (3)")
    parser.add_argument("--repeats", type=int, default=5, help="timed texts of each arm (5)")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32", help="of our weights (float32)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = random_model(options.shape)
    source = [*np.random.default_rng(0).integers(5, 4000, options.source - 1).tolist(), 1]
    decoder, length = Decoder(model, options.dtype), options.tokens
    adaptive = [leaving_at(decoder, m, options.layers, source, length) for m in (State(), Classifier(), Softmax())]
    rules = [Rule.full(), *(Rule.static(layer) for layer in range(1, model.depth + 1)), *adaptive]
    serving = [decoder.serving(rule, alone=True) for rule in rules]
    full = serving[0].run(serving[0].encode([source]), [rules[0]], length).token_ids[0, 0].tolist()
    arms = [
        rule_arm("rule", executor, model, number, rule, length, {0: full} if number == 0 else {})
        for number, (executor, rule) in enumerate(zip(serving, rules, strict=True))
    ]
    arms += [*peer_arms(model, 0, length, 1, {0: full}), *filter(None, [read_arm(serving[0], model.device)])]
    timings = time_arms(arms, [source], [0], repeats=options.repeats, warmup=1, threads=1, seed=0)
    table = speed.arms(timings.astype({"rule": "Int32"}), rules_table(rules, model.depth))
    print(*aligned(rows(table.to_dict("records"))), NOTE, sep="\n")
    print(*decoder_alone(table), sep="\n")


def decoder_alone(table: pd.DataFrame) -> list[str]:
    """Without the encoder, over CTranslate2's in float32: of a peer, whose text of one token is taken for it."""
    seconds = table.set_index("arm")
    seconds = seconds["milliseconds"] - seconds["encoder_milliseconds"]
    if speed.PEER not in seconds:
        return []
    ratios = (seconds / seconds[speed.PEER]).round(3)
    return [f"the decoder alone over {speed.PEER}'s:", *(f"  {arm}: {ratio}" for arm, ratio in ratios.items())]


if __name__ == "__main__":
    main()
