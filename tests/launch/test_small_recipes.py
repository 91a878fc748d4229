"""The small recipes run: a few steps of each, from a small model that has hardly been taught."""

from pathlib import Path

import pytest

from rlent.config import load_recipe
from rlent.launch.cli import main
from rlent.launch.loss_run import further_models
from rlent.losses import TABLE as LOSSES
from rlent.small import write_small_model
from rlent.tracking import read_metrics

RECIPES = Path(__file__).parents[2] / "recipes"
ALL = sorted([*RECIPES.glob("*/small*.yaml"), *(RECIPES / "small").glob("*.yaml")])
GIVEN_ANSWERS = [path for path in ALL if path.parent.name in LOSSES]
SMALL = [path for path in ALL if path not in GIVEN_ANSWERS]


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
