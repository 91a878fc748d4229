from pathlib import Path

import pytest
from recipe_texts import MINIMAL

from rlent.config import load_recipe
from rlent.errors import ConfigError


def message(path: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_recipe(path)
    return str(caught.value)


def test_a_missing_file_names_the_nearest_one() -> None:
    Path("recipes").mkdir()
    for name in ("quickstart.yaml", "forking_tokens.yml", "notes.md"):
        Path("recipes", name).write_text(MINIMAL)
    assert message("recipes/quickstrt.yaml") == (
        "recipes/quickstrt.yaml: no such file\n"
        "  expected: forking_tokens.yml, quickstart.yaml\n"
        "  given: 'quickstrt.yaml'\n"
        "  did you mean: quickstart.yaml"
    )


def test_a_missing_file_in_a_folder_without_recipes() -> None:
    assert message("x.yaml") == "x.yaml: no such file\n  given: 'x.yaml'"


def test_a_missing_folder() -> None:
    assert message("no/x.yaml") == "no/x.yaml: no such file, and no such folder\n  given: 'no'"


def test_a_folder_instead_of_a_file() -> None:
    Path("recipes").mkdir()
    assert message("recipes") == ("recipes: a folder, not a recipe file\n  expected: a YAML file")
    Path("recipes/a.yaml").write_text(MINIMAL)
    assert message("recipes") == "recipes: a folder, not a recipe file\n  expected: a.yaml"


def test_a_file_instead_of_a_folder() -> None:
    Path("a.yaml").write_text(MINIMAL)
    assert message("a.yaml/b.yaml") == "a.yaml/b.yaml: cannot be read: Not a directory"


def test_a_file_that_is_not_utf_8() -> None:
    Path("latin.yaml").write_bytes(MINIMAL.encode() + "name: caf\xe9\n".encode("latin-1"))
    assert message("latin.yaml") == (
        "latin.yaml:5: byte 0xe9 is not UTF-8\n  change: save the file as UTF-8"
    )
