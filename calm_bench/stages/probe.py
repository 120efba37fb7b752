"""Stage 2, beside decoding: what is asked of the model itself. Asked once of the same model and examples."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from calm_bench.probes import PROBES, SCORED, Subject
from calm_bench.records.schema import SCHEMA_VERSION
from calm_bench.records.stage_cache import Chunks, StageCache
from calm_bench.stages import identity


def probe(names: Sequence[str], subject: Subject, model_identity: str, cache: StageCache) -> dict[str, pd.DataFrame]:
    """The table of each probe in `names`, by its name (a key of `PROBES` and of the record's schema)."""
    return {name: _asked(name, subject, model_identity, cache) for name in names}


def _asked(name: str, subject: Subject, model_identity: str, cache: StageCache) -> pd.DataFrame:
    key = {
        "probe": name,
        "schema": SCHEMA_VERSION,
        "model": model_identity,
        "dtype": subject.decoder.dtype,
        "task": identity.of_task(subject.task, subject.task.split),
        "similarity": subject.task.similarity.description if name in SCORED else None,
        "examples": [example.id for example in subject.examples],
        "measures": [repr(measure) for measure in subject.measures],
        "seed": subject.seed,
    }
    with cache.hold(name, key) as folder:
        chunks = Chunks(folder, 1)
        if not chunks.done(0):
            chunks.write(0, {name: PROBES[name](subject)})
        answer: pd.DataFrame = chunks.read(0, name).to_pandas()
        return answer
