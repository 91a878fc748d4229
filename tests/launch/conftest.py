"""A complete recipe on local files, in an empty working directory."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Recipe = dict[str, Any]


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory with a data file of additions."""
    monkeypatch.chdir(tmp_path)
    random.seed(0)
    rows = [
        {"question": f"{a} + {b} =", "answer": str(a + b)}
        for a in range(10)
        for b in range(10)
        if a + b < 10
    ]
    Path("additions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


@pytest.fixture
def recipe(workplace: Path, tiny_folder: Path) -> Recipe:
    """A recipe that trains the tiny model for four steps in a few seconds."""
    return {
        "name": "small",
        "model": {"name": str(tiny_folder)},
        "data": {"name": "additions.jsonl", "style": "plain"},
        "rewards": [{"math_answer": {"extract": "last_number"}}],
        "interventions": [{"forking_tokens": {"fraction": 0.2}}],
        "trainer": {
            "max_steps": 4,
            "per_device_train_batch_size": 4,
            "gradient_accumulation_steps": 2,
            "num_generations": 4,
            "max_completion_length": 8,
            "learning_rate": 1e-3,
            "save_steps": 2,
        },
        "engine": {"precision": "float32"},
        "evaluation": {"problems": 8, "every": 2, "show": 1},
    }


@pytest.fixture
def write(workplace: Path) -> Callable[[Recipe], str]:
    """Writes a recipe as YAML (JSON is YAML) with a key per line, so that messages can point at lines."""

    def write(recipe: Recipe, name: str = "recipe.yaml") -> str:
        Path(name).write_text(json.dumps(recipe, indent=2))
        return name

    return write
