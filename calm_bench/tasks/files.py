"""Where a task's rows come from: a local folder of parquet or JSON lines files, or the Hugging Face hub.

A split is the file SPLIT.parquet or SPLIT.jsonl or, as the hub's own folders have it, all files SPLIT-*.parquet
together: so a folder of links joins several data sets.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from calm_bench.errors import InputError, in_one_line
from calm_bench.tasks.columns import check, read_file

if TYPE_CHECKING:
    import datasets

SPLITS = ("train", "validation", "test")
SUFFIXES = (".parquet", ".jsonl")  # the latter wins where there are both
BUNDLED = Path(__file__).parents[1] / "assets"


def splits(path: str | None, hub: str | None, hub_config: str | None) -> list[str]:
    """Names of the splits there are. Raises InputError when the folder is missing or the hub does not answer."""
    if path is not None:
        return list(local_files(path))
    import datasets

    with _hub_errors(hub):
        return list(datasets.get_dataset_split_names(hub, hub_config))


def load(
    path: str | None,
    hub: str | None,
    hub_config: str | None,
    split: str,
    columns: Sequence[str],
    extra: Sequence[str] = ("id",),
) -> datasets.Dataset:
    """One split, checked: it exists, is not empty, and has every column of `columns` as text without a null.

    columns: as `Task.columns`. extra: columns that may lack. Of a local file only these are there. Raises InputError.
    """
    where = f"task.path={path}" if path is not None else f"hub data set {hub}"
    dataset = _local(path, split, columns, extra) if path is not None else _from_hub(hub, hub_config, split)
    if len(dataset) == 0:
        raise InputError(f"{where}: split {split} is empty")
    if path is None:
        check(dataset.data.table, columns, dataset.column_names, f"{where}: split {split}")
    return dataset


def local_files(path: str) -> dict[str, list[Path]]:
    """The files of each split in a local folder, in the order of their rows. Raises InputError where there is none."""
    folder = Path(path)
    if not folder.is_dir():
        raise InputError(f"task.path={path} must be a folder with {{train,validation,test}}.parquet or .jsonl")
    whole = {split: [file] for split in SPLITS for s in SUFFIXES if (file := folder / f"{split}{s}").is_file()}
    parts = {split: sorted(file for s in SUFFIXES for file in folder.glob(f"{split}-*{s}")) for split in SPLITS}
    found = {split: files for split in SPLITS if (files := whole.get(split) or parts[split])}
    if not found:
        raise InputError(f"task.path={path} has none of {{train,validation,test}}.parquet or .jsonl")
    return found


def _local(path: str, split: str, columns: Sequence[str], extra: Sequence[str]) -> datasets.Dataset:
    files = local_files(path)
    if split not in files:
        found = ", ".join(files)
        if Path(path).resolve().is_relative_to(BUNDLED):
            raise InputError(
                f"the {split} split of {Path(path).name} is not bundled (only {found}): "
                f"give task.path a folder that has {split}.parquet or .jsonl"
            )
        raise InputError(f"task.path={path} has no {split}.parquet or .jsonl (found: {found})")
    import datasets
    import pyarrow as pa

    tables = [read_file(file, columns, extra) for file in files[split]]
    shared = [name for name in tables[0].column_names if all(name in table.column_names for table in tables)]
    table = pa.concat_tables([table.select(shared) for table in tables], promote_options="permissive")
    return datasets.Dataset(table, fingerprint=uuid.uuid4().hex)  # else `datasets` hashes every word for one


def _from_hub(hub: str | None, hub_config: str | None, split: str) -> datasets.Dataset:
    import datasets

    with _hub_errors(hub):
        return datasets.load_dataset(hub, hub_config, split=split)


@contextmanager
def _hub_errors(hub: str | None) -> Iterator[None]:
    """Whatever keeps the hub from answering, in one line that names the way around it."""
    if hub is None:
        raise InputError("task.path=null, but this task has no hub name: give task.path a local folder")
    try:
        yield
    except Exception as error:  # datasets, huggingface_hub and its HTTP client each raise their own
        raise InputError(
            f"cannot load {hub} from the hub ({in_one_line(error)}): give task.path a local folder with "
            "{train,validation,test}.parquet or .jsonl instead"
        ) from error
