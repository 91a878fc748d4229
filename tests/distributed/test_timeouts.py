"""A process that does not come: the others wait as long as the recipe says."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.distributed.processes import launch

TIMEOUT = 8
"""Seconds; torch's own would be 600 or 1800."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("engine", "groups"), [({}, ["all"]), ({"zero": 3}, ["all", "deepspeed"])], ids=str
)
def test_every_group_waits_as_long_as_the_recipe_says(
    engine: dict[str, Any], groups: list[str], tmp_path: Path
) -> None:
    waited, _ = launch("timeouts.py", 2, tmp_path, json.dumps({**engine, "timeout": TIMEOUT}))
    assert list(waited) == groups
    assert all(TIMEOUT - 1 < seconds < TIMEOUT + 20 for seconds in waited.values())
