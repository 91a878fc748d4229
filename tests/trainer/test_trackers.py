"""A tracker that cannot start ends the run; one that is lost later does not."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK, TensorBoardCallback

from rlent.trainer import EntropyGRPOTrainer
from rlent.trainer.callbacks import shield_trackers
from rlent.trainer.callbacks.trackers import ShieldedTracker
from tests.trainer.helpers import make_trainer


class Failing(TensorBoardCallback):
    """A tracker of transformers that raises in one event."""

    def __init__(self, event: str) -> None:
        self._event = event
        self.seen: list[str] = []

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("on_"):
            return super().__getattribute__(name)

        def event(*_: Any, **__: Any) -> None:
            self.seen.append(name)
            if name == self._event:
                raise ConnectionError("the line is dead")

        return event


def trained(tracker: Failing, model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setitem(INTEGRATION_TO_CALLBACK, "failing", Failing)
    trainer = make_trainer(EntropyGRPOTrainer, model, folder, max_steps=2, callbacks=[tracker])
    shield_trackers(trainer)
    trainer.train()
    return trainer


def test_a_tracker_lost_while_training_is_said_once(
    tiny_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tracker = Failing("on_log")
    trainer = trained(tracker, tiny_folder, tmp_path, monkeypatch)
    assert trainer.state.global_step == 2
    assert tracker.seen.count("on_log") >= 2
    assert "on_train_end" in tracker.seen
    said = capsys.readouterr().err
    assert said.count("Failing has failed (on_log: the line is dead). Training goes on") == 1
    shielded = [cb for cb in trainer.callback_handler.callbacks if isinstance(cb, ShieldedTracker)]
    assert shielded[0].lost == tracker.seen.count("on_log")


@pytest.mark.parametrize("event", ["on_init_end", "on_train_begin"])
def test_a_tracker_that_cannot_start_ends_the_run(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, event: str
) -> None:
    with pytest.raises(ConnectionError, match="the line is dead"):
        trained(Failing(event), tiny_folder, tmp_path, monkeypatch)


def test_other_callbacks_are_left_as_they_are(tiny_folder: Path, tmp_path: Path) -> None:
    trainer = make_trainer(EntropyGRPOTrainer, tiny_folder, tmp_path, max_steps=1)
    before = list(trainer.callback_handler.callbacks)
    shield_trackers(trainer)
    assert trainer.callback_handler.callbacks == before


def test_what_is_no_event_is_handed_through() -> None:
    assert ShieldedTracker(SimpleNamespace(name="board")).name == "board"
