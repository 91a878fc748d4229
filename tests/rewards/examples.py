"""Rewards to test with."""

from typing import Any

from rlent_rewards import REWARDS

REQUIRED: dict[str, dict[str, Any]] = {"overlong": {"max_length": 20, "cache": 10}}
"""Values for the options without a default."""


def make(name: str) -> Any:
    return REWARDS[name](**REQUIRED.get(name, {}))
