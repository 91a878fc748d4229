"""The section as a recipe gives it, and the price of importing it."""

import subprocess
import sys

import pytest
from pydantic import TypeAdapter, ValidationError

from rlent.data import DataSection, MixturePart


def test_a_section_is_validated_by_pydantic() -> None:
    adapter = TypeAdapter(DataSection)
    section = adapter.validate_python({"name": "rows.jsonl", "size": 3, "style": "plain"})
    assert section == DataSection(name="rows.jsonl", size=3, style="plain")
    assert section.options == {}
    with pytest.raises(ValidationError, match="style"):
        adapter.validate_python({"name": "rows.jsonl", "style": "poem"})


def test_importing_the_package_is_light() -> None:
    script = (
        "import sys, rlent.data\n"
        "heavy = {'datasets', 'transformers', 'trl', 'huggingface_hub', 'reasoning_gym'}\n"
        "print(sorted(heavy & sys.modules.keys()))\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": ":".join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == "[]"


def test_the_older_word_for_stop() -> None:
    assert DataSection(name="a", too_long="error") == DataSection(name="a", too_long="stop")


def test_a_section_is_one_source_or_several() -> None:
    one = DataSection(name="a", answer="b", options={"c": 1})
    assert one.sources == (MixturePart(name="a", answer="b", options={"c": 1}, weight=1.0),)
    parts = (MixturePart(name="a"), MixturePart(name="b", weight=2.0))
    several = DataSection(mixture=parts)
    assert several.sources == parts
    assert (one.title, several.title) == ("a", "mixture of a, b")


def test_only_one_source_has_an_order_of_its_own() -> None:
    assert DataSection(name="a", order="source").order == "source"
    with pytest.raises(ValueError, match="order: source needs one source"):
        DataSection(mixture=(MixturePart(name="a"), MixturePart(name="b")), order="source")
