"""Datasets of the hub, with a hub that is down, lacks the dataset, or has it."""

import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from rlent.data import DataSection, hub, hub_datasets, load_rows
from rlent.data.hub import HubAnswer, ask_hub
from rlent.errors import ConfigError

README = """---
configs:
- config_name: main
  data_files:
  - {split: train, path: train.jsonl}
  - {split: test, path: test.jsonl}
- config_name: socratic
  data_files: train.jsonl
---
"""


def _error(**section: Any) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load_rows(DataSection(**section))
    return caught.value


def test_a_hub_that_is_down_is_found_out_in_seconds() -> None:
    start = time.monotonic()
    error = _error(name="openai/gsm8k", config="main")
    assert time.monotonic() - start < 3
    assert "'openai/gsm8k'" in error.problem
    assert "http://127.0.0.1:9 could not be reached" in error.problem
    assert "local file or folder" in str(error.remedy)
    assert "HF_HUB_OFFLINE=1" in str(error.remedy)


def test_a_hub_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "HUB_TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", endpoint)
        start = time.monotonic()
        answer = ask_hub("dataset", "openai/gsm8k")
    assert time.monotonic() - start < 2
    assert answer.status == "unreachable"
    assert "Timeout" in answer.reason


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("org/known", "found"),
        ("org/unknown", "missing"),
        ("org/broken", "unreachable"),
        ("not a name", "missing"),
    ],
)
@pytest.mark.parametrize("kind", ["model", "dataset"])
def test_what_the_hub_says(kind: Any, name: str, status: str, answering_hub: str) -> None:
    answer = ask_hub(kind, name)
    assert answer.status == status
    assert bool(answer.reason) == (status != "found")


def test_a_dataset_that_the_hub_lacks(answering_hub: str, tmp_path: Path) -> None:
    error = _error(name="org/unknown")
    assert f"{answering_hub} has no dataset 'org/unknown'" in error.problem
    assert error.remedy is None


def test_a_file_name_with_an_unknown_ending_is_near_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text("{}")
    assert _error(name="train.jsonll").nearest == "train.jsonl"


@pytest.fixture
def hub_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A repository of the hub on disk: datasets reads its card and configurations alike."""
    folder = tmp_path / "org" / "repo"
    folder.mkdir(parents=True)
    (folder / "README.md").write_text(README)
    (folder / "train.jsonl").write_text('{"question": "a", "answer": "1"}\n' * 3)
    (folder / "test.jsonl").write_text('{"question": "b", "answer": "2"}\n')
    monkeypatch.setattr(hub_datasets, "ask_hub", lambda kind, name: HubAnswer(status="found"))
    return "org/repo"


def test_all_splits_of_a_configuration(hub_dataset: str) -> None:
    tables = hub_datasets.read_hub_dataset(hub_dataset, "main", expected="")
    assert {name: len(table) for name, table in tables.items()} == {"train": 3, "test": 1}


def test_an_unknown_configuration_names_the_nearest(hub_dataset: str) -> None:
    with pytest.raises(ConfigError) as caught:
        hub_datasets.read_hub_dataset(hub_dataset, "mian", expected="")
    error = caught.value
    assert (error.key, error.nearest) == ("data.config", "main")
    assert error.expected == "main, socratic"


def test_a_configuration_must_be_chosen_among_several(hub_dataset: str) -> None:
    with pytest.raises(ConfigError, match="several configurations") as caught:
        hub_datasets.read_hub_dataset(hub_dataset, None, expected="")
    assert caught.value.expected == "main, socratic"


def test_a_repository_without_data(hub_dataset: str, tmp_path: Path) -> None:
    for file in (tmp_path / "org" / "repo").iterdir():
        file.unlink()
    with pytest.raises(ConfigError, match="could not be loaded") as caught:
        hub_datasets.read_hub_dataset(hub_dataset, None, expected="")
    assert caught.value.key == "data.name"


@pytest.mark.slow
def test_offline_mode_reads_the_cache_and_fails_fast() -> None:
    script = (
        "from rlent.data import DataSection, load_rows\n"
        "load_rows(DataSection(name='openai/gsm8k', config='main'))\n"
    )
    start = time.monotonic()
    run = subprocess.run(
        [sys.executable, "-c", script],
        env={"HF_HUB_OFFLINE": "1", "PYTHONPATH": ":".join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert time.monotonic() - start < 20
    assert run.returncode == 1
    assert "ConfigError: data.name: the dataset 'openai/gsm8k' could not be loaded" in run.stderr
