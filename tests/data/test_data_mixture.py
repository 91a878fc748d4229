"""Several sources in one: shares by weight, no row twice, one order by seed."""

from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest

from rlent.data import DataSection, MixturePart, load_data
from rlent.data.shares import largest_size, shares
from rlent.errors import ConfigError

Write = Callable[[str, list[dict[str, Any]]], str]
WEIGHTS = [(1.0,), (1.0, 1.0), (2.0, 1.0), (0.7, 0.3), (0.1, 0.2, 0.7), (5.0, 3.0, 3.0, 1e-3)]


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("size", [1, 7, 10, 99, 1000])
def test_shares_are_within_one_row_of_the_weights(weights: tuple[float, ...], size: int) -> None:
    counts = shares(weights, size)
    total = sum(Fraction(str(weight)) for weight in weights)
    assert sum(counts) == size
    for count, weight in zip(counts, weights, strict=True):
        assert abs(count - size * Fraction(str(weight)) / total) < 1


def test_left_over_rows_go_to_the_largest_remainders() -> None:
    assert shares([1.0, 1.0, 1.0], 8) == [3, 3, 2]
    assert shares([0.45, 0.35, 0.2], 10) == [5, 3, 2]
    assert shares([0.1, 0.1, 0.1, 0.3], 6) == [1, 1, 1, 3]


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("available", [10, 333])
def test_the_largest_size_takes_no_row_twice_and_is_the_largest(
    weights: tuple[float, ...], available: int
) -> None:
    rows = [available + 7 * i for i in range(len(weights))]
    size = largest_size(weights, rows)
    assert all(count <= most for count, most in zip(shares(weights, size), rows, strict=True))
    total = sum(Fraction(str(weight)) for weight in weights)
    exact = [(size + 1) * Fraction(str(weight)) / total for weight in weights]
    assert any(share > most for share, most in zip(exact, rows, strict=True))


@pytest.fixture
def sources(write_jsonl: Write) -> tuple[str, str]:
    """Thirty and twelve rows, five prompts of which are in both."""
    return (
        write_jsonl("a.jsonl", [{"prompt": f"q{i}", "answer": i, "level": i} for i in range(30)]),
        write_jsonl(
            "b.jsonl",
            [{"problem": f"q{i}", "solution": str(i), "meta": {"x": i}} for i in range(25, 37)],
        ),
    )


def _mixture(sources: tuple[str, str], weights: tuple[int, int], **section: Any) -> DataSection:
    first, second = sources
    return DataSection(
        mixture=(
            MixturePart(name=first, weight=float(weights[0])),
            MixturePart(name=second, answer="solution", weight=float(weights[1])),
        ),
        **section,
    )


@pytest.mark.parametrize(
    ("weights", "size", "expected", "unused"),
    [
        ((1, 1), None, (12, 12), (18, 0)),
        ((2, 1), None, (24, 12), (6, 0)),
        ((30, 12), None, (30, 12), (0, 0)),
        ((10, 1), None, (30, 3), (0, 9)),
        ((3, 1), 20, (15, 5), (0, 0)),
        ((1, 2), 5, (2, 3), (0, 0)),
    ],
)
def test_every_source_gives_its_share(
    sources: tuple[str, str],
    weights: tuple[int, int],
    size: int | None,
    expected: tuple[int, int],
    unused: tuple[int, int],
) -> None:
    data = load_data(_mixture(sources, weights, size=size))
    found = Counter(data.rows["data_source"])
    assert (found[sources[0]], found[sources[1]]) == expected
    assert tuple(count.taken for count in data.sources) == expected
    assert tuple(count.unused for count in data.sources) == unused
    assert len(set(data.places)) == len(data.rows) == sum(expected)
    for row, place in zip(data.rows.to_list(), data.places, strict=True):
        assert place.startswith(row["data_source"])


def test_columns_of_all_sources_are_there_and_null_where_a_source_has_none(
    sources: tuple[str, str],
) -> None:
    rows = load_data(_mixture(sources, (1, 1))).rows.to_list()
    for row in rows:
        assert row["prompt"] == [{"role": "user", "content": f"q{row['answer']}"}]
        if row["data_source"] == sources[0]:
            assert (row["level"], row["meta"], row["problem"]) == (int(row["answer"]), None, None)
        else:
            assert (row["level"], row["meta"]) == (None, {"x": int(row["answer"])})


def test_the_order_follows_the_seed_and_mixes_the_sources(sources: tuple[str, str]) -> None:
    orders = [load_data(_mixture(sources, (1, 1), seed=seed)).places for seed in (3, 3, 4)]
    assert orders[0] == orders[1]
    assert orders[0] != orders[2]
    letters = [place.rpartition("/")[2][0] for place in orders[0]]
    assert letters not in (sorted(letters), sorted(letters, reverse=True))


def test_a_prompt_of_two_sources_counts_for_the_first(sources: tuple[str, str]) -> None:
    data = load_data(_mixture(sources, (1, 1), duplicates="drop"))
    # Five of the second source's twelve prompts are the first one's.
    assert [count.taken for count in data.sources] == [7, 7]
    assert data.problems.left_out() == ["5 duplicate"]
    assert len({str(row["prompt"]) for row in data.rows.to_list()}) == 14


def test_a_generated_source_makes_what_its_share_asks_for(sources: tuple[str, str]) -> None:
    section = DataSection(
        mixture=(
            MixturePart(name=sources[0]),
            MixturePart(name="small/arithmetic", options={"operations": 3}, weight=3.0),
        ),
        size=40,
    )
    assert [count.taken for count in load_data(section).sources] == [10, 30]


@pytest.mark.parametrize(
    ("weights", "size", "key", "part"),
    [
        ((1, 1), 30, "data.size", "b.jsonl' has only 12 rows in its split 'train'; 15 of them"),
        ((1, 1000), 100, "data.mixture.0.weight", "its share of data.size is not one row"),
        ((1, 1000), None, "data.mixture", "one of them would give none"),
    ],
)
def test_shares_that_cannot_be_given(
    sources: tuple[str, str], weights: tuple[int, int], size: int | None, key: str, part: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_data(_mixture(sources, weights, size=size))
    assert caught.value.key == key
    assert part in caught.value.problem


def test_mistakes_of_a_source_have_its_key(sources: tuple[str, str]) -> None:
    first, second = sources
    for wrong, key in (
        ({"name": second}, "data.mixture.1.answer"),
        ({"name": second, "answer": "solution", "split": "test"}, "data.mixture.1.split"),
        ({"name": "gone.jsonl"}, "data.mixture.1.name"),
        ({"name": second, "answer": "solution", "prompt": "{x}"}, "data.mixture.1.prompt"),
        (
            {"name": second, "answer": "solution", "columns": {"a": "b"}},
            "data.mixture.1.columns.a",
        ),
    ):
        with pytest.raises(ConfigError) as caught:
            load_data(DataSection(mixture=(MixturePart(name=first), MixturePart(**wrong))))
        assert caught.value.key == key


def test_columns_of_other_types_need_a_choice(write_jsonl: Write) -> None:
    first = write_jsonl("a.jsonl", [{"prompt": "a", "answer": "1", "level": 1}])
    second = write_jsonl("b.jsonl", [{"prompt": "b", "answer": "1", "level": "hard"}])
    parts = (MixturePart(name=first), MixturePart(name=second))
    with pytest.raises(ConfigError, match="Field level has incompatible types") as caught:
        load_data(DataSection(mixture=parts))
    assert "columns" in str(caught.value.remedy)
    parts = (parts[0], MixturePart(name=second, columns={"name": "level"}))
    rows = load_data(DataSection(mixture=parts)).rows.to_list()
    assert sorted((row["level"] or 0, row["name"] or "") for row in rows) == [(0, "hard"), (1, "")]


def test_a_source_that_names_its_rows_sources_keeps_them(write_jsonl: Write) -> None:
    name = write_jsonl("a.jsonl", [{"prompt": "a", "answer": "1", "data_source": "gsm8k"}])
    data = load_data(DataSection(mixture=(MixturePart(name=name),)))
    assert data.rows["data_source"][:] == ["gsm8k"]


def test_a_plain_mixture_has_no_system_messages(sources: tuple[str, str]) -> None:
    parts = (MixturePart(name=sources[0]), MixturePart(name=sources[1], system="S"))
    with pytest.raises(ConfigError) as caught:
        load_data(DataSection(mixture=parts, style="plain"))
    assert caught.value.key == "data.mixture.1.system"


def test_one_file_named_twice_repeats_itself(sources: tuple[str, str]) -> None:
    parts = (MixturePart(name=sources[0]), MixturePart(name=sources[0]))
    data = load_data(DataSection(mixture=parts))
    assert (len(data.rows), data.problems.counts["duplicates"]) == (60, 30)
    with pytest.raises(ConfigError, match=r"no row of .*a\.jsonl' can be used \(30 duplicate\)"):
        load_data(DataSection(mixture=parts, duplicates="drop"))
