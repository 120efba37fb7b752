"""Fast tests run first; tests marked `gpu` are skipped where there is none; no test is judged by its time."""

import os
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import settings

from tests import cli

os.environ["MPLBACKEND"] = "Agg"  # as commands set it, here and in their processes
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)
    if on_gpu := [item for item in items if item.get_closest_marker("gpu")]:
        import torch

        if not torch.cuda.is_available():
            for item in on_gpu:
                item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture(scope="session", autouse=True)
def end_the_prepared_process() -> Iterator[None]:
    yield
    if cli.prepared.cache_info().currsize:
        cli.prepared().end()


@pytest.fixture(autouse=True)
def environment_as_before() -> Iterator[None]:
    """What code under test sets for its own process is not for the next: another environment costs a true start."""
    before = dict(os.environ)
    yield
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random T5 of 3 decoder layers, a tokenizer and an exit classifier: quick to load and decode."""
    import torch

    import calm_bench
    from calm_bench.models import ExitClassifier, from_scratch
    from calm_bench.models.mlp_classifier import MlpClassifier
    from calm_bench.models.tokenizer import train_tokenizer

    data = Path(calm_bench.__file__).parent / "assets/data/tatoeba_enfr/validation.parquet"
    texts = [text for pair in pd.read_parquet(data)["translation"][:500] for text in pair.values()]
    torch.manual_seed(0)
    model = from_scratch(
        train_tokenizer(texts, 400),
        {"d_model": 16, "d_kv": 4, "d_ff": 24, "num_heads": 4, "num_layers": 2, "num_decoder_layers": 3},
    )
    for parameter in model.backbone.parameters():
        parameter.data += torch.randn_like(parameter) * 0.1
    model.learned |= {"classifier": ExitClassifier(16), "mlp_classifier": MlpClassifier(16, 3, 256)}
    folder = tmp_path_factory.mktemp("tiny")
    model.save(folder)
    return folder
