"""A reward function that raises on the second of two ranks."""

from pathlib import Path
from typing import Any

_REWARD = """
import os
from pathlib import Path


def broken(completions, **columns):
    if os.environ["RANK"] == "1" and len(completions) >= {from_completions}:
        Path("failing").touch()
        raise KeyError("no column of that name")
    return [0.0] * len(completions)
"""


def with_failing_reward(recipe: dict[str, Any], *, from_completions: int) -> dict[str, Any]:
    """The recipe with that reward, which is written here; asked for one completion it is tried before training."""
    Path("own.py").write_text(_REWARD.format(from_completions=from_completions))
    trainer = {**recipe["trainer"], "per_device_train_batch_size": 2}
    reward = {"python_function": {"function": "own:broken"}}
    return {**recipe, "rewards": [reward], "trainer": trainer, "evaluation": None}
