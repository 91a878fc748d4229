"""The small recipes run: a few steps of each, from a small model that has hardly been taught."""

from pathlib import Path

import pytest

from rlent.launch.cli import main
from rlent.small import write_small_model
from rlent.tracking import read_metrics

RECIPES = Path(__file__).parents[2] / "recipes"
SMALL = sorted([*RECIPES.glob("*/small*.yaml"), *(RECIPES / "small").glob("*.yaml")])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small_model")
    write_small_model(folder, steps=30)
    return folder


def test_every_idea_has_a_small_recipe() -> None:
    folders = {path.parent.name for path in SMALL}
    assert folders == {"small", "beyond_80_20", "spine", "gtpo", "ce_gppo"}


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
    assert main(["train", str(recipe), *overrides]) == 0
    rows = list(read_metrics(tmp_path / "run" / "metrics.jsonl"))
    assert max(row["step"] for row in rows) == 4
    assert [row["step"] for row in rows if "held_out/score" in row] == [0, 4]
    assert sum("entropy" in row for row in rows) == 4
    assert (tmp_path / "run" / "curves.png").exists()
