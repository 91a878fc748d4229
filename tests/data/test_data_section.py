"""The section as a recipe gives it, and the price of importing it."""

import subprocess
import sys

import pytest
from pydantic import TypeAdapter, ValidationError

from rlent.data import DataSection


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
