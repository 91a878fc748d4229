"""``rlent eval`` with a saved probe: a temperature and a limit for every problem."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

from rlent.evaluation.difficulty import DifficultyThresholds
from rlent.evaluation.difficulty_probe import DifficultyProbe
from rlent.launch.cli import main

Recipe = dict[str, Any]
Write = Callable[[Recipe], str]
SETTINGS = {"easy": (0.5, 3), "normal": (0.8, 8), "hard": (0.4, 4)}
"""Temperature and limit of at most 8 tokens."""


def save_probe(
    folder: str, model: Path, *, seed: int = 5, width: int = 32, revision: str | None = None
) -> None:
    torch.manual_seed(seed)
    DifficultyProbe(
        network=nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 3)),
        thresholds=DifficultyThresholds(alpha=0.5, beta=0.4, gamma=0.25),
        model=str(model.resolve()),
        revision=revision,
    ).save(Path(folder))


def files(folder: str) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def test_each_problem_has_its_own_and_a_stopped_evaluation_goes_on(
    recipe: Recipe, write: Write, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe["evaluation"]["batch_size"] = 8
    save_probe("probe", tiny_folder)
    command = ["eval", write(recipe), "--samples", "2", "--output", "out"]
    command.append("evaluation.difficulty=probe")
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert "2 drawn (temperature and limit by difficulty, top_p 1" in shown
    rows = [
        row
        for path in Path("out/held_out/completions").iterdir()
        for row in pq.read_table(path).to_pylist()
    ]
    assert len(rows) == 8 * 3
    counts = dict.fromkeys(SETTINGS, 0)
    for row in rows:
        temperature, limit = SETTINGS[row["difficulty"]]
        assert row["limit"] == limit
        assert row["length"] <= limit
        assert row["temperature"] == (0 if row["sample"] is None else temperature)
        counts[row["difficulty"]] += row["sample"] is None
    assert sum(map(bool, counts.values())) > 1
    costs = json.loads(Path("out/summary.json").read_text())["held_out"]["difficulty"]
    assert costs["problems"] == counts
    spent = sum(row["length"] for row in rows if row["sample"] is not None)
    assert costs["tokens"]["sampled"]["spent"] == spent
    assert f"held_out, sampled: {spent} tokens, {spent / (16 * 8):.1%} of the plain limit" in shown

    whole = files("out")
    sorted(Path("out/held_out/completions").iterdir())[-1].unlink()
    Path("out/summary.json").unlink()
    assert main(command) == 0
    assert files("out") == whole
    shutil.rmtree("probe")
    save_probe("probe", tiny_folder, seed=2)
    capsys.readouterr()
    assert main(command) == 2
    assert "another difficulty" in capsys.readouterr().err
    assert main(command[:-1]) == 2
    assert "another difficulty" in capsys.readouterr().err
    assert files("out") == whole


def test_the_folder_of_such_an_evaluation_is_not_labelled(
    recipe: Recipe, write: Write, tiny_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_probe("probe", tiny_folder)
    command = ["eval", write(recipe), "--samples", "2", "--output", "out"]
    assert main([*command, "evaluation.difficulty=probe"]) == 0
    given = ["--alpha", "0.5", "--beta", "0.4", "--gamma", "0.25", "-o", "rows"]
    assert main(["difficulty", "out/held_out", *given]) == 2
    assert "drawn by difficulty already" in capsys.readouterr().err


def other_model(folder: Path) -> Path:
    return Path(shutil.copytree(folder, "other"))


MISTAKES: dict[str, tuple[Callable[[Path], object], list[str], list[str]]] = {
    "no folder": (lambda model: None, [], ["evaluation.difficulty: not the folder of a probe"]),
    "another name": (
        lambda model: save_probe("probe", other_model(model)),
        [],
        ["evaluation.difficulty: the probe reads", "its model differs", "--save-probe"],
    ),
    "another checkpoint": (
        lambda model: (other_model(model), save_probe("probe", model)),
        ["--checkpoint", "other"],
        ["its model differs"],
    ),
    "another revision": (
        lambda model: save_probe("probe", model, revision="abc"),
        [],
        ["its revision differs", "given: 'abc'"],
    ),
    "another hidden size": (
        lambda model: save_probe("probe", model, width=16),
        [],
        ["its hidden size differs", "given: 16"],
    ),
    "a temperature": (
        lambda model: save_probe("probe", model),
        ["evaluation.temperature=0.7"],
        ["remove temperature, got 0.7"],
    ),
    "a rule": (
        lambda model: save_probe("probe", model),
        ["evaluation.decoding={typical: {mass: 0.9}}"],
        ["difficulty and decoding cannot be had together"],
    ),
    "budgets": (
        lambda model: save_probe("probe", model),
        ["evaluation.budgets={levels: [3]}"],
        ["difficulty and budgets cannot be had together"],
    ),
    "options of the template": (
        lambda model: save_probe("probe", model),
        ["data.style=chat", "trainer.chat_template_kwargs={extra: true}"],
        ["trainer.chat_template_kwargs: the probe was fitted on prompts", "evaluation.difficulty"],
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_cannot_be_is_refused_before_anything_is_written(
    mistake: str,
    recipe: Recipe,
    write: Write,
    tiny_folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    prepare, arguments, parts = MISTAKES[mistake]
    prepare(tiny_folder)
    command = ["eval", write(recipe), "--samples", "2", "--output", "out"]
    assert main([*command, "evaluation.difficulty=probe", *arguments]) == 2
    message = capsys.readouterr().err
    for part in parts:
        assert part in message, message
    assert not Path("out").exists()


def test_a_model_is_found_by_its_folder_however_it_is_written(
    recipe: Recipe, write: Write, tiny_folder: Path
) -> None:
    copied = other_model(tiny_folder)
    save_probe("probe", copied)
    command = ["eval", write(recipe), "--checkpoint", f"./x/../{copied}", "--output", "out"]
    Path("x").mkdir()
    assert main([*command, "evaluation.difficulty=probe"]) == 0


@pytest.mark.parametrize("command", ["check", "train"])
def test_training_refuses_a_probe(
    command: str, recipe: Recipe, write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, write(recipe), "evaluation.difficulty=probe"]) == 2
    message = capsys.readouterr().err
    assert "evaluation.difficulty: the probe reads the hidden states of one model" in message
    assert "rlent eval" in message
    assert not Path("runs").exists()
