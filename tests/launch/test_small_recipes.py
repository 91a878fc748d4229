"""The small recipes run: a few steps of each, from a small model that has hardly been taught."""

import json
from pathlib import Path

import pytest

from rlent.config import Recipe, load_recipe
from rlent.launch.cli import main
from rlent.launch.loss_run import further_models
from rlent.losses import TABLE as LOSSES
from rlent.rollout.decoding import TABLE as DECODING
from rlent.rollout.forking import TABLE as FORKING
from rlent.small import write_small_model
from rlent.tracking import read_metrics

RECIPES = Path(__file__).parents[2] / "recipes"
ALL = sorted([*RECIPES.glob("*/small*.yaml"), *(RECIPES / "small").glob("*.yaml")])
GIVEN_ANSWERS = [path for path in ALL if path.parent.name in LOSSES]
EVALUATED = [
    path for path in ALL if (evaluation := load_recipe(path).evaluation) and evaluation.decoding
]
SMALL = [path for path in ALL if path not in (*GIVEN_ANSWERS, *EVALUATED)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small_model")
    write_small_model(folder, steps=30)
    return folder


def test_every_idea_has_a_small_recipe() -> None:
    folders = {path.parent.name for path in SMALL}
    assert folders == {
        "small",
        "branching",
        "brpo",
        "decoding",
        "beyond_80_20",
        "spine",
        "gtpo",
        "ce_gppo",
        "ar_lopti",
        "steer",
        "ares",
        "entropy_minimisation",
        "rmt",
    }


def test_every_loss_has_a_small_recipe() -> None:
    assert {load_recipe(path).loss.name for path in GIVEN_ANSWERS} == set(LOSSES)  # pyright: ignore[reportOptionalMemberAccess]


def chosen(recipe: Recipe) -> set[str]:
    """The rules of decoding and forking that a recipe names."""
    evaluation = recipe.evaluation
    assert evaluation is not None
    rules = (recipe.rollout.decoding, recipe.rollout.branching, evaluation.decoding)
    return {rule.rule.name for rule in rules if rule is not None}


def test_every_rule_of_decoding_and_forking_has_a_small_recipe() -> None:
    recipes = [load_recipe(path) for path in (*SMALL, *EVALUATED)]
    assert set().union(*map(chosen, recipes)) == {*DECODING, *FORKING}


@pytest.mark.slow
@pytest.mark.parametrize("recipe", SMALL, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_small_recipe_runs(recipe: Path, model: Path, tmp_path: Path) -> None:
    overrides = [
        f"model.name={model}",
        f"output_dir={tmp_path}",
        "name=run",
        "data.size=200",
        "trainer.max_steps=4",
        "trainer.per_device_train_batch_size=16",
        "trainer.max_completion_length=24",
        "evaluation.problems=8",
        "evaluation.every=4",
    ]
    if recipe.parent.name == "brpo":
        overrides.append("rollout.budgets.levels=[8, 16]")
    assert main(["train", str(recipe), *overrides]) == 0
    rows = list(read_metrics(tmp_path / "run" / "metrics.jsonl"))
    assert max(row["step"] for row in rows) == 4
    assert [row["step"] for row in rows if "held_out/score" in row] == [0, 4]
    assert sum("entropy" in row for row in rows) == 4
    assert (tmp_path / "run" / "curves.png").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "recipe", GIVEN_ANSWERS, ids=lambda path: f"{path.parent.name}/{path.stem}"
)
def test_a_small_recipe_of_given_answers_runs(recipe: Path, model: Path, tmp_path: Path) -> None:
    loss = load_recipe(recipe).loss
    assert loss is not None
    asked = [f"loss.{loss.name}.{role}={model}" for role in further_models(loss)]
    overrides = [
        f"model.name={model}",
        f"output_dir={tmp_path}",
        "name=run",
        "data.size=64",
        "trainer.max_steps=3",
        "trainer.per_device_train_batch_size=16",
        *asked,
    ]
    assert main(["train", str(recipe), *overrides]) == 0
    rows = list(read_metrics(tmp_path / "run" / "metrics.jsonl"))
    assert [row["step"] for row in rows if "entropy" in row] == [1, 2, 3]
    assert (tmp_path / "run" / "model" / "model.safetensors").exists()
    assert not (tmp_path / "run" / "rollouts").exists()


COUNTED = {
    "small_think_just_enough": {"stopped", "saved_tokens"},
    "small_swi_reasoning": {"soft_inputs"},
    "small_two_models": {"large_model_tokens"},
}
"""What the rules of decoding count besides scores."""


@pytest.mark.slow
@pytest.mark.parametrize("recipe", EVALUATED, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_small_recipe_of_an_evaluation_runs(recipe: Path, model: Path, tmp_path: Path) -> None:
    overrides = [
        f"model.name={model}",
        "evaluation.problems=4",
        "evaluation.samples=2",
        "trainer.max_completion_length=24",
    ]
    if recipe.stem == "small_two_models":
        overrides.append(f"evaluation.decoding.two_models.large_model={model}")
    assert main(["eval", str(recipe), "--output", str(tmp_path / "made"), *overrides]) == 0
    found = json.loads((tmp_path / "made" / "summary.json").read_text())["held_out"]
    assert found["problems"] == 4
    assert {"pass@1", "avg@2"} <= set(found["metrics"])
    assert set(found["sampled"]["tallies"]) == COUNTED.get(recipe.stem, set())
    assert found["greedy"]["tallies"] == {}
