"""Recipes written into a folder of their own, which is the current one, so that paths are short."""

from pathlib import Path

import pytest
from recipe_texts import Load

from rlent.config import Recipe, load_recipe


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def load(folder: Path) -> Load:
    """Load a recipe from its text, as ``recipe.yaml``, with overrides."""

    def load(text: str, *overrides: str) -> Recipe:
        Path("recipe.yaml").write_text(text, encoding="utf-8")
        return load_recipe("recipe.yaml", overrides)

    return load
