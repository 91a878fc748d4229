"""A Weights & Biases offline run, read back from the file it leaves."""

import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.launch.conftest import recipe, workplace, write  # noqa: F401

BLOCK, HEADER, FILE_HEADER = 32768, 7, 7
FULL, LAST = 1, 4


def records(folder: Path) -> Iterator[Any]:
    """Every record of the only offline run below ``folder``.

    The file is a LevelDB log: blocks of 32 KiB, in which a record is one or several fragments, each with a header of
    checksum (4 bytes), length (2) and kind (1).
    """
    from wandb.proto import wandb_internal_pb2

    (path,) = folder.rglob("run-*.wandb")
    data = path.read_bytes()
    assert data.startswith(b":W&B")
    place, parts = FILE_HEADER, b""
    while place + HEADER <= len(data):
        left = BLOCK - place % BLOCK
        if left < HEADER:
            place += left
            continue
        length, kind = struct.unpack_from("<HB", data, place + 4)
        parts += data[place + HEADER : place + HEADER + length]
        place += HEADER + length
        if kind in (FULL, LAST):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            parts = b""
            yield record


def records_of_a_finished_run(folder: Path, patience: float = 30.0) -> list[Any]:
    """All records, once the last one is there: another process writes the file, in its own time."""
    deadline = time.monotonic() + patience
    while True:
        found = list(records(folder))
        if any(record.HasField("exit") for record in found):
            return found
        assert time.monotonic() < deadline, f"{len(found)} records and no exit"
        time.sleep(0.2)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_an_offline_run_holds_the_recipe_and_every_metric(
    recipe: dict[str, Any],  # noqa: F811
    write: Any,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    import wandb

    from rlent.launch.cli import main

    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    recipe["tracking"] = {"wandb": {"project": "forks", "tags": ["small"]}}
    recipe["trainer"]["max_steps"] = 2
    try:
        assert main(["train", write(recipe)]) == 0
    finally:
        wandb.finish()
    assert "offline" in capfd.readouterr().out
    found = records_of_a_finished_run(Path("runs/small"))
    run = next(record.run for record in found if record.HasField("run"))
    assert (run.project, run.display_name, list(run.tags)) == ("forks", "small", ["small"])
    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert config["recipe"]["data"]["name"] == "additions.jsonl"
    logged: dict[str, list[float]] = {}
    for record in found:
        if record.HasField("history"):
            for item in record.history.item:
                logged.setdefault(item.key or "/".join(item.nested_key), []).append(
                    json.loads(item.value_json)
                )
    assert len(logged["train/reward"]) == 2
    assert all(value > 0 for value in logged["train/forking_tokens/entropy_kept"])
