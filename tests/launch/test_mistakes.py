"""Every mistake of a recipe: one clear message, exit status 2, nothing touched."""

import copy
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rlent.launch.cli import main

Recipe = dict[str, Any]
Write = Callable[[Recipe], str]


def set_value(recipe: Recipe, path: str, value: Any) -> None:
    *parents, last = path.split(".")
    for name in parents:
        recipe = recipe.setdefault(name, {})
    recipe[last] = value


def everything_in(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# name: (key, value, parts of the message)
MISTAKES: dict[str, tuple[str, Any, list[str]]] = {
    "unknown key": (
        "trainer.learning_rat",
        1e-5,
        ["trainer.learning_rat", "unknown key", "learning_rate"],
    ),
    "unknown section": ("trainr", {}, ["unknown key", "trainer"]),
    "wrong type": (
        "trainer.learning_rate",
        "fast",
        ["trainer.learning_rate", "a number", "'fast'"],
    ),
    "wrong type inside": ("data.size", "many", ["data.size", "'many'"]),
    "out of range": ("trainer.learning_rate", -1.0, ["trainer.learning_rate", "-1.0"]),
    "missing file": (
        "data.name",
        "aditions.jsonl",
        ["data.name", "aditions.jsonl", "additions.jsonl"],
    ),
    "unknown column": ("data.prompt", "{queston}", ["data.prompt", "queston", "question"]),
    "unknown answer column": ("data.answer", "anser", ["data.answer", "answer"]),
    "unknown intervention": (
        "interventions",
        [{"forking_token": {}}],
        ["forking_token", "forking_tokens"],
    ),
    "fraction out of range": (
        "interventions",
        [{"forking_tokens": {"fraction": 1.5}}],
        ["interventions.0.forking_tokens.fraction", "1.5"],
    ),
    "conflicting options": (
        "interventions",
        [{"forking_tokens": {"entropy": "current"}}],
        ["entropy: current", "scope: global"],
    ),
    "unknown column of a reward": (
        "rewards",
        [{"math_answer": {"answer_column": "anwser"}}],
        ["rewards.0.math_answer", "'anwser'", "did you mean 'answer'"],
    ),
    "rollout engine that is not installed": (
        "rollout.engine",
        "vllm",
        ["rollout.engine", "rlent[vllm]", "native"],
    ),
    "unmet need": (
        "interventions",
        [{"forking_tokens": {"scope": "micro_batch"}}],
        ["interventions.0.forking_tokens", "needs", "trainer.loss_type"],
    ),
    "owned option": (
        "trainer.top_entropy_quantile",
        0.2,
        ["trainer.top_entropy_quantile", "forking_tokens"],
    ),
    "option of another section": ("trainer.bf16", True, ["trainer.bf16", "engine.precision"]),
    "group size": ("trainer.num_generations", 3, ["trainer.num_generations", "divisor of 8"]),
    "unsupported loss": ("trainer.loss_type", "dapoo", ["trainer.loss_type", "dapo"]),
    "delta without effect": ("trainer.delta", 1.1, ["trainer.delta", "1.2"]),
    "unknown surrogate": (
        "trainer.surrogate",
        {"dpppo": {"delta": 0.2}},
        ["trainer.surrogate.dpppo", "did you mean: dppo"],
    ),
    "unknown option of a surrogate": (
        "trainer.surrogate",
        {"dppo": {"dleta": 0.2}},
        ["trainer.surrogate.dppo.dleta", "did you mean: delta"],
    ),
    "option that the surrogate does not read, at its default": (
        "trainer.sapo_temperature_pos",
        1.0,
        ["trainer.sapo_temperature_pos", "no effect on loss_type dapo", "sapo"],
    ),
    "missing model": (
        "model.name",
        "tiny-modle/that-is-nowhere",
        ["model.name", "tiny-modle/that-is-nowhere"],
    ),
    "missing model folder": ("model.name", "./nowhere", ["model.name", "nowhere"]),
    "too many held out": ("evaluation.problems", 1000, ["evaluation.problems", "1000"]),
    "unknown evaluation reward": (
        "evaluation.reward",
        "math",
        ["evaluation.reward", "math_answer"],
    ),
    "prompt longer than the context": (
        "trainer.max_completion_length",
        126,
        ["prompts are too long", "at most 2 tokens"],
    ),
    "no room for a prompt": (
        "trainer.max_completion_length",
        128,
        ["trainer.max_completion_length", "128"],
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_prints_one_message_and_touches_nothing(
    mistake: str, recipe: Recipe, write: Write, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key, value, parts = MISTAKES[mistake]
    recipe = copy.deepcopy(recipe)
    set_value(recipe, key, value)
    path = write(recipe)
    before = everything_in(workplace)
    assert main(["train", path]) == 2
    message = capsys.readouterr().err
    for part in parts:
        assert part in message, message
    assert "Traceback" not in message
    assert message.startswith("recipe.yaml:")
    assert everything_in(workplace) == before


def test_yaml_syntax_error_names_the_line(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("broken.yaml").write_text("model: {name: x}\ndata: [1, 2\nrewards: {}\n")
    assert main(["train", "broken.yaml"]) == 2
    assert capsys.readouterr().err.startswith("broken.yaml:")


def test_missing_recipe_names_the_nearest(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("small.yaml").write_text("")
    assert main(["check", "smal.yaml"]) == 2
    assert "small.yaml" in capsys.readouterr().err


def test_empty_dataset(recipe: Recipe, write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    Path("additions.jsonl").write_text("")
    assert main(["train", write(recipe)]) == 2
    assert "data.name" in capsys.readouterr().err


def test_resume_without_a_run(
    recipe: Recipe, write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", write(recipe), "--resume"]) == 2
    assert "no run to resume" in capsys.readouterr().err
    assert not os.path.exists("runs")


def test_override_mistakes(
    recipe: Recipe, write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(recipe)
    assert main(["check", path, "trainer.learning_rat=1"]) == 2
    assert "command line" in capsys.readouterr().err
    assert main(["check", path, "learning_rate"]) == 2
    assert "learning_rate" in capsys.readouterr().err
