"""What tells the weights of one evaluation from those of another."""

from pathlib import Path

import pytest
from transformers.utils import hub

from rlent.launch.weights import Weights, hub_commit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_a_model_of_the_hub_is_told_by_its_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = tmp_path / "models--some--model" / "snapshots" / COMMIT / "config.json"
    asked = []

    def cached_file(name: str, file: str, *, revision: str | None) -> str:
        asked.append((name, file, revision))
        return str(snapshot)

    monkeypatch.setattr(hub, "cached_file", cached_file)
    weights = Weights(path="some/model", revision="main", label="model")
    assert weights.identity == ["some/model", COMMIT]
    assert asked == [("some/model", "config.json", "main")]


def test_a_folder_has_no_commit(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert hub_commit(str(tmp_path), None) is None


def test_a_folder_is_told_by_its_files(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"12")
    before = Weights(path=str(tmp_path), revision=None, label="model").identity
    assert before[0][:2] == ["model.safetensors", 2]
    file.write_bytes(b"123")
    assert Weights(path=str(tmp_path), revision=None, label="model").identity != before
