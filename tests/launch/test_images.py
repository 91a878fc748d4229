"""A recipe trains on text alone, and says so where its rows hold images."""

import json
from pathlib import Path

import pytest
import yaml

from rlent.launch.cli import main
from tests.tiny import save_tiny_model


@pytest.mark.parametrize("column", ["image", "images"])
def test_rows_with_images_are_refused(
    column: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"question": f"{n} + 1 =", "answer": "2", column: "a.png"} for n in range(8)]
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = {
        "name": "pictures",
        "output_dir": str(tmp_path / "runs"),
        "model": {"name": str(save_tiny_model(tmp_path / "model"))},
        "data": {"name": str(data), "prompt": "{question}"},
        "rewards": ["math_answer"],
        "trainer": {
            "per_device_train_batch_size": 4,
            "num_generations": 4,
            "max_steps": 1,
            "max_completion_length": 8,
        },
        "engine": {"precision": "float32"},
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    assert main(["check", str(path)]) == 2
    message = capsys.readouterr().err
    assert f"the column {column} holds images" in message
    assert "docs/vision-language.md" in message
    assert main(["check", str(path), "data.columns={}"]) == 0
