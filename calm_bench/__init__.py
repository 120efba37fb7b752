"""calm-bench: Confident Adaptive Language Modeling for T5, calibrated, decoded for real and timed honestly.

What a notebook needs:

    import calm_bench as cb
    model = cb.load("runs/stages/train-.../model")
    rules = [cb.Rule.full(), cb.Rule.adaptive(cb.Softmax(), 0.8, cb.Decay("additive", tau=4))]
    generations = cb.decode(model, model.tokenize(["translate English to French: Hello!"]), rules, max_new_tokens=48)
    certificate = cb.certify(losses, thresholds, objective="textual", delta=0.1, epsilon=0.05, measure="softmax")

Names are imported when they are first used, so that reading records never loads torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from calm_bench.calibration import certify
    from calm_bench.decoding import Decay, Decoder, Generations, Rule, decode
    from calm_bench.measures import Classifier, Entropy, MaxProb, Measure, Softmax, SoftmaxTopk, State, Visit
    from calm_bench.models import load
    from calm_bench.records.store import Run

__all__ = [
    "Classifier", "Decay", "Decoder", "Entropy", "Generations", "MaxProb", "Measure", "Rule", "Run", "Softmax",
    "SoftmaxTopk", "State", "Visit", "certify", "decode", "load",
]  # fmt: skip

_HOME = {
    "certify": "calibration",
    **dict.fromkeys(("Decay", "Decoder", "Generations", "Rule", "decode"), "decoding"),
    **dict.fromkeys(
        ("Classifier", "Entropy", "MaxProb", "Measure", "Softmax", "SoftmaxTopk", "State", "Visit"), "measures"
    ),
    "load": "models",
    "Run": "records.store",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'calm_bench' has no attribute {name!r}")
    return getattr(import_module(f"calm_bench.{_HOME[name]}"), name)
