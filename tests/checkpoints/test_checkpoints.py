"""Whole checkpoints are found; what is cut off is named and passed over."""

from collections.abc import Callable
from pathlib import Path

import pytest

from rlent.checkpoints import UNFINISHED, fault, newest_whole, publish, set_aside_after


def checkpoint(run: Path, step: int) -> Path:
    folder = run / UNFINISHED / f"checkpoint-{step}"
    (folder / "global_step").mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights" * step)
    (folder / "global_step" / "part.pt").write_bytes(b"part")
    publish(folder, run)
    return run / folder.name


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut off": (lambda folder: cut(folder / "model.safetensors"), "model.safetensors has 13 of 14"),
    "missing": (lambda folder: (folder / "global_step/part.pt").unlink(), "part.pt is missing"),
    "no list": (lambda folder: (folder / "files.json").unlink(), "no files.json"),
    "half a list": (lambda folder: (folder / "files.json").write_text('{"mod'), "is cut off"),
}


def test_the_newest_is_found_by_number(tmp_path: Path) -> None:
    for step in (2, 10, 9):
        checkpoint(tmp_path, step)
    assert newest_whole(tmp_path, pytest.fail) == tmp_path / "checkpoint-10"
    assert newest_whole(tmp_path / "nothing", pytest.fail) is None


@pytest.mark.parametrize("damage", BROKEN)
def test_a_broken_one_is_reported_and_skipped(tmp_path: Path, damage: str) -> None:
    older, newer = checkpoint(tmp_path, 1), checkpoint(tmp_path, 2)
    breaks, reason = BROKEN[damage]
    breaks(newer)
    said: list[str] = []
    assert newest_whole(tmp_path, said.append) == older
    assert len(said) == 1
    assert str(newer) in said[0]
    assert reason in said[0]


def test_one_that_was_being_written_is_reported(tmp_path: Path) -> None:
    whole = checkpoint(tmp_path, 1)
    (tmp_path / UNFINISHED / "checkpoint-2").mkdir(parents=True)
    said: list[str] = []
    assert newest_whole(tmp_path, said.append) == whole
    assert "cut off while it was written" in said[0]


def test_what_a_resumed_run_would_take_for_newer_is_set_aside(tmp_path: Path) -> None:
    whole = checkpoint(tmp_path, 1)
    (checkpoint(tmp_path, 2) / "files.json").unlink()
    set_aside_after(tmp_path, 1)
    assert sorted(path.name for path in tmp_path.glob("*checkpoint-*")) == [
        "broken-checkpoint-2",
        "checkpoint-1",
    ]
    assert fault(whole) is None


def test_a_checkpoint_of_the_same_step_is_replaced(tmp_path: Path) -> None:
    checkpoint(tmp_path, 3)
    (tmp_path / "checkpoint-3" / "old").write_text("of the run before")
    again = checkpoint(tmp_path, 3)
    assert fault(again) is None
    assert not (again / "old").exists()
