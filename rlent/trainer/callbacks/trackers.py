"""Trackers that may be lost without losing the run."""

import sys
from collections.abc import Callable
from typing import Any

from transformers import Trainer
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK


def shield_trackers(trainer: Trainer) -> None:
    """Put a shield around every tracker of ``report_to``."""
    for kind in INTEGRATION_TO_CALLBACK.values():
        for tracker in [cb for cb in trainer.callback_handler.callbacks if isinstance(cb, kind)]:
            trainer.remove_callback(tracker)
            shielded: Any = ShieldedTracker(tracker)
            trainer.add_callback(shielded)


class ShieldedTracker:
    """Hands every event to a tracker. What it raises before training ends the run, what it raises later is said.

    A tracker that cannot start is a mistake of the recipe or the machine; a connection lost after a day is none.
    The run's own files hold every metric either way.
    """

    def __init__(self, tracker: Any) -> None:
        self._tracker = tracker
        self._started = False
        self.lost = 0
        """Events that the tracker has failed to take."""

    def __getattr__(self, event: str) -> Callable[..., Any]:
        method = getattr(self._tracker, event)

        def hand_over(*args: Any, **kwargs: Any) -> Any:
            if not self._started:
                result = method(*args, **kwargs)
                self._started = event == "on_train_begin"
                return result
            try:
                return method(*args, **kwargs)
            except Exception as error:
                self._report(event, error)

        return hand_over if callable(method) else method

    def _report(self, event: str, error: Exception) -> None:
        self.lost += 1
        if self.lost == 1:
            print(
                f"{type(self._tracker).__name__} has failed ({event}: {error}). Training goes on; "
                "metrics.jsonl has every metric.",
                file=sys.stderr,
                flush=True,
            )
