"""Where a task's rows come from: a local folder of parquet or JSON lines files, or the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from calm_bench.errors import InputError

if TYPE_CHECKING:
    import datasets
    import pyarrow as pa

SPLITS = ("train", "validation", "test")
READERS = {".parquet": "parquet", ".jsonl": "json"}
BUNDLED = Path(__file__).parents[1] / "assets"


def splits(path: str | None, hub: str | None, hub_config: str | None) -> list[str]:
    """Names of the splits there are. Raises InputError when the folder is missing or the hub does not answer."""
    if path is not None:
        return list(local_files(path))
    import datasets

    with _hub_errors(hub):
        return list(datasets.get_dataset_split_names(hub, hub_config))


def load(
    path: str | None, hub: str | None, hub_config: str | None, split: str, columns: Sequence[str]
) -> datasets.Dataset:
    """One split, checked: it exists, is not empty, and has every column of `columns` as text without a null.

    columns: as `Task.columns`. Raises InputError.
    """
    where = f"task.path={path}" if path is not None else f"hub data set {hub}"
    dataset = _local(path, split) if path is not None else _from_hub(hub, hub_config, split)
    if len(dataset) == 0:
        raise InputError(f"{where}: split {split} is empty")
    for column in columns:
        _check_column(dataset, column, f"{where}: split {split}")
    return dataset


def local_files(path: str) -> dict[str, Path]:
    """The file of each split in a local folder. Raises InputError where there is none."""
    folder = Path(path)
    if not folder.is_dir():
        raise InputError(f"task.path={path} must be a folder with {{train,validation,test}}.parquet or .jsonl")
    candidates = ((split, folder / f"{split}{suffix}") for split in SPLITS for suffix in reversed(READERS))
    found = {split: file for split, file in candidates if file.is_file()}
    if not found:
        raise InputError(f"task.path={path} has none of {{train,validation,test}}.parquet or .jsonl")
    return found


def _local(path: str, split: str) -> datasets.Dataset:
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

    file = files[split]
    try:
        if not _has_rows(file):
            return datasets.Dataset.from_dict({})
        with _quiet():
            return datasets.load_dataset(READERS[file.suffix], data_files={split: str(file)}, split=split)
    except Exception as error:  # datasets, pyarrow and the system each raise their own
        raise InputError(f"task.path: cannot read {file}: {_reason(error.__cause__ or error)}") from error


def _has_rows(file: Path) -> bool:
    """Asked first, because datasets fails on an empty file with a message about something else."""
    if file.suffix == ".jsonl":
        with file.open(encoding="utf-8") as lines:
            return any(line.strip() for line in lines)
    import pyarrow.parquet as pq

    return bool(pq.read_metadata(file).num_rows)


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
            f"cannot load {hub} from the hub ({_reason(error)}): give task.path a local folder with "
            "{train,validation,test}.parquet or .jsonl instead"
        ) from error


def _reason(error: BaseException) -> str:
    """The first line of a foreign error."""
    return (str(error).splitlines() or [type(error).__name__])[0]


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars for a local file, which takes a moment, and no second report of an error that is raised."""
    import datasets

    bars, verbosity = datasets.is_progress_bar_enabled(), datasets.logging.get_verbosity()
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    try:
        yield
    finally:
        datasets.logging.set_verbosity(verbosity)
        if bars:
            datasets.enable_progress_bars()


def _check_column(dataset: datasets.Dataset, column: str, where: str) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc

    path = column.removesuffix("[]")
    name, *fields = path.split(".")
    if name not in dataset.column_names:
        raise InputError(f"{where} has no column {path} (columns: {', '.join(dataset.column_names)})")
    values: pa.ChunkedArray = dataset.data.column(name)
    for field in fields:
        if not pa.types.is_struct(values.type) or values.type.get_field_index(field) < 0:
            raise InputError(f"{where} has no field {path}: column {name} is {values.type}")
        values = pc.struct_field(values, field)
    is_list = pa.types.is_list(values.type) or pa.types.is_large_list(values.type)
    content = values.type.value_type if is_list else values.type
    if is_list != column.endswith("[]") or not (pa.types.is_string(content) or pa.types.is_large_string(content)):
        wanted = "a list of strings" if column.endswith("[]") else "a string"
        raise InputError(f"{where}: {path} is {values.type}, but must be {wanted}")
    if values.null_count:
        raise InputError(f"{where} has no value in {path} in {values.null_count} of its rows")
