"""``rlent compare`` as a user types it."""

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rlent.launch.cli import main
from rlent.tracking import read_metrics
from tests.launch.conftest import Recipe

Write = Callable[..., str]
OUT = Path("runs/compare")


@pytest.fixture
def recipes(recipe: Recipe, write: Write) -> list[str]:
    """Forking tokens and plain GRPO, two steps each."""
    recipe["trainer"] |= {"max_steps": 2, "save_steps": 1}
    recipe["evaluation"] = {"problems": 4, "every": 1, "show": 0}
    del recipe["name"]
    forks = write(recipe, "forks.yaml")
    return [write({**recipe, "interventions": []}, "plain.yaml"), forks]


@pytest.mark.slow
def test_what_is_there_is_not_run_again(
    recipes: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *recipes, "--seeds", "1", "trainer.max_steps=1"]) == 0
    assert "One seed says nothing" in capsys.readouterr().out
    first = {path: path.stat().st_mtime_ns for path in OUT.glob("*/metrics.jsonl")}
    assert {path.parent.name for path in first} == {"plain.seed-1", "forks.seed-1"}
    assert main(["compare", *recipes, "--seeds", "2", "trainer.max_steps=1", "--jobs", "2"]) == 0
    shown = capsys.readouterr().out
    assert "4, of which 2 are to be done" in shown
    assert all(path.stat().st_mtime_ns == changed for path, changed in first.items())
    rows = list(csv.DictReader((OUT / "comparison.csv").open()))
    assert [(row["recipe"], row["seed"]) for row in rows] == [
        ("plain", "1"),
        ("plain", "2"),
        ("forks", "1"),
        ("forks", "2"),
    ]
    text = (OUT / "comparison.md").read_text()
    assert "Score: `held_out/score`, seeds: 2" in text
    assert "| difference from plain |" in text
    assert (OUT / "comparison.png").exists()

    assert main(["compare", *recipes, "--seeds", "2", "trainer.max_steps=2"]) == 2
    assert "made from another recipe" in capsys.readouterr().err
    asked = ["--seeds", "2", "trainer.max_steps=1", "--score"]
    assert main(["compare", *recipes, *asked, "entropi"]) == 2
    assert "did you mean: entropy" in capsys.readouterr().err
    assert main(["compare", *recipes, *asked, "entropy"]) == 0
    assert "Score: `entropy`" in (OUT / "comparison.md").read_text()


@pytest.mark.slow
def test_an_interrupted_comparison_goes_on(recipes: list[str]) -> None:
    asked = ["compare", recipes[0], "--seeds", "1", "trainer.max_steps=40"]
    command = [sys.executable, "-m", "rlent", *asked]
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
    folder = OUT / "plain.seed-1"
    deadline = time.monotonic() + 180
    while not (folder / "checkpoint-2").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(180) == 130
    done = len([row for row in read_metrics(folder / "metrics.jsonl") if "reward" in row])
    assert 2 <= done < 40
    assert main(asked) == 0
    steps = [row["step"] for row in read_metrics(folder / "metrics.jsonl") if "reward" in row]
    assert steps == list(range(1, 41))
    log = (OUT / "plain.seed-1.log").read_text()
    assert "Interrupted: finishing this step" in log
    assert "resumed from checkpoint" in log


@pytest.mark.slow
def test_a_run_that_fails_names_its_log(
    recipes: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    unfinished = OUT / "plain.seed-1"
    unfinished.mkdir(parents=True)
    (unfinished / "left").touch()
    assert main(["compare", recipes[0], "--seeds", "1", "data.size=3"]) == 1
    shown = capsys.readouterr().err
    assert "ended with status 2" in shown
    log = OUT / "plain.seed-1.log"
    assert str(log) in shown
    assert "4 rows cannot be held out of 3 rows" in log.read_text()
    assert not unfinished.exists()  # it had no checkpoint


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["plain.yaml", "plain.yaml"], "listed twice"),
        (["plain.yaml", "--seeds", "0"], "--seeds: must be at least 1"),
        (["plain.yaml", "--jobs", "0"], "--jobs: must be at least 1"),
        (["no.yaml"], "no.yaml"),
        (["trainer.max_steps=1"], "a recipe is needed"),
        (["plain.yaml", "engine.precison=float32"], "did you mean: precision"),
    ],
)
def test_mistakes_are_found_before_anything_is_run(
    recipes: list[str], arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not OUT.exists()


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["compare", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    for part in ("recipes/beyond_80_20/small.yaml", "paired tests", "held_out/score"):
        assert part in shown
