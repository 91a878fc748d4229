"""An evaluation that was killed goes on, and ends as the one that was not."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from rlent.errors import ConfigError
from rlent.evaluation import (
    Chunk,
    ProblemSet,
    SetStore,
    in_order,
    read_answers,
    set_result,
    store_share,
    write_answers,
    write_problems,
)
from tests.evaluation.examples import all_answers, answerer, even_lengths, make_answer, sums

SETTINGS = {"seed": 0, "length": 6}


class Killed(BaseException):
    """What no handler of the code under test would catch."""


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def run(problems: ProblemSet, folder: Path, *, rank: int = 0, ranks: int = 1) -> list[Chunk]:
    """The chunks that had to be answered."""
    store = SetStore(folder=folder, settings=SETTINGS)
    store.check()
    store.begin()
    done: list[Chunk] = []
    store_share(answerer(), problems, store, rank=rank, ranks=ranks, done=done.append)
    return done


def killed_after(calls: int) -> Any:
    def reward(**given: Any) -> Sequence[float | None]:
        nonlocal calls
        calls -= 1
        if calls < 0:
            raise Killed
        return even_lengths(**given)

    return reward


@pytest.mark.parametrize("finished", [0, 1, 3])
def test_a_killed_evaluation_goes_on(finished: int, tmp_path: Path) -> None:
    settings = {"samples": 3, "batch_size": 6}
    whole = sums(**settings)
    assert run(whole, tmp_path / "whole") == list(whole.chunks)
    with pytest.raises(Killed):
        run(sums(reward=killed_after(finished), **settings), tmp_path / "cut")
    assert run(whole, tmp_path / "cut") == list(whole.chunks[finished:])
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")
    assert run(whole, tmp_path / "cut") == []


def test_a_file_that_was_cut_off_does_not_count(tmp_path: Path) -> None:
    problems = sums(2)
    (tmp_path / "completions").mkdir()
    cut = tmp_path / "completions" / f"{problems.chunks[0].name}.unfinished"
    cut.write_bytes(b"PAR1 and then nothing")
    assert run(problems, tmp_path) == list(problems.chunks)
    assert not cut.exists()


def test_two_shares_are_the_whole(tmp_path: Path) -> None:
    problems = sums(samples=3, batch_size=6)
    run(problems, tmp_path / "one")
    first = run(problems, tmp_path / "two", rank=0, ranks=2)
    second = run(problems, tmp_path / "two", rank=1, ranks=2)
    assert not set(first) & set(second)
    assert contents(tmp_path / "two") == contents(tmp_path / "one")
    store = SetStore(folder=tmp_path / "two", settings=SETTINGS)
    assert store.answers(problems) == in_order(all_answers(problems))


@pytest.mark.parametrize(
    ("other", "key"), [({"seed": 1, "length": 6}, "seed"), ({"seed": 0, "length": 7}, "length")]
)
def test_other_settings_are_refused(other: dict[str, int], key: str, tmp_path: Path) -> None:
    SetStore(folder=tmp_path, settings=SETTINGS).begin()
    SetStore(folder=tmp_path, settings=dict(SETTINGS)).check()
    with pytest.raises(ConfigError) as caught:
        SetStore(folder=tmp_path, settings=other).check()
    assert f"another {key}" in caught.value.problem
    assert caught.value.key == "--output"


def test_answers_survive_their_file(tmp_path: Path) -> None:
    answers = [
        make_answer(0, None, reference=None, score=None, completion="é\n\u2028 \0"),
        make_answer(0, 3, answer="1", score=0.1, entropy=1e-300),
    ]
    write_answers(tmp_path / "a.parquet", answers)
    assert read_answers(tmp_path / "a.parquet") == answers
    write_answers(tmp_path / "none.parquet", [])
    assert read_answers(tmp_path / "none.parquet") == []


def test_order_is_by_problem_and_sample() -> None:
    places = [(1, 0), (0, 2), (0, None), (1, None), (0, 10)]
    ordered = in_order(make_answer(problem, sample) for problem, sample in places)
    assert [(each.problem, each.sample) for each in ordered] == [
        (0, None),
        (0, 2),
        (0, 10),
        (1, None),
        (1, 0),
    ]


def test_the_table_of_problems(tmp_path: Path) -> None:
    problems = sums(3, samples=2, k=(2,))
    answers = in_order(all_answers(problems))
    result = set_result(problems, answers)
    write_problems(tmp_path, result)
    rows = pq.read_table(tmp_path / "problems.parquet").to_pylist()
    assert [row["problem"] for row in rows] == [0, 1, 2]
    for name, value in result.metrics.items():
        assert sum(row[name] for row in rows) / 3 == pytest.approx(value)
    assert rows[1]["reference"] == "1"


def test_the_table_shows_problems_without_a_score_as_null(tmp_path: Path) -> None:
    def half(completions: list[str], answer: list[str], **_: Any) -> list[float | None]:
        return [None if each == "0" else 1.0 for each in answer]

    problems = sums(2, reward=half)
    write_problems(tmp_path, set_result(problems, all_answers(problems)))
    rows = pq.read_table(tmp_path / "problems.parquet").to_pylist()
    assert [row["pass@1"] for row in rows] == [None, 1.0]
