"""Metrics of several runs: who is a seed of whom, and what is drawn together."""

from pathlib import Path
from typing import Any

from rlent.report.runs import Run, configurations, read_run
from rlent.report.series import bands, found_panels
from tests.report.runs import completion, files_of, write_run


def run(name: str, recipe: dict[str, Any], *metrics: dict[str, Any]) -> Run:
    return Run(name=name, recipe=recipe, recipe_text="", metrics=metrics, trace=None)


def recipe(seed: int, rate: float = 1e-4, name: str = "x") -> dict[str, Any]:
    return {"name": name, "output_dir": name, "trainer": {"seed": seed, "learning_rate": rate}}


def test_runs_that_differ_in_seed_and_name_alone_are_one_configuration() -> None:
    runs = [
        run("one", recipe(1, name="one")),
        run("fast", recipe(1, rate=1e-3)),
        run("two", recipe(2, name="two")),
        run("unknown", {}),
        run("also", {}),
    ]
    together = configurations(runs)
    assert {label: [entry.name for entry in seeds] for label, seeds in together.items()} == {
        "one, two": ["one", "two"],
        "fast": ["fast"],
        "unknown": ["unknown"],
        "also": ["also"],
    }


def test_many_seeds_have_a_short_label() -> None:
    together = configurations([run(f"s{seed}", recipe(seed)) for seed in range(5)])
    assert list(together) == ["s0 … s4 (5 runs)"]


def test_a_band_is_mean_lowest_and_highest_over_the_steps_of_every_seed() -> None:
    one = run("one", recipe(1), {"step": 1, "reward": 1.0}, {"step": 2, "reward": 2.0})
    two = run("two", recipe(2), {"step": 1, "reward": 3.0}, {"step": 2, "reward": None})
    silent = run("silent", recipe(3), {"step": 1, "entropy": 1.0})
    other = run("other", recipe(1, rate=1.0), {"step": 5, "reward": 7.0})
    found = bands(configurations([one, two, silent, other]))
    assert list(found) == ["entropy", "reward"]
    band, alone = found["reward"]
    assert (band.configuration, band.seeds, band.steps) == ("one, two, silent", 2, [1])
    assert (band.low, band.mean, band.high) == ([1.0], [2.0], [3.0])
    assert (alone.configuration, alone.seeds, alone.steps, alone.mean) == ("other", 1, [5], [7.0])


def test_panels_show_what_was_logged() -> None:
    names = ["entropy", "forking_tokens/entropy_kept", "rewards/a/mean", "rewards/b/mean", "x"]
    found = {panel.title: panel.metrics for panel in found_panels(names)}
    assert found == {
        "Entropy": {"forking_tokens/entropy_kept": "kept tokens", "entropy": "all tokens"},
        "Mean of each part": {
            "rewards/a/mean": "rewards/a/mean",
            "rewards/b/mean": "rewards/b/mean",
        },
    }
    twice = found_panels(["a/entropy_kept", "b/entropy_kept"])
    assert twice[0].metrics == {name: name for name in ("a/entropy_kept", "b/entropy_kept")}


def test_a_run_is_read_from_its_files(tmp_path: Path) -> None:
    text = "name: x\ninterventions:\n- entropy_band: {edges: mad}\n- clip_higher:\n"
    read = read_run(files_of(write_run(tmp_path / "x", [completion(["a"], [0.0])], recipe=text)))
    assert read.interventions() == {"entropy_band": {"edges": "mad"}, "clip_higher": {}}
    assert read.recipe_text == text
    assert read.trace is not None
    bare = read_run(files_of(write_run(tmp_path / "y", [])))
    assert bare.interventions() == {}
    assert bare.trace is None
