"""Options of the trainer that another place of a recipe owns: refused, with that place named."""

from pathlib import Path

import pytest

from rlent.config import load_recipe
from rlent.errors import ConfigError
from rlent.trainer.options import MANAGED, build_args

RECIPE = Path(__file__).parents[2] / "recipes" / "small" / "grpo.yaml"


@pytest.mark.parametrize("name", MANAGED)
def test_it_is_refused_and_says_where_it_is_set(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(RECIPE, [f"trainer.{name}=1"])
    with pytest.raises(ConfigError) as refused:
        build_args(recipe, tmp_path)
    assert f"trainer.{name}: this option is set elsewhere" in str(refused.value)
    assert MANAGED[name] in str(refused.value)


def test_the_timeout_of_the_processes_is_the_engines(tmp_path: Path) -> None:
    assert "engine.timeout" in MANAGED["ddp_timeout"]
    assert build_args(load_recipe(RECIPE, ["engine.timeout=7"]), tmp_path).ddp_timeout == 7
