"""Who takes turns when texts are timed, on a small model."""

from pathlib import Path

import pytest

from calm_bench.decoding import Decoder, Rule
from calm_bench.decoding.native.executor import READINGS
from calm_bench.models import EarlyExitT5, load
from calm_bench.stages import peers
from calm_bench.stages.arms import CACHES, generate_arms, int8_arm, peer_arms, read_arm, rule_arm
from tests.models_for_tests import random_t5

LENGTH = 12


@pytest.fixture(scope="module")
def model(tiny_checkpoint: Path) -> EarlyExitT5:
    model = load(str(tiny_checkpoint))
    assert isinstance(model, EarlyExitT5)
    return model


def full_texts(model: EarlyExitT5, sources: list[list[int]]) -> dict[int, list[int]]:
    generations = Decoder(model).decode(sources, [Rule.full()], LENGTH)
    lengths = generations.n_tokens[:, 0].tolist()
    return {e: generations.token_ids[e, 0, :n].tolist() for e, n in enumerate(lengths)}


def test_all_arms_write_the_full_models_text(model: EarlyExitT5) -> None:
    pytest.importorskip("ctranslate2")
    sources = model.tokenize(["translate English to French: I see a dog.", "translate English to French: Go!"])
    recorded = full_texts(model, sources)
    executor = Decoder(model).serving(Rule.full(), alone=True)
    arms = [
        rule_arm("rule", executor, model, 0, Rule.full(), LENGTH, recorded),
        *generate_arms(model, ["growing", "static"], sources, 0, LENGTH, recorded),
        *peer_arms(model, 0, LENGTH, 1, recorded),
    ]
    theirs = ["transformers", "transformers, static cache", "CTranslate2 float32", "CTranslate2 int8"]
    assert [arm.executor for arm in arms[1:]] == theirs
    for arm in arms[:-1]:
        for example, source in enumerate(sources):
            timed = arm.run(source)
            assert list(timed.token_ids) == list(arm.expected[example]), arm.name
            assert timed.n_tokens == len(recorded[example])
            assert 0 < timed.encoder_seconds < timed.seconds or arm.name == "peer"


@pytest.mark.parametrize(("encoder", "depth"), [(2, 4), (4, 2)])
def test_every_cache_of_generate_writes_the_same_text(encoder: int, depth: int) -> None:
    """On a CPU transformers does not compile, but makes the cache of which it would."""
    model, source = random_t5(encoder=encoder, depth=depth), [5, 6, 7, 1]
    texts = {tuple(model.generate(source, LENGTH, cache=cache)) for cache in CACHES}
    assert len(texts) == 1
    assert model.backbone.config.num_layers == encoder


def test_a_cache_of_generate_that_does_not_run_is_a_line_and_no_arm(
    model: EarlyExitT5, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    plain = EarlyExitT5.generate

    def without_compiler(self: EarlyExitT5, source: list[int], length: int, encoded: object, cache: str) -> list[int]:
        if cache == "compiled":
            raise RuntimeError("no compiler\nand a long trace")
        return plain(self, source, length, encoded, cache)  # type: ignore[arg-type]

    monkeypatch.setattr(EarlyExitT5, "generate", without_compiler)
    arms = generate_arms(model, ["growing", "compiled"], [[5, 6, 1]], 0, LENGTH, {})
    assert [arm.executor for arm in arms] == ["transformers"]
    words = "generate() is not timed as transformers, static cache, compiled: RuntimeError: no compiler"
    assert caplog.messages == [words]


def test_a_peer_that_is_not_installed_is_named_and_left_out(
    model: EarlyExitT5, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(peers, "find_spec", lambda name: None)
    assert peer_arms(model, 0, LENGTH, 1, {}) == []
    assert "CTranslate2 is not timed: it is not installed (pip install 'calm-bench[peers]')" in caplog.text


def test_bytes_of_weights_are_those_of_the_layers_that_ran(model: EarlyExitT5) -> None:
    native = Decoder(model, executor="native")
    if native.serving(Rule.full(), alone=True).name != "native":
        pytest.skip("the native executor is not available")
    source = model.tokenize(["translate English to French: I see a dog."])[0]
    read = read_arm(native.serving(Rule.full(), alone=True), model.device)
    assert read is not None
    token = (read.run(source).weight_bytes or 0) / READINGS
    sizes = []
    for rule in (Rule.static(1), Rule.static(2), Rule.full()):
        timed = rule_arm("rule", native.serving(rule, alone=True), model, 0, rule, 1, {}).run(source)
        sizes.append(timed.weight_bytes)
    assert None not in sizes
    assert sizes[2] - sizes[1] == sizes[1] - sizes[0] > 0  # a layer more each
    assert token == sizes[2] - sizes[0] + (sizes[1] - sizes[0]) + model.shape().vocab * 64  # three layers, int8 head


def test_int8_layers_are_an_arm_of_their_own(model: EarlyExitT5) -> None:
    arm = int8_arm(model, 0, LENGTH, {})
    if arm is None:
        pytest.skip("the native executor is not available")
    assert (arm.name, arm.executor) == ("int8", "native")
    assert arm.run(model.tokenize(["translate English to French: Go!"])[0]).n_tokens >= 1
