"""BLEURT from a tiny random BERT, saved as its ports are: what is done with its numbers, and what is refused."""

from pathlib import Path

import numpy as np
import pytest

from calm_bench.errors import InputError
from calm_bench.metrics.bleurt import Bleurt

PREDICTIONS = ["le chat dort", "le chien court vite dans le jardin", "", "le chat dort", "oui"]
REFERENCES = [["un chat dort", "le chien"], ["le chien court"], ["non"], ["le chat dort", "un chat"], ["oui oui"]]


def save_bert(folder: Path, labels: int = 1, bias: float = 0.5, safe: bool = True, head: bool = True) -> Path:
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizer

    folder.mkdir()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "le", "un", "chat", "chien", "dort", "court", "oui", "non"]
    vocabulary = folder / "words"
    vocabulary.write_text("\n".join(words))
    BertTokenizer(str(vocabulary)).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16,
        num_labels=labels,
    )  # fmt: skip
    model = BertForSequenceClassification(config)
    for parameter in model.parameters():
        parameter.data += torch.randn_like(parameter) * 0.2
    model.classifier.weight.data *= 0.2
    model.classifier.bias.data.fill_(bias)
    (model if head else model.bert).save_pretrained(folder)
    if not safe:
        (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_bert(tmp_path_factory.mktemp("bleurt") / "tiny")


def raw(checkpoint: Path, reference: str, candidate: str) -> float:
    from transformers import AutoTokenizer, BertForSequenceClassification

    inputs = AutoTokenizer.from_pretrained(checkpoint)([reference], [candidate], return_tensors="pt")
    model = BertForSequenceClassification.from_pretrained(checkpoint)
    return float(model.eval()(**inputs).logits[0, 0].detach())


def test_equals_the_network_clipped_and_the_best_reference(checkpoint: Path) -> None:
    scores = Bleurt(str(checkpoint), device="cpu").scores(PREDICTIONS, REFERENCES)
    for score, prediction, references in zip(scores, PREDICTIONS, REFERENCES, strict=True):
        rated = max(np.clip(raw(checkpoint, reference, prediction), 0, 1) for reference in references)
        assert score == pytest.approx(1 if prediction in references else rated, abs=2e-6)
    assert len(set(scores)) > 3


@pytest.mark.parametrize(("bias", "expected"), [(9.0, 1.0), (-9.0, 0.0)])
def test_scores_are_clipped_and_a_text_is_exactly_itself(tmp_path: Path, bias: float, expected: float) -> None:
    metric = Bleurt(str(save_bert(tmp_path / "tiny", bias=bias)), device="cpu")
    assert metric.scores(["le chat", "le chat"], [["un chien"], ["le chat"]]).tolist() == [expected, 1.0]


def test_neither_the_batch_nor_the_order_changes_a_score(checkpoint: Path) -> None:
    together = Bleurt(str(checkpoint), device="cpu").scores(PREDICTIONS, REFERENCES)
    alone = Bleurt(str(checkpoint), device="cpu", batch_size=1).scores(PREDICTIONS[::-1], REFERENCES[::-1])
    np.testing.assert_array_equal(together, alone[::-1])


def test_the_description_names_the_weights(checkpoint: Path, tmp_path: Path) -> None:
    first, second = (Bleurt(str(folder)).description for folder in (checkpoint, save_bert(tmp_path / "tiny", bias=0.6)))
    assert first.startswith("BLEURT tiny (")
    assert first != second


def test_what_is_missing_is_an_error_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    torn = save_bert(tmp_path / "torn")
    (torn / "model.safetensors").write_bytes(b"torn")
    cases = {
        None: "path=None must be a save_pretrained folder (task.similarity.path=DIR)",
        str(tmp_path / "nowhere"): "must be a save_pretrained folder",
        str(tmp_path / "empty"): "must be a save_pretrained folder",
        str(save_bert(tmp_path / "pickle", safe=False)): "only safetensors are read",
        str(save_bert(tmp_path / "three", labels=3)): "has 3 labels, but a score is one number",
        str(save_bert(tmp_path / "headless", head=False)): "has no weights for classifier.bias",
        str(torn): f"cannot read path={torn}: ",
    }
    for path, words in cases.items():
        with pytest.raises(InputError) as error:
            Bleurt(path)
        assert words in str(error.value)
        assert "\n" not in str(error.value)
