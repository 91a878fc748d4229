"""Rows that cannot be read: every one is named by file and line, and stops the run or is skipped and counted."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlent.data import DataSection, LoadedData, load_data
from rlent.data.text_files import CHUNK
from rlent.errors import ConfigError

GOOD = b'{"prompt": "p%d", "answer": %d}\n'


def _first_error(path: Path, **section: Any) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load_data(DataSection(name=str(path), **section))
    return caught.value


def _skipped(path: Path, **section: Any) -> tuple[LoadedData, list[tuple[str, str]]]:
    """What is left, and the skipped rows as file:line and reason."""
    data = load_data(DataSection(name=str(path), bad_rows="skip", **section))
    found = data.problems.first.get("bad_rows", [])
    assert data.problems.counts["bad_rows"] >= len(found)
    return data, [(Path(problem.place).name, problem.reason) for problem in found]


def _jsonl(path: Path, *lines: bytes) -> Path:
    path.write_bytes(b"".join(lines))
    return path


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"prompt": \n', "not JSON: Expecting value at column 11"),
        (b'{"prompt": "p", "answer": 1} extra\n', "not JSON: Extra data"),
        (b'["prompt", 1]\n', "not a JSON object"),
        (b"{}\n", "not a JSON object with columns"),
        (b'{"prompt": "\xff", "answer": 1}\n', "not UTF-8: byte 0xff"),
        (b'{"prompt": "\\ud800", "answer": 1}\n', "fit no table"),
        (b'{"prompt": "p", "answer": 99999999999999999999}\n', "fit no table"),
        (b'{"prompt": "p", "answer": "one"}\n', "Field answer has incompatible types"),
        (b'{"prompt": ["p"], "answer": 1}\n', "Field prompt has incompatible types"),
        (b'{"answer": 1}\n', "no usable prompt"),
        (b'{"prompt": "  ", "answer": 1}\n', "no usable prompt"),
    ],
)
def test_a_bad_line_of_json(line: bytes, reason: str, tmp_path: Path) -> None:
    path = _jsonl(tmp_path / "rows.jsonl", GOOD % (0, 0), b"\n", GOOD % (1, 1), line, GOOD % (2, 2))
    error = _first_error(path)
    assert f"{path}:4: " in error.problem
    assert reason in error.problem
    assert error.remedy == "correct the row, or set data.bad_rows: skip"
    data, found = _skipped(path)
    assert [place for place, _ in found] == ["rows.jsonl:4"]
    assert reason in found[0][1]
    assert sorted(data.rows["answer"]) == ["0", "1", "2"]
    assert sorted(Path(place).name for place in data.places) == [
        "rows.jsonl:1",
        "rows.jsonl:3",
        "rows.jsonl:5",
    ]
    assert data.problems.left_out() == ["1 bad"]


def test_every_bad_line_is_counted_and_the_first_ones_are_named_in_order(tmp_path: Path) -> None:
    lines = [GOOD % (i, i) if i % 3 else b"[%d]\n" % i for i in range(30)]
    lines[16] = b'{"prompt": 1, "answer": 1}\n'
    data, found = _skipped(_jsonl(tmp_path / "rows.jsonl", *lines))
    assert [place for place, _ in found] == [f"rows.jsonl:{n}" for n in (1, 4, 7, 10, 13)]
    assert data.problems.counts["bad_rows"] == 11
    assert len(data.rows) == 19


def test_lines_beyond_the_first_chunk(tmp_path: Path) -> None:
    lines = [GOOD % (i, i) for i in range(CHUNK + 5)]
    lines[CHUNK + 2] = b"{\n"
    lines[CHUNK + 3] = b'{"prompt": "p", "answer": "text"}\n'
    lines[CHUNK + 4] = b'{"prompt": "last", "answer": 2.5, "level": 1}\n'
    data, found = _skipped(_jsonl(tmp_path / "rows.jsonl", *lines))
    assert [place for place, _ in found] == [f"rows.jsonl:{CHUNK + 3}", f"rows.jsonl:{CHUNK + 4}"]
    assert len(data.rows) == CHUNK + 3
    last = next(row for row in data.rows.to_list() if row["prompt"][0]["content"] == "last")
    assert (last["answer"], last["level"]) == ("2.5", 1)


def test_a_byte_order_mark_and_windows_line_ends_are_no_faults(tmp_path: Path) -> None:
    path = _jsonl(tmp_path / "a.jsonl", b"\xef\xbb\xbf" + b'{"prompt": "p", "answer": 1}\r\n')
    assert load_data(DataSection(name=str(path))).rows["answer"][:] == ["1"]
    path = _jsonl(tmp_path / "a.csv", b"\xef\xbb\xbfprompt,answer\r\np,1\r\n")
    assert load_data(DataSection(name=str(path))).rows["answer"][:] == ["1"]


def test_rows_of_a_json_list_have_the_lines_they_start_in(tmp_path: Path) -> None:
    rows = [{"prompt": "p0", "answer": 0}, [1], {"prompt": "[,]", "answer": 2}, {"prompt": None}]
    (tmp_path / "rows.json").write_text("\n" + json.dumps(rows, indent=1))
    # The list opens in line 2; a row of two keys takes four lines, the inner list three.
    data, found = _skipped(tmp_path / "rows.json")
    assert found[0] == ("rows.json:7", "not a JSON object with columns")
    assert found[1][0] == "rows.json:14"
    assert sorted(Path(place).name for place in data.places) == ["rows.json:10", "rows.json:3"]


def test_json_lines_in_a_json_file(tmp_path: Path) -> None:
    path = _jsonl(tmp_path / "rows.json", GOOD % (0, 0), b"{\n", GOOD % (1, 1))
    assert f"{path}:2: not JSON" in _first_error(path).problem


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b"p,1,2\n", "3 fields, and the header has 2 columns"),
        (b"p\n", "1 fields, and the header has 2 columns"),
        (b'"p"x,1\n', "not CSV: ',' expected after '\"'"),
        (b"p\xff,1\n", "not UTF-8"),
        (b",1\n", "no usable prompt"),
    ],
)
def test_a_bad_row_of_csv(row: bytes, reason: str, tmp_path: Path) -> None:
    path = _jsonl(tmp_path / "rows.csv", b'prompt,answer\n"two\nlines",0\n\n', row, b"p2,2\n")
    error = _first_error(path)
    assert f"{path}:5: {reason}" in error.problem
    data, found = _skipped(path)
    assert [place for place, _ in found] == ["rows.csv:5"]
    assert sorted(zip(data.rows["answer"], data.places, strict=True)) == [
        ("0", f"{path}:2"),
        ("2", f"{path}:6"),
    ]


def test_csv_values_keep_their_text(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(
        "question,answer,count,share,flag,code,none\n"
        "a,1.50,3,0.5,True,007,\n"
        "b,1e3,,2.0,False,12,\n"
        "NA,nan,-4,1e-05,,1,\n"
    )
    rows = sorted(
        load_data(DataSection(name=str(path))).rows.to_list(), key=lambda r: r["question"]
    )
    assert [row["answer"] for row in rows] == ["nan", "1.50", "1e3"]
    assert [row["count"] for row in rows] == [-4, 3, None]
    assert [row["share"] for row in rows] == [1e-05, 0.5, 2.0]
    assert [row["flag"] for row in rows] == [None, True, False]
    assert [row["code"] for row in rows] == ["1", "007", "12"]
    assert [row["none"] for row in rows] == [None, None, None]


def test_a_field_beyond_the_limit_of_the_csv_module(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(f"prompt,answer\n{'x' * 200_000},1\n")
    assert len(load_data(DataSection(name=str(path), style="plain")).rows[0]["prompt"]) == 200_000


def test_nothing_is_left(tmp_path: Path) -> None:
    path = _jsonl(tmp_path / "rows.jsonl", b"{\n", b"[]\n")
    error = _first_error(path, bad_rows="skip")
    assert "can be used (2 bad)" in error.problem
    assert f"{path}:1: not JSON" in error.problem


Write = Callable[[str, list[dict[str, Any]]], str]


def test_a_bad_row_that_is_not_asked_for_does_not_stop(write_jsonl: Write) -> None:
    """Rows are looked at in the order of the seed, and no more of them than are taken."""
    rows: list[dict[str, Any]] = [{"prompt": f"p{i}", "answer": "1"} for i in range(20)]
    name = write_jsonl("rows.jsonl", rows)
    last = load_data(DataSection(name=name)).places[-1]
    rows[int(last.rpartition(":")[2]) - 1]["prompt"] = None
    write_jsonl("rows.jsonl", rows)
    assert len(load_data(DataSection(name=name, size=19)).rows) == 19
    assert last in _first_error(Path(name)).problem


def test_size_counts_rows_that_can_be_used(write_jsonl: Write) -> None:
    rows: list[dict[str, Any]] = [
        {"prompt": f"p{i}" if i % 2 else "", "answer": "1"} for i in range(10)
    ]
    name = write_jsonl("rows.jsonl", rows)
    assert len(load_data(DataSection(name=name, bad_rows="skip", size=5)).rows) == 5
    error = _first_error(Path(name), bad_rows="skip", size=6)
    assert "only 5 rows in its split 'train' that can be used" in error.problem
    assert (error.key, error.expected) == ("data.size", "at most 5")
