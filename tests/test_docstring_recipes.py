"""What the docstrings of the tables' entries show as a recipe is one. Nothing is downloaded."""

import inspect
import re
import textwrap
from pathlib import Path
from typing import Any

import pytest

from rlent.config import load_recipe
from rlent.interventions import TABLE as INTERVENTIONS
from rlent.interventions import chain
from rlent.losses import TABLE as LOSSES
from rlent.rollout.decoding import TABLE as DECODING
from rlent.rollout.forking import TABLE as FORKING
from rlent.surrogates import SURROGATES
from rlent.trainer.loss_options import build_loss_args
from rlent.trainer.needs import check_needs
from rlent.trainer.options import build_args

TABLES: tuple[dict[str, type[Any]], ...] = (
    INTERVENTIONS,
    SURROGATES,
    LOSSES,
    DECODING,
    FORKING,
)
SHOWN = re.compile(r"^(?:.*\s)?Recipes?\b[^\n]*::\n\n((?:(?: {4}.*)?\n)+)", re.MULTILINE)

SECTIONS = {
    "model": "model: {name: small-arithmetic}\n",
    "data": "data: {name: small/arithmetic}\n",
    "rewards": "rewards: [math_answer]\n",
}
"""What a fragment leaves to the rest of its recipe."""
SETTINGS = ["engine.precision=float32"]
UPDATES = ["trainer.per_device_train_batch_size=64", "trainer.steps_per_generation=2"]
"""Groups of up to 64 fit, and there are two updates per generation batch, without which no ratio is bounded."""


def fragments(docstring: str) -> list[str]:
    """The blocks below lines such as ``Recipe::``, apart where a blank line parts them."""
    return [
        textwrap.dedent(fragment)
        for block in SHOWN.findall(docstring + "\n")
        for fragment in re.split(r"\n\n+", block.strip("\n"))
    ]


def of_entry(cls: type) -> list[str]:
    module = inspect.getmodule(cls)
    assert module is not None
    return fragments(module.__doc__ or "")


ENTRIES = [cls for table in TABLES for cls in table.values()]
SHOWN_BY = {fragment: cls for cls in ENTRIES for fragment in of_entry(cls)}


@pytest.mark.parametrize("cls", ENTRIES, ids=lambda cls: cls.name)
def test_every_entry_shows_how_a_recipe_names_it(cls: Any) -> None:
    assert any(re.search(rf"\b{cls.name}\b", fragment) for fragment in of_entry(cls))


@pytest.mark.parametrize(
    "fragment", SHOWN_BY, ids=[f"{cls.name}-{n}" for n, cls in enumerate(SHOWN_BY.values())]
)
def test_a_shown_recipe_loads(fragment: str, tmp_path: Path) -> None:
    shown = set(re.findall(r"^\w+", fragment, re.MULTILINE))
    absent = SECTIONS.keys() - shown - ({"rewards"} if "loss" in shown else set())
    (tmp_path / "shown.yaml").write_text(
        "".join(SECTIONS[name] for name in sorted(absent)) + fragment
    )
    if "loss" in shown:
        recipe = load_recipe(tmp_path / "shown.yaml", SETTINGS)
        assert recipe.loss is not None
        build_loss_args(recipe, recipe.loss, tmp_path)
        return
    recipe = load_recipe(tmp_path / "shown.yaml", [*SETTINGS, *UPDATES])
    check_needs(chain(recipe.interventions), build_args(recipe, tmp_path))


def test_fragments_are_found_wherever_the_docstring_says_recipe() -> None:
    text = "One line.\n\nMore. Recipes, of two kinds::\n\n    a: 1\n\n    b:\n      - 2\n\nEnd.\n"
    assert fragments(text) == ["a: 1", "b:\n  - 2"]
    assert fragments("A formula::\n\n    a = 1\n") == []
    assert fragments("Recipe::\n\n    a: 1") == ["a: 1"]
