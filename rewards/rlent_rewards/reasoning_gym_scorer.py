"""Reasoning Gym's scorers, as a worker calls them."""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

# Their scorers compare with tuples, which JSON has not.
_TUPLES = frozenset({"arc_agi", "rearc"})


def warm_up() -> None:
    """Load the package, which takes a second."""
    import reasoning_gym  # noqa: F401


def score(answer: str, entry: dict[str, Any]) -> float | str:
    """The score of the task's own scorer, or "errors" where it raises or gives no finite number."""
    metadata = entry["metadata"]
    task = metadata["source_dataset"]
    if task in _TUPLES:
        board = tuple(map(tuple, metadata["output"]))
        entry = {**entry, "metadata": {**metadata, "output": board}}
    try:
        points = float(_scorer(task)(answer, entry))
    except MemoryError:
        raise
    except Exception:
        return "errors"
    return points if math.isfinite(points) else "errors"


@cache
def _scorer(task: str) -> Callable[..., float]:
    from reasoning_gym.factory import get_score_answer_fn

    return get_score_answer_fn(task)
