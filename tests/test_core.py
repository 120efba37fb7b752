"""The core decodes where nothing is installed but torch, transformers, NumPy, SciPy, pandas and pyarrow."""

import subprocess
import sys

import pytest

ABSENT = ("hydra", "omegaconf", "wandb", "datasets", "accelerate", "sacrebleu", "rouge_score", "matplotlib", "pydantic")
CODE = """
import sys
sys.modules |= dict.fromkeys(sys.argv[1].split(","))  # importing them fails
from pathlib import Path
import calm_bench as cb
import calm_bench.calibration, calm_bench.cost.flops, calm_bench.cost.seconds, calm_bench.decoding.reference
model = cb.load(str(Path(cb.__file__).parent / "assets/model"))
rules = [cb.Rule.full(), cb.Rule.adaptive(cb.Softmax(), 0.8, cb.Decay("additive", 4.0))]
texts = cb.decode(model, model.tokenize(["translate English to French: Hello!"]), rules, 8).token_ids[0]
print(*model.detokenize(texts), sep="|")
"""


@pytest.mark.slow
def test_a_bare_machine_decodes() -> None:
    done = subprocess.run([sys.executable, "-c", CODE, ",".join(ABSENT)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split("|")[0].strip()
