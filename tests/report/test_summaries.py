"""What a page says of a run, against the same said by plain loops over its rows."""

import math
import random
from collections import defaultdict
from statistics import fmean, median
from typing import Any

import numpy as np
import pytest

from rlent.interventions.entropy_band import EntropyBand
from rlent.report.band import ABOVE, BELOW, INSIDE, band_side
from rlent.report.correctness import correctness
from rlent.report.distribution import EDGES, distribution
from rlent.report.forking import compare_forking_tokens, most_moved, rank_forking_tokens
from rlent.report.positions import MOST_BINS, entropy_by_position
from rlent.report.when import first_and_last, step_bins, whole
from tests.report.runs import completion, trace

Row = dict[str, Any]


def random_rows(seed: int = 0, steps: int = 7, rows: int = 12) -> list[Row]:
    draw = random.Random(seed)
    made = []
    for step in range(steps):
        for row in range(rows):
            size = draw.randint(1, 9)
            made.append(
                completion(
                    draw.choices(["a", "b", "c", "d", "e"], k=size),
                    [draw.expovariate(1.5) for _ in range(size)],
                    step=3 * step,
                    group=row // 4,
                    reward=draw.choice([-1.0, 0.0, 0.5, 1.0]),
                    selected=[draw.random() < 0.4 for _ in range(size)],
                    logp=[-draw.expovariate(1.0) for _ in range(size)],
                )
            )
    return made


def tokens(rows: list[Row]) -> list[tuple[Row, int]]:
    return [(row, t) for row in rows for t in range(len(row["token"]))]


def in_class(entropy: float) -> int:
    return sum(np.float32(entropy) >= np.float32(edge) for edge in EDGES)


KINDS = {
    "kept": lambda row, t: row["selected"][t],
    "dropped": lambda row, t: not row["selected"][t],
    "correct": lambda row, t: row["reward/right"] > 0,
    "wrong": lambda row, t: row["reward/right"] <= 0,
}


def test_distribution_counts_every_token_of_its_kind() -> None:
    rows = random_rows()
    read = trace(rows)
    steps, spreads = distribution(read, correctness(read))
    assert steps == [0, 3, 6, 9, 12, 15, 18]
    assert [spread.kind for spread in spreads] == list(KINDS)
    for spread in spreads:
        for i, step in enumerate(steps):
            chosen = [
                row["entropy"][t]
                for row, t in tokens(rows)
                if row["step"] == step and KINDS[spread.kind](row, t)
            ]
            counts = [sum(in_class(value) == k for value in chosen) for k in range(len(EDGES) + 1)]
            assert spread.count[i].tolist() == counts
            assert spread.mean[i] == pytest.approx(fmean(chosen))


def test_an_entropy_on_an_edge_belongs_above_it() -> None:
    read = trace([completion(["a"] * len(EDGES), EDGES)])
    _, (kept, dropped, *_) = distribution(read, correctness(read))
    assert kept.count[0].tolist() == [0] + [1] * len(EDGES)
    assert dropped.count.sum() == 0
    assert np.isnan(dropped.mean).all()


def test_many_steps_share_bins_evenly() -> None:
    read = trace([completion(["a"], [0.0], step=step) for step in range(0, 300, 2)])
    first, number = step_bins(read)
    assert len(first) == 60
    assert first[0] == 0
    assert sorted(first) == first
    sizes = np.bincount(number)
    assert set(sizes.tolist()) == {2, 3}
    for row, step in enumerate(read.step):
        assert first[number[row]] <= step


def test_correct_is_the_first_part_above_zero_and_nan_is_neither() -> None:
    rows = [completion(["a"], [0.0], reward=value) for value in (1.0, 0.0, -1.0, math.nan)]
    judged = correctness(trace(rows))
    assert judged.rule == "right above 0"
    assert judged.correct.tolist() == [True, False, False, False]
    assert judged.wrong.tolist() == [False, True, True, False]
    for row in rows:
        del row["reward/right"]
    assert correctness(trace(rows)).rule == "reward above 0"


@pytest.mark.parametrize(
    ("steps", "expected"), [(2, (0, 0, 1, 1)), (3, (0, 0, 2, 2)), (9, (0, 2, 6, 8))]
)
def test_first_and_last_are_thirds(steps: int, expected: tuple[int, ...]) -> None:
    read = trace([completion(["a"], [0.0], step=step) for step in range(steps)])
    periods = first_and_last(read)
    assert periods is not None
    first, last = periods
    assert (first.first, first.last, last.first, last.last) == expected
    assert read.step[first.inside].max() == first.last
    assert read.step[last.inside].min() == last.first


def test_one_step_has_no_first_and_last() -> None:
    assert first_and_last(trace([completion(["a"], [0.0], step=4)])) is None


def quartile(values: list[float], share: float) -> float:
    values = sorted(values)
    place = share * (len(values) - 1)
    below = int(place)
    above = min(below + 1, len(values) - 1)
    return values[below] + (place - below) * (values[above] - values[below])


def test_positions_hold_mean_and_quartiles() -> None:
    rows = random_rows(1)
    read = trace(rows)
    at = entropy_by_position(read, whole(read))
    by_position: dict[int, list[float]] = defaultdict(list)
    for row, t in tokens(rows):
        by_position[t].append(row["entropy"][t])
    assert at.position.tolist() == sorted(by_position)
    for i, position in enumerate(at.position.tolist()):
        values = by_position[position]
        assert at.count[i] == len(values)
        assert at.mean[i] == pytest.approx(fmean(values))
        assert at.low[i] == pytest.approx(quartile(values, 0.25))
        assert at.high[i] == pytest.approx(quartile(values, 0.75))


def test_positions_of_long_completions_share_bins() -> None:
    size = 3 * MOST_BINS - 1
    read = trace([completion(["a"] * size, [float(t) for t in range(size)])])
    at = entropy_by_position(read, whole(read))
    assert at.position.tolist() == list(range(0, size, 3))
    assert at.mean[0] == 1.0
    assert at.count[-1] == 2


def test_positions_of_a_period_without_tokens() -> None:
    read = trace([completion([], [], step=0), completion(["a"], [0.5], step=1)])
    periods = first_and_last(read)
    assert periods is not None
    assert len(entropy_by_position(read, periods[0]).position) == 0


def test_forking_tokens_are_ranked_by_mean_entropy() -> None:
    read = trace(
        [
            completion(["the", "so", "1"], [0.5, 2.0, 0.1], selected=[False, True, False]),
            completion(["the", "so", "rare"], [1.5, 1.0, 9.0]),
        ]
    )
    ranked = rank_forking_tokens(read, whole(read), minimum=2)
    assert [(token.text, token.entropy, token.count, token.kept) for token in ranked] == [
        ("so", 1.5, 2, 1.0),
        ("the", 1.0, 2, 0.5),
    ]
    (best,) = rank_forking_tokens(read, whole(read), minimum=1, top=1)
    assert best.text == "rare"


def compared_rows() -> list[Row]:
    """``up`` rises, ``down`` falls, ``new`` comes at the end."""
    first = completion(["up", "down", "up", "down"], [0.1, 2.0, 0.3, 1.0], step=0)
    last = completion(["up", "down", "new", "new"], [1.2, 0.2, 3.0, 1.0], step=1)
    first["logp"], last["logp"] = [-1.0, -2.0, -3.0, -2.0], [-1.5, -0.5, -0.1, -0.1]
    return [first, last]


def test_forking_tokens_of_first_and_last_steps() -> None:
    read = trace(compared_rows())
    periods = first_and_last(read)
    assert periods is not None
    found = compare_forking_tokens(read, periods, minimum=1)
    assert [token.text for token in found] == ["new", "down", "up"]
    new, down, up = found
    assert (new.first.rank, new.first.count) == (None, 0)
    assert math.isnan(new.first.entropy)
    assert (new.last.rank, new.last.entropy, new.last.count) == (1, 2.0, 2)
    assert (down.first.rank, down.last.rank) == (1, 3)
    assert (up.first.rank, up.last.rank) == (2, 2)
    assert up.first.entropy == pytest.approx(0.2)
    assert [token.text for token in compare_forking_tokens(read, periods, minimum=2)] == [
        "new",
        "down",
        "up",
    ]
    assert [token.text for token in compare_forking_tokens(read, periods, minimum=1, top=1)] == [
        "new",
        "down",
    ]


def test_most_moved_compares_mean_log_probabilities() -> None:
    read = trace(compared_rows())
    periods = first_and_last(read)
    assert periods is not None
    found = most_moved(read, periods, minimum=1)
    assert [token.text for token in found] == ["down", "up"]  # -2 to -0.5, and -2 to -1.5
    down = found[0]
    assert down.logp == (-2.0, -0.5)
    assert down.entropy == pytest.approx((1.5, 0.2))
    assert down.count == (2, 1)
    assert most_moved(read, periods, minimum=2) == []
    assert [token.text for token in most_moved(read, periods, minimum=1, top=1)] == ["down"]


def plain_edges(values: list[float], band: EntropyBand) -> tuple[float, float]:
    if band.edges == "fixed":
        assert band.low is not None
        assert band.high is not None
        return band.low, band.high
    if not values:
        return 0.0, 0.0
    if band.edges == "quantile":
        return quartile(values, band.low_quantile), quartile(values, band.high_quantile)
    centre = median(values)
    spread = max(1.4826 * median(abs(value - centre) for value in values), 1e-6)
    return max(0.0, centre - spread), centre


@pytest.mark.parametrize(
    "band",
    [
        EntropyBand(edges="fixed", low=0.3, high=0.9),
        EntropyBand(edges="fixed", low=0.3, high=0.9, tokens="all"),
        EntropyBand(edges="quantile", low_quantile=0.2, high_quantile=0.7),
        EntropyBand(edges="mad", tokens="all"),
    ],
)
def test_the_side_of_the_band_is_that_of_the_formula(band: EntropyBand) -> None:
    rows = random_rows(2, steps=5, rows=120)  # more than one block
    sides = iter(band_side(trace(rows), band).tolist())
    for row in rows:
        size = len(row["token"])
        chosen = [band.tokens == "all" or row["selected"][t] for t in range(size)]
        low, high = plain_edges([row["entropy"][t] for t in range(size) if chosen[t]], band)
        for t in range(size):
            value, side = row["entropy"][t], next(sides)
            if not chosen[t]:
                assert side == 0
            elif min(abs(value - low), abs(value - high)) > 1e-5:
                assert side == (BELOW if value < low else ABOVE if value > high else INSIDE)
            else:
                assert side in (BELOW, INSIDE, ABOVE)
    assert next(sides, None) is None
