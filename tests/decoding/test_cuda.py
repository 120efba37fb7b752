"""The same tokens and exit layers on a GPU as the definition gives on the CPU."""

import pytest

from calm_bench.decoding import Decoder
from calm_bench.decoding.reference import decode_reference
from tests.decoding.conftest import assert_same, every_rule
from tests.models_for_tests import random_sources, random_t5


@pytest.mark.gpu
@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_gpu_decodes_what_the_definition_says(batch_size: int) -> None:
    on_cpu, on_gpu = random_t5(), random_t5()
    on_gpu.backbone.to("cuda")
    on_gpu.learned["classifier"].to("cuda")
    sources, rules = random_sources(1, 5), every_rule(on_cpu.depth)
    generations = Decoder(on_gpu).decode(sources, rules, 10, batch_size=batch_size)
    ties = sum(
        assert_same(generations, e, r, rule, decode_reference(on_cpu, source, rule, 10), 10)
        for e, source in enumerate(sources)
        for r, rule in enumerate(rules)
    )
    assert ties <= 2
