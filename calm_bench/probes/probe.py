"""What a probe is: a question to the model itself, whose answer is a table of the record."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import pandas as pd
import pyarrow as pa

from calm_bench.probes.subject import Subject


@dataclass(frozen=True)
class Probe(ABC):
    """A question; a subclass says its name and the columns of its answer, and its options are the class's fields.

    Class attributes:
        name: of the table in the record, and of its YAML in conf/probes.
        columns: what `answer` gives, each column with its type and meaning (`records.schema.column`).
        reads_similarity: whether the answer depends on the task's similarity.
    """

    name: ClassVar[str]
    columns: ClassVar[pa.Schema]
    reads_similarity: ClassVar[bool] = False

    @abstractmethod
    def answer(self, subject: Subject) -> pd.DataFrame:
        """The rows of the table. Raises InputError where this subject cannot be asked."""
