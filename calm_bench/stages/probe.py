"""Stage 2, beside decoding: what is asked of the model itself. Asked once of the same model and examples."""

from __future__ import annotations

import pandas as pd

from calm_bench.memory import enough_memory
from calm_bench.probes import Probe, Subject
from calm_bench.records.schema import SCHEMA_VERSION
from calm_bench.records.stage_cache import Chunks, StageCache
from calm_bench.stages import identity


def ask(probe: Probe, subject: Subject, model_identity: str, cache: StageCache) -> pd.DataFrame:
    """The probe's table, or what it has answered before."""
    key = {
        "probe": f"{type(probe).__module__}.{probe!r}",
        "schema": SCHEMA_VERSION,
        "model": model_identity,
        "dtype": subject.decoder.dtype,
        "task": identity.of_task(subject.task, subject.task.split),
        "similarity": subject.task.similarity.description if probe.reads_similarity else None,
        "examples": [example.id for example in subject.examples],
        "measures": [repr(measure) for measure in subject.measures],
        "seed": subject.seed,
    }
    with enough_memory(f"probes: {probe.name} is", "probes=[] leaves all out"), cache.hold(probe.name, key) as folder:
        chunks = Chunks(folder, 1)
        if not chunks.done(0):
            chunks.write(0, {probe.name: probe.answer(subject)})
        answer: pd.DataFrame = chunks.read(0, probe.name).to_pandas()
        return answer
