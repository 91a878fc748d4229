"""A Weights & Biases offline run, read back from the file it leaves."""

import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb

from rlent.launch.cli import main
from rlent.tracking import read_metrics, read_rollouts
from rlent.tracking.wandb_media import (
    TABLE_COLUMNS,
    completion_rows,
    entropy_histograms,
    grouped,
)
from tests.launch.conftest import recipe, workplace, write  # noqa: F401
from tests.report.runs import completion

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


def logged_of(found: list[Any]) -> list[dict[str, Any]]:
    """The lines of a run's history."""
    return [
        {
            item.key or "/".join(item.nested_key): json.loads(item.value_json)
            for item in record.history.item
        }
        for record in found
        if record.HasField("history")
    ]


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As on a machine without an account."""
    import wandb

    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    yield
    wandb.finish()


@pytest.mark.slow
@pytest.mark.usefixtures("offline")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_an_offline_run_holds_the_recipe_every_metric_and_the_completions(
    recipe: dict[str, Any],  # noqa: F811
    write: Any,  # noqa: F811
    capfd: pytest.CaptureFixture[str],
) -> None:
    import wandb

    recipe["tracking"] = {"wandb": {"project": "forks", "tags": ["small"]}}
    recipe["trainer"]["max_steps"] = 6
    assert main(["train", write(recipe)]) == 0
    wandb.finish()
    assert "offline" in capfd.readouterr().out
    folder = Path("runs/small")
    found = records_of_a_finished_run(folder)
    run = next(record.run for record in found if record.HasField("run"))
    assert (run.project, run.display_name, list(run.tags)) == ("forks", "small", ["small"])
    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert config["recipe"]["data"]["name"] == "additions.jsonl"
    environment = json.loads((folder / "environment.json").read_text())
    assert config["environment"]["git_revision"] == environment["git_revision"]
    assert config["environment"]["packages"]["trl"].startswith("1.16")

    lines = logged_of(found)
    written = [row for row in read_metrics(folder / "metrics.jsonl") if "reward" in row]
    steps = [line for line in lines if "train/reward" in line]
    for row, line in zip(written, steps, strict=True):
        assert line["train/global_step"] == row["step"]
        for name, value in row.items():
            if name != "step" and value is not None:
                assert line[name if "/" in name else f"train/{name}"] == pytest.approx(value), name
    assert {"forking_tokens/entropy_kept", "health/equal_rewards", "time/rollout"} <= steps[
        0
    ].keys()
    assert [line["held_out/score"] for line in lines if "held_out/score" in line]

    rollouts = read_rollouts(folder / "rollouts")
    histograms = [line for line in lines if "rollouts/entropy_all/values" in line]
    assert [line["train/global_step"] for line in histograms] == [1, 2, 3, 4, 5, 6]
    for step, line in enumerate(histograms):
        rows = [row for row in rollouts if row["step"] == step]
        chosen = sum(sum(row["selected"]) for row in rows)
        count = sum(len(row["token"]) for row in rows)
        totals = [sum(line[f"rollouts/entropy_{kind}/values"]) for kind in KINDS]
        assert totals == [count, chosen, count - chosen]

    (path,) = [*folder.rglob("completions_*_*.table.json")][:1]
    table = json.loads(path.read_text())
    assert table["columns"][:4] == ["step", "prompt", "completion", "reward"]
    step, prompt, text, *_ = table["data"][0]
    row = next(row for row in rollouts if row["step"] == step)
    assert prompt == row["prompt"]
    assert text.replace("⟦", "").replace("⟧", "") == "".join(row["token"])
    tables = [line for line in lines if "rollouts/completions/path" in line]
    assert len(tables) == 6

    alerts = [record.alert for record in found if record.HasField("alert")]
    warned = {name for row in written for name in row if name.startswith("health/") and row[name]}
    assert {alert.title.partition(" at step")[0].replace(" ", "_") for alert in alerts} == {
        name.removeprefix("health/") for name in warned
    }
    assert len(alerts) == len(warned) > 0
    defined = {
        (record.metric.name or record.metric.glob_name): record.metric
        for record in found
        if record.HasField("metric")
    }
    assert defined["held_out/score"].step_metric == "train/global_step" or (
        defined["held_out/score"].step_metric_index
    )
    assert defined["held_out/score"].summary.max


KINDS = ("all", "selected", "dropped")


@pytest.mark.slow
@pytest.mark.usefixtures("offline")
def test_a_tracker_that_cannot_start_stops_the_run_with_a_reason(
    recipe: dict[str, Any],  # noqa: F811
    write: Any,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import wandb

    def fail(**_: Any) -> None:
        raise wandb.errors.CommError("no such entity")

    monkeypatch.setattr(wandb, "init", fail)
    recipe["tracking"] = {"wandb": {"project": "forks"}}
    assert main(["train", write(recipe)]) == 2
    shown = capsys.readouterr().err
    assert "tracking.wandb: Weights & Biases cannot be started: no such entity" in shown
    assert "mode to offline" in shown


@pytest.mark.slow
@pytest.mark.usefixtures("offline")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_a_resumed_run_goes_on_in_the_same_run_of_wandb(
    recipe: dict[str, Any],  # noqa: F811
    write: Any,  # noqa: F811
) -> None:
    """Two folders offline, as wandb writes one for every start, and one run, which ``wandb sync`` puts together."""
    recipe["tracking"] = {"wandb": {"project": "trial"}}
    recipe["trainer"] |= {"max_steps": 2, "save_steps": 2}
    recipe["evaluation"] = None
    path = write(recipe)
    assert main(["train", path]) == 0
    wandb.finish()
    assert main(["train", path, "--resume", "trainer.max_steps=4"]) == 0
    wandb.finish()
    files = list(Path("runs/small").rglob("run-*.wandb"))
    assert len(files) == 2
    (identity,) = {file.stem.removeprefix("run-") for file in files}
    assert Path("runs/small/wandb-run-id").read_text() == identity


def row(tokens: list[str], entropy: list[float], selected: list[bool]) -> dict[str, Any]:
    return completion(tokens, entropy, selected=selected)


def test_selected_tokens_are_marked_and_neighbours_share_their_brackets() -> None:
    rows = [row(["so", " the", " answer", "."], [2.0, 1.0, 0.1, 0.1], [True, True, False, True])]
    (cells,) = completion_rows(rows, 5)
    assert dict(zip(TABLE_COLUMNS, cells, strict=True)) == {
        "step": 0,
        "prompt": "1 + 1 =",
        "completion": "⟦so the⟧ answer⟦.⟧",
        "reward": 0.0,
        "mean entropy": pytest.approx(0.8),
        "tokens": 4,
        "selected tokens": 3,
        "cut off": False,
    }


def test_where_everything_is_selected_the_highest_fifth_is_marked() -> None:
    first = row(list("abcde"), [0.5, 0.1, 0.2, 0.9, 0.3], [True] * 5)
    second = row(list("fghij"), [0.4, 0.8, 0.0, 0.1, 0.2], [True] * 5)
    assert [cells[2] for cells in completion_rows([first, second], 2)] == ["abc⟦d⟧e", "f⟦g⟧hij"]
    assert len(completion_rows([first, second], 1)) == 1
    assert completion_rows([row([], [], [])], 1)[0][2:6] == ["", 0.0, 0.0, 0]


def test_histograms_count_every_entropy_once() -> None:
    rows = [row(list("abc"), [0.0, 1.0, 2.0], [False, True, True])]
    found = entropy_histograms(rows)
    counts, edges = found["rollouts/entropy_all"]
    assert counts.sum() == 3
    assert (counts[0], counts[32], counts[-1]) == (1, 1, 1)
    assert (edges[0], edges[-1], len(edges)) == (0.0, 2.0, 65)
    assert found["rollouts/entropy_selected"][0].sum() == 2
    assert found["rollouts/entropy_dropped"][0].sum() == 1
    assert set(entropy_histograms([row(["a"], [0.0], [True])])) == {
        "rollouts/entropy_all",
        "rollouts/entropy_selected",
    }


def test_a_metric_is_in_the_group_that_its_name_says() -> None:
    assert grouped({"reward": 1, "time/update": 2, "eval/hard/pass@1": 3}) == {
        "train/reward": 1,
        "time/update": 2,
        "eval/hard/pass@1": 3,
    }
