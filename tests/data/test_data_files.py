"""Rows from real files and folders."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset, DatasetDict

from rlent.data import DataSection, load_rows
from rlent.errors import ConfigError

Write = Callable[[str, list[dict[str, Any]]], str]
ROWS = [{"question": f"What is {i} + 1?", "answer": i + 1, "level": i % 3} for i in range(8)]


def _user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def _by_answer(rows: Dataset) -> list[dict[str, Any]]:
    return sorted(rows.to_list(), key=lambda row: int(row["answer"]))


def _error(**section: Any) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load_rows(DataSection(**section))
    return caught.value


@pytest.mark.parametrize("kind", ["jsonl", "json", "parquet", "csv", "folder", "splits"])
def test_every_kind_of_source_gives_the_same_rows(kind: str, tmp_path: Path) -> None:
    table = Dataset.from_list(ROWS)
    path = tmp_path / f"rows.{kind}"
    match kind:
        case "jsonl":
            table.to_json(path)
        case "json":
            table.to_json(path, lines=False)
        case "parquet":
            table.to_parquet(path)
        case "csv":
            table.to_csv(path)
        case "folder":
            table.save_to_disk(path)
        case "splits":
            DatasetDict({"train": table, "test": table.select([0])}).save_to_disk(path)
    rows = load_rows(DataSection(name=str(path)))
    assert rows.column_names == ["prompt", "answer", "question", "level"]
    assert _by_answer(rows) == [
        {**row, "prompt": _user(row["question"]), "answer": str(row["answer"])} for row in ROWS
    ]


def test_a_split_of_a_saved_folder_is_read(tmp_path: Path) -> None:
    table = Dataset.from_list(ROWS)
    splits = DatasetDict({"train": table, "test": table.select([5])})
    splits.save_to_disk(tmp_path / "saved")
    rows = load_rows(DataSection(name=str(tmp_path / "saved"), split="test"))
    assert rows["answer"][:] == ["6"]


def test_a_glob_reads_all_its_files(write_jsonl: Write, tmp_path: Path) -> None:
    write_jsonl("part-1.jsonl", ROWS[:3])
    write_jsonl("part-2.jsonl", ROWS[3:5])
    write_jsonl("other.jsonl", ROWS[5:])
    rows = load_rows(DataSection(name=str(tmp_path / "part-*.jsonl")))
    assert sorted(rows["answer"]) == ["1", "2", "3", "4", "5"]


def test_a_changed_file_is_read_again(write_jsonl: Write) -> None:
    name = write_jsonl("rows.jsonl", ROWS[:3])
    assert len(load_rows(DataSection(name=name))) == 3
    write_jsonl("rows.jsonl", ROWS)
    assert len(load_rows(DataSection(name=name))) == 8


def test_relative_names_and_the_home_folder(
    write_jsonl: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_jsonl("data/rows.jsonl", ROWS)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("data/rows.jsonl", "./data/rows.jsonl", "~/data/rows.jsonl", "~/data/*.jsonl"):
        assert len(load_rows(DataSection(name=name))) == 8


def test_order_and_choice_of_rows_follow_the_seed(write_jsonl: Write) -> None:
    name = write_jsonl("rows.jsonl", [{"prompt": str(i), "answer": i} for i in range(50)])
    first = load_rows(DataSection(name=name, size=20, seed=3))["answer"][:]
    again = load_rows(DataSection(name=name, size=20, seed=3))["answer"][:]
    other = load_rows(DataSection(name=name, size=20, seed=4))["answer"][:]
    everything = load_rows(DataSection(name=name, seed=3))["answer"][:]
    assert first == again == everything[:20]
    assert sorted(first) != sorted(other)
    assert sorted(everything, key=int) == [str(i) for i in range(50)]
    assert everything != sorted(everything, key=int)


def test_size_beyond_the_rows_says_how_many_there_are(write_jsonl: Write) -> None:
    error = _error(name=write_jsonl("rows.jsonl", ROWS), size=9)
    assert error.key == "data.size"
    assert "only 8 rows" in str(error)
    assert error.expected == "at most 8"


@pytest.mark.parametrize("size", [0, -4])
def test_size_must_be_positive(size: int) -> None:
    assert _error(name="rows.jsonl", size=size).key == "data.size"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.jsonl", ""),
        ("rows.jsonl", "\n\n"),
        ("rows.json", "[]"),
        ("rows.csv", "prompt,answer\n"),
    ],
)
def test_a_file_without_rows(name: str, content: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    error = _error(name=str(tmp_path / name))
    assert "has no rows" in str(error)
    assert name in str(error)


def test_a_parquet_file_and_a_split_without_rows(tmp_path: Path) -> None:
    empty = Dataset.from_dict({"prompt": [], "answer": []})
    empty.to_parquet(tmp_path / "rows.parquet")
    assert "has no rows" in str(_error(name=str(tmp_path / "rows.parquet")))
    splits = DatasetDict({"train": Dataset.from_list(ROWS), "test": empty})
    splits.save_to_disk(tmp_path / "saved")
    error = _error(name=str(tmp_path / "saved"), split="test")
    assert f"the table in '{tmp_path}/saved/test' has no rows" in str(error)
    for shards in (None, 1):
        Dataset.from_list(ROWS).select([]).save_to_disk(tmp_path / "one", num_shards=shards)
        assert "has no rows" in str(_error(name=str(tmp_path / "one")))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.json", '[{"prompt": "a"},\n {"prompt": ]'),
        ("rows.parquet", "this is no parquet file"),
        ("rows.csv", 'a,b\n1,2\n"3,4,5\n'),
        ("rows.csv", "a,a\n1,2\n"),
    ],
)
@pytest.mark.parametrize("bad_rows", ["stop", "skip"])
def test_a_broken_file_is_no_matter_of_rows(
    name: str, content: str, bad_rows: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(content)
    error = _error(name=str(tmp_path / name), bad_rows=bad_rows)
    assert name in error.problem
    assert error.key == "data.name"


def test_a_row_of_a_glob_without_the_columns_of_the_others(
    write_jsonl: Write, tmp_path: Path
) -> None:
    write_jsonl("part-1.jsonl", [{"prompt": "a", "answer": 1}])
    second = write_jsonl("part-2.jsonl", [{"text": "a", "label": {"x": 1}}])
    error = _error(name=str(tmp_path / "part-*.jsonl"), seed=1)
    assert f"{second}:1: no usable prompt" in str(error)


def test_parquet_files_of_a_glob_need_the_same_columns(tmp_path: Path) -> None:
    Dataset.from_list([{"prompt": "a", "answer": 1}]).to_parquet(tmp_path / "part-1.parquet")
    Dataset.from_list([{"text": "a", "label": {"x": 1}}]).to_parquet(tmp_path / "part-2.parquet")
    error = _error(name=str(tmp_path / "part-*.parquet"))
    assert "part-1.parquet" in error.problem
    assert "part-2.parquet could not be read" in error.problem


def test_a_missing_file_names_its_neighbour(write_jsonl: Write, tmp_path: Path) -> None:
    write_jsonl("data/train.jsonl", ROWS)
    for name in ("data/tran.jsonl", str(tmp_path / "data" / "tran.jsonl")):
        error = _error(name=name)
        assert "there is no file" in str(error)
        assert error.nearest == "train.jsonl"


def test_a_missing_folder_on_the_way_is_the_one_named(write_jsonl: Write) -> None:
    write_jsonl("dataset/train.jsonl", ROWS)
    error = _error(name="./datasets/train.jsonl")
    assert "'datasets'" in error.problem
    assert error.nearest == "dataset"


def test_a_glob_without_files(tmp_path: Path) -> None:
    assert "no file matches" in str(_error(name=str(tmp_path / "*.jsonl")))


def test_unknown_and_mixed_kinds_of_files(write_jsonl: Write, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonlines").write_text("{}")
    error = _error(name=str(tmp_path / "rows.jsonlines"))
    assert error.given == ".jsonlines"
    assert error.nearest == ".jsonl"
    write_jsonl("part-1.jsonl", ROWS)
    (tmp_path / "part-2.csv").write_text("question,answer\na,1\n")
    assert "several kinds" in str(_error(name=str(tmp_path / "part-*")))


def test_a_folder_that_is_no_saved_dataset(write_jsonl: Write, tmp_path: Path) -> None:
    write_jsonl("data/train.jsonl", ROWS)
    error = _error(name=str(tmp_path / "data"))
    assert "was not written by save_to_disk" in str(error)
    assert "*.jsonl" in str(error.remedy)


def test_an_unknown_split_names_the_nearest(tmp_path: Path, write_jsonl: Write) -> None:
    table = Dataset.from_list(ROWS)
    DatasetDict({"train": table, "test": table}).save_to_disk(tmp_path / "saved")
    error = _error(name=str(tmp_path / "saved"), split="tran")
    assert (error.key, error.nearest, error.expected) == ("data.split", "train", "train, test")
    assert _error(name=write_jsonl("r.jsonl", ROWS), split="test").expected == "train"


def test_settings_of_other_sources_are_refused(write_jsonl: Write) -> None:
    name = write_jsonl("rows.jsonl", ROWS)
    assert _error(name=name, config="main").key == "data.config"
    assert _error(name=name, options={"min_terms": 2}).key == "data.options"
