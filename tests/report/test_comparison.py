"""Tables and figures of configurations with several seeds."""

import csv
import json
from pathlib import Path

import pytest

from rlent.report.comparison import (
    Outcome,
    draw,
    late_mean,
    markdown,
    mean_height,
    outcome_of,
    table,
)


def outcome(recipe: str, seed: int, final: float) -> Outcome:
    return Outcome(
        recipe=recipe,
        seed=seed,
        final=final,
        area=final / 2,
        entropy=0.5 * seed,
        length=None,
        seconds=90.0,
        tokens=1500.0,
    )


def test_a_run_in_numbers(tmp_path: Path) -> None:
    lines = [
        {"step": step, "held_out/score": step / 100, "entropy": 2.0 - step / 100, "step_time": 1.5}
        for step in range(0, 101, 5)
    ]
    lines += [{"step": 100, "num_tokens": 700, "completions/mean_length": 12.0}]
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = outcome_of(path, "one", 3, "held_out/score")
    assert found is not None
    assert (found.recipe, found.seed, found.length, found.tokens) == ("one", 3, 12.0, 700.0)
    assert found.final == pytest.approx(0.95)  # of steps 90, 95, 100
    assert found.area == pytest.approx(0.5)
    assert found.entropy == pytest.approx(1.05)
    assert found.seconds == pytest.approx(31.5)
    assert outcome_of(path, "one", 3, "reward") is None


def test_the_area_of_uneven_steps_is_that_of_trapezoids() -> None:
    assert mean_height({0: 0.0, 10: 1.0, 40: 1.0}) == pytest.approx((5.0 + 30.0) / 40)
    assert mean_height({7: 0.25}) == late_mean({7: 0.25}) == 0.25
    assert late_mean({0: 0.0, 10: 1.0, 40: 0.5}) == 0.5


def test_every_number_has_its_interval_and_no_winner_is_named_without_one() -> None:
    runs = {
        "plain": [outcome("plain", seed, 0.5 + 0.01 * seed) for seed in (1, 2, 3)],
        "better": [outcome("better", seed, 0.7 + 0.011 * seed) for seed in (1, 2, 3)],
        "same": [outcome("same", seed, 0.5 + 0.1 * (2 - seed)) for seed in (1, 2, 3)],
    }
    text = markdown(runs, "held_out/score")
    assert (
        "| plain | 0.5200 [0.4952, 0.5448] | 0.2600 [0.2476, 0.2724] | 1.000 |  | 1.5 | 1,500 |"
        in text
    )
    assert "Final score: better is above plain, by 0.2020 [0.1995, 0.2045]." in text
    assert "No difference in final score between same and plain is shown" in text
    (line,) = [line for line in text.splitlines() if line.startswith("| better | 0.2020")]
    assert line.count("| 0.25 |") == 2
    swapped = {name: runs[name] for name in ("better", "plain")}
    assert "plain is below better, by -0.2020 [-0.2045, -0.1995]" in markdown(swapped, "x")


def test_one_seed_and_one_recipe() -> None:
    alone = {"plain": [outcome("plain", 1, 0.5)]}
    text = markdown(alone, "reward")
    assert "| plain | 0.5000 | 0.2500 |" in text
    assert "difference" not in text
    both = {**alone, "other": [outcome("other", 1, 0.9)]}
    assert "One seed says nothing of the difference in final score" in markdown(both, "reward")


def test_every_run_is_a_line_of_the_table() -> None:
    runs = {"a": [outcome("a", 1, 0.5), outcome("a", 2, 0.25)]}
    rows = list(csv.DictReader(table(runs).splitlines()))
    assert [(row["recipe"], row["seed"], row["final"]) for row in rows] == [
        ("a", "1", "0.5"),
        ("a", "2", "0.25"),
    ]
    assert rows[0]["length"] == ""


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_figure(seeds: int, tmp_path: Path) -> None:
    runs = {name: [outcome(name, seed, 0.5 + seed / 10) for seed in range(seeds)] for name in "ab"}
    curves = {name: [{0: 0.1, 5: 0.5 + seed / 10} for seed in range(seeds)] for name in runs}
    draw(runs, curves, "reward", tmp_path / "c.png")
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")
