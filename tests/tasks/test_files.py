"""Every wrong source ends in one line that names the option, what was found, and what is needed."""

import os
import re
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from calm_bench.errors import InputError
from calm_bench.stages import identity

from .conftest import ASSETS, ROW, Build, Folder


def refuses(message: str) -> pytest.RaisesExc[InputError]:
    """The whole message, which is one line."""
    return pytest.raises(InputError, match=re.compile(f"^{message}$"))


def test_a_folder_that_is_missing_or_a_file(build: Build, tmp_path: Path) -> None:
    (tmp_path / "test.parquet").touch()
    for path in (tmp_path / "none", tmp_path / "test.parquet"):
        with refuses(rf"task.path={path} must be a folder with {{train,validation,test}}.parquet or .jsonl"):
            build("cnndm", path=str(path)).examples("test")


def test_a_folder_without_any_split(build: Build, tmp_path: Path) -> None:
    with refuses(rf"task.path={tmp_path} has none of {{train,validation,test}}.parquet or .jsonl"):
        build("cnndm", path=str(tmp_path)).has_split("test")


def test_a_missing_split_says_which_there_are(build: Build, folder: Folder) -> None:
    path = folder(test=[ROW["cnndm"]], validation=[ROW["cnndm"]])
    with refuses(rf"task.path={path} has no train.parquet or .jsonl \(found: validation, test\)"):
        build("cnndm", path=path).rows("train")


def test_the_training_split_is_not_bundled(build: Build) -> None:
    with refuses(
        r"the train split of tatoeba_enfr is not bundled .*: give task.path a folder that has train.parquet .*"
    ):
        build("tatoeba_enfr").rows("train")


@pytest.mark.parametrize(
    ("name", "without", "message"),
    [
        ("cnndm", "highlights", r"has no column highlights \(columns: id, article\)"),
        ("squad", "answers", r"has no column answers \(columns: id, context, question\)"),
        ("scitldr", "references", r"has no column references \(columns: id, article, highlights\)"),
    ],
)
def test_a_missing_column_is_named(name: str, without: str, message: str, build: Build, folder: Folder) -> None:
    path = folder(test=[{column: value for column, value in ROW[name].items() if column != without}])
    with refuses(rf"task.path: {path}/test.parquet {message}"):
        build(name, path=path).examples("test")


def test_a_missing_language_is_named(build: Build, folder: Folder) -> None:
    path = folder(test=[{"translation": {"en": "Go.", "de": "Geh."}}])
    with refuses(rf"task.path: {path}/test.parquet has no field translation.fr: column translation is struct<.*>"):
        build("wmt15_enfr", path=path).rows("test")


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("cnndm", {"article": 3}, "article is int64, but must be a string"),
        ("cnndm", {"article": ["one", "two"]}, "article is list<.*string>, but must be a string"),
        ("scitldr", {"references": "one"}, r"references is string, but must be a list of strings"),
        ("squad", {"answers": {"text": "Bob"}}, r"answers.text is string, but must be a list of strings"),
    ],
)
def test_a_column_that_is_not_text(
    name: str, change: dict[str, object], message: str, build: Build, folder: Folder
) -> None:
    path = folder(test=[ROW[name] | change])
    with refuses(rf"task.path: {path}/test.parquet: {message}"):
        build(name, path=path).examples("test")


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("cnndm", {"highlights": None}, "highlights has no value"),
        ("cnndm", {"id": None}, "id has no value"),
        ("wmt15_enfr", {"translation": None}, "translation has no value"),
        ("wmt15_enfr", {"translation": {"fr": "Une maison."}}, "translation.en has no value"),
        ("wmt15_enfr", {"translation": {"en": "A house."}}, "translation.fr has no value"),
        ("squad", {"answers": {"text": ["Bob", None]}}, "answers.text has an entry without a value"),
        ("squad", {"answers": {}}, "answers.text has no value"),
        ("scitldr", {"references": ["x", None]}, "references has an entry without a value"),
    ],
)
def test_a_missing_value_is_named_by_file_row_and_field(
    name: str, change: dict[str, object], message: str, suffix: str, build: Build, folder: Folder
) -> None:
    row = ROW[name]
    path = folder(suffix, test=[row, {**row, "id": "2"} if "id" in row else row, {**row, **change}])
    with refuses(rf"task.path: {path}/test{suffix}, row 3: {message}"):
        build(name, path=path).rows("test")


@pytest.mark.parametrize("field", ["id", "article", "highlights"])
@pytest.mark.parametrize("lacking", [1, 2])
def test_a_line_without_one_of_the_fields_is_named(field: str, lacking: int, build: Build, folder: Folder) -> None:
    rows = [ROW["cnndm"] | {"id": "a1"}, ROW["cnndm"] | {"id": "a2"}]
    del rows[lacking - 1][field]
    path = folder(".jsonl", test=rows)
    with refuses(rf"task.path: {path}/test.jsonl, row {lacking}: {field} has no value"):
        build("cnndm", path=path).rows("test")


def test_nulls_alone(build: Build, folder: Folder) -> None:
    """Where every entry is missing, files have no type for them."""
    path = folder(test=[ROW["squad"] | {"answers": {"text": [None]}}])
    with refuses(rf"task.path: {path}/test.parquet, row 1: answers.text has an entry without a value"):
        build("squad", path=path).rows("test")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{no}", r"task.path: cannot read .*/test.jsonl: line 3 is no JSON: .*"),
        ("[1]", r"task.path: cannot read .*/test.jsonl: line 3 is no object with fields"),
        ('{"article": 3, "highlights": "x"}', r"task.path: .*/test.jsonl: article is not of one kind in all rows: .*"),
    ],
)
def test_a_line_that_is_no_row(line: str, message: str, build: Build, tmp_path: Path) -> None:
    row = '{"article": "a", "highlights": "h", "other": 1}'
    (tmp_path / "test.jsonl").write_text(f"{row}\n\n{line}\n")
    with refuses(message):
        build("cnndm", path=str(tmp_path)).rows("test")


def test_json_lines_may_have_ids_and_further_fields_of_several_kinds(build: Build, tmp_path: Path) -> None:
    rows = ['{"article": "2020-01-01", "highlights": "h", "id": 1}', '{"article": "b", "highlights": "i", "id": "x"}']
    (tmp_path / "test.jsonl").write_text("\n".join([*rows[:1], rows[1].replace("}", ', "n": [{}]}')]))
    examples = build("cnndm", path=str(tmp_path)).examples("test")
    assert [(example.id, example.source) for example in examples] == [
        ("1", "summarize: 2020-01-01"),
        ("x", "summarize: b"),
    ]


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
def test_an_empty_split(suffix: str, build: Build, folder: Folder) -> None:
    path = folder(suffix, test=[])
    with refuses(rf"task.path={path}: split test is empty"):
        build("cnndm", path=path).examples("test")


@pytest.mark.parametrize("file", ["test.parquet", "test.jsonl"])
def test_a_damaged_file_is_named_and_reported_once(
    file: str, build: Build, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / file).write_text('{"article": "no end')
    with refuses(rf"task.path: cannot read {tmp_path / file}: .+"):
        build("cnndm", path=str(tmp_path)).examples("test")
    assert capfd.readouterr() == ("", "")


def test_a_question_or_abstract_without_references(build: Build, folder: Folder) -> None:
    path = folder(test=[ROW["squad"], ROW["squad"] | {"id": "q2", "answers": {"text": []}}])
    with refuses("task squad: question q2 has no answer, but SQuAD 1.1 gives at least one"):
        build("squad", path=path).examples("test")
    path = folder(test=[ROW["scitldr"], ROW["scitldr"] | {"id": "p2", "references": []}])
    with refuses("task scitldr: references of p2 is empty, but must hold at least one summary"):
        build("scitldr", path=path).examples("test")


def test_an_id_that_comes_twice(build: Build, folder: Folder) -> None:
    path = folder(test=[ROW["cnndm"], ROW["cnndm"]])
    with refuses("task cnndm: id 'a1' stands twice in split test, but must be unique"):
        build("cnndm", path=path).examples("test")


def test_a_changed_file_is_read_again(build: Build, folder: Folder) -> None:
    for article in ("one", "two"):
        path = folder(test=[ROW["cnndm"] | {"article": article}])
        assert build("cnndm", path=path).examples("test")[0].source == f"summarize: {article}"


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
def test_other_words_of_the_same_length_and_time_are_read(suffix: str, build: Build, folder: Folder) -> None:
    """`datasets` would go on with the old ones: it keeps what it read by path and time."""
    seen = set()
    for article in ("one", "two"):
        path = folder(suffix, test=[ROW["cnndm"] | {"article": article}])
        os.utime(Path(path) / f"test{suffix}", ns=(10**18, 10**18))
        seen.add(identity.of_data(path))
        assert build("cnndm", path=path).examples("test")[0].source == f"summarize: {article}"
    assert len(seen) == 2


def test_local_files_load_in_silence(build: Build, folder: Folder, capfd: pytest.CaptureFixture[str]) -> None:
    build("cnndm", path=folder(test=[ROW["cnndm"]])).examples("test")
    assert capfd.readouterr() == ("", "")
    assert datasets.is_progress_bar_enabled()


def test_no_network_names_the_way_around(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*args: object, **kwargs: object) -> None:
        raise ConnectionError("Couldn't reach it\non the hub")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    monkeypatch.setattr(datasets, "get_dataset_split_names", unreachable)
    message = (
        r"cannot load rajpurkar/squad from the hub \(Couldn't reach it on the hub\): "
        r"give task.path a local folder with {train,validation,test}.parquet or .jsonl instead"
    )
    with refuses(message):
        build("squad").examples("validation")
    with refuses(message):
        build("squad").has_split("validation")


def test_the_hub_is_asked_for_the_configured_split_and_no_code(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def load_dataset(*args: object, **kwargs: object) -> datasets.Dataset:
        asked.append((args, kwargs))
        return datasets.Dataset.from_list([ROW["wmt15_enfr"]])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert build("wmt15_enfr").examples("test")[0].target == "Une maison."
    assert asked == [(("wmt/wmt15", "fr-en"), {"split": "test"})]


def test_neither_folder_nor_hub(build: Build) -> None:
    with refuses("task.path=null, but this task has no hub name: give task.path a local folder"):
        build("tatoeba_enfr", path=None).has_split("test")


def test_a_copy_of_the_bundle_is_not_the_bundle(build: Build, tmp_path: Path) -> None:
    (tmp_path / "test.parquet").write_bytes((ASSETS / "data" / "tatoeba_enfr" / "test.parquet").read_bytes())
    with refuses(rf"task.path={tmp_path} has no train.parquet or .jsonl \(found: test\)"):
        build("tatoeba_enfr", path=str(tmp_path)).rows("train")


def test_a_split_in_several_files_is_read_as_one(build: Build, folder: Folder) -> None:
    path = Path(folder())
    one, two = ({"translation": {"en": text, "fr": "x"}, "note": text} for text in ("a", "b"))
    pq.write_table(pa.Table.from_pylist([one, two]), path / "train-00000-of-00002.parquet")
    pq.write_table(pa.Table.from_pylist([{**one, "id": "other"}]), path / "train-00001-of-00002.parquet")
    task = build("wmt15_enfr", path=str(path))
    assert [example.source.removeprefix(task.prompt) for example in task.examples("train")] == ["a", "b", "a"]
    assert [example.id for example in task.examples("train")] == ["train-0", "train-1", "train-2"]  # not all have one
    before = identity.of_data(str(path))
    (path / "train-00001-of-00002.parquet").rename(path / "train-1.parquet")
    assert identity.of_data(str(path)) != before
    pq.write_table(pa.Table.from_pylist([two]), path / "train.parquet")
    assert len(task.examples("train")) == 1
