"""docs/rewards.md says what the rewards are."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest

from rlent_rewards import REWARDS
from tests.rewards.answer_pairs import LIMITATIONS, PAIRS

PAGE = (Path(__file__).parents[2] / "docs" / "rewards.md").read_text(encoding="utf-8")


def section(name: str) -> str:
    return PAGE.split(f"\n### {name}\n")[1].split("\n#")[0]


def shown(default: Any) -> str:
    """A default as it stands in a recipe."""
    if default is dataclasses.MISSING:
        return "required"
    return f"`{default}`" if isinstance(default, str) else json.dumps(default)


@pytest.mark.parametrize("name", REWARDS)
def test_every_option_is_there_with_its_default_and_no_other(name: str) -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+) \|$", section(name), re.MULTILINE)
    fields = dataclasses.fields(REWARDS[name])
    assert {option: default for option, default, _ in rows} == {
        field.name: shown(field.default) for field in fields
    }


def test_the_limitations_are_there() -> None:
    for entry in LIMITATIONS:
        said = "wrong" if entry.equal else "right"
        assert f"| `{entry.answer}` | `{entry.reference}` | {said} | {entry.why} |" in PAGE


def test_the_size_of_the_table_is_that_of_the_table() -> None:
    entries = [entry for group in PAIRS.values() for entry in group]
    agree = sum(not entry.alone for entry in entries)
    assert f"Of {len(entries)} pairs" in PAGE
    assert f"it says of {agree} what math-verify says by itself" in PAGE.replace("\n  ", " ")


def test_the_example_runs_and_prints_what_stands_beside_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    (example,) = [
        block for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "print(" in block
    ]
    exec(example, {})
    assert capsys.readouterr().out.splitlines() == re.findall(r"\)  # (\[.*\])", example)
