"""Model names of a recipe."""

import time
from pathlib import Path

import huggingface_hub
import pytest

from rlent.data import resolve_model
from rlent.errors import ConfigError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def _model(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    return folder


def _error(name: str, **options: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        resolve_model(name, **options)  # pyright: ignore[reportArgumentType]
    return caught.value


def _cache(name: str, files: tuple[str, ...], ref: str = "main") -> Path:
    """A snapshot as the hub's client leaves it on disk."""
    cache = Path(huggingface_hub.constants.HF_HUB_CACHE)
    repository = cache / f"models--{name.replace('/', '--')}"
    snapshot = repository / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / ref).write_text(COMMIT)
    for file in files:
        (snapshot / file).write_text("{}")
    return snapshot


def test_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = _model(tmp_path / "runs" / "first")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve_model(str(folder)) == str(folder)
    assert resolve_model("runs/first") == "runs/first"
    assert resolve_model("~/runs/first") == str(folder)


def test_a_missing_folder_names_its_neighbour(tmp_path: Path) -> None:
    _model(tmp_path / "runs" / "checkpoint-20")
    for name in ("./runs/checkpoint-2", str(tmp_path / "runs" / "checkpoint-2")):
        error = _error(name)
        assert (error.key, error.nearest) == ("model.name", "checkpoint-20")
    # A name with one slash could be of the hub; its neighbours on disk are looked at all the same.
    error = _error("runs/checkpoint-2")
    assert error.key == "model.name"


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "no config.json" in str(_error("empty"))


def test_a_hub_that_is_down_is_found_out_in_seconds() -> None:
    start = time.monotonic()
    error = _error("smollm2-135m-instuct")
    assert time.monotonic() - start < 3
    assert error.nearest == "smollm2-135m-instruct"
    assert "http://127.0.0.1:9 could not be reached" in str(error)
    assert "smollm2-135m-instruct" in str(_error("Qwen/Qwen3-0.6B").expected)


def test_a_cached_snapshot_is_enough_without_a_network() -> None:
    snapshot = _cache("org/cached", ("config.json", "model.safetensors"))
    assert resolve_model("org/cached") == str(snapshot)
    assert "could not be reached" in str(_error("org/cached", revision="v2"))


def test_a_cached_snapshot_of_a_revision() -> None:
    snapshot = _cache("org/cached", ("config.json",), ref="v2")
    assert resolve_model("org/cached", revision="v2") == str(snapshot)


def test_a_snapshot_without_a_model_is_not_used() -> None:
    _cache("org/looked-at", ("README.md",))
    assert "could not be reached" in str(_error("org/looked-at"))


def test_a_model_of_the_hub(answering_hub: str) -> None:
    assert resolve_model("org/known") == "org/known"
    assert resolve_model("org/known", revision="v1") == "org/known"
    assert "has no revision 'none'" in str(_error("org/known", revision="none"))
    assert f"{answering_hub} has no model 'org/unknown'" in str(_error("org/unknown"))


def test_only_the_hub_has_revisions(tmp_path: Path) -> None:
    _model(tmp_path / "model")
    for name in ("model", "smollm2-135m-instruct"):
        assert _error(name, revision="v1").key == "model.revision"
