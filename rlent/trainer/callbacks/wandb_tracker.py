"""transformers' callback for Weights & Biases, with groups, distributions of entropy, completions and alerts."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from transformers import TrainerState, TrainingArguments
from transformers.integrations.integration_utils import WandbCallback

from rlent.tracking import RolloutLog
from rlent.tracking.health import PREFIX, warnings
from rlent.tracking.wandb_media import (
    TABLE_COLUMNS,
    completion_rows,
    entropy_histograms,
    grouped,
)

STEP = "train/global_step"
SUMMARIES = {
    "held_out/score": "last,max",
    "train/reward": "last,max",
    "train/entropy": "last,min,max",
    "eval/*": "last,max",
    f"{PREFIX}*": "max",
}
"""What the run's summary holds of a metric; the last value of any other."""
TABLES = 20
"""Most tables of completions in a run."""
TABLE_ROWS = 16


class WandbTracker(WandbCallback):
    """Logs what ``grouped`` names, and with a log of rollouts the first rank's entropies and completions.

    Histograms and tables stand at the step of the update that follows their generation. Each warning of
    ``rlent.tracking.health`` is one alert.
    """

    _wandb: Any

    def __init__(self, log: RolloutLog | None) -> None:
        super().__init__()
        self._log = log
        self._sent: set[Path] = set()
        self._alerted: set[str] = set()
        self._next_table = 0

    def setup(self, args: Any, state: Any, model: Any, **kwargs: Any) -> None:
        super().setup(args, state, model, **kwargs)
        if state.is_world_process_zero:
            for metric, summary in SUMMARIES.items():
                self._wandb.define_metric(metric, step_metric=STEP, summary=summary)
        self._sent = set(self._files())
        self._alerted = {warned.name for warned in warnings(state.log_history)}

    def on_log(
        self,
        args: TrainingArguments,
        state: Any,
        control: Any,
        model: Any = None,
        logs: Any = None,
        **kwargs: Any,
    ) -> None:
        if not self._initialized:
            self.setup(args, state, model)
        if not state.is_world_process_zero or logs is None:
            return
        if "train_runtime" in logs:
            self._wandb.run.summary.update(grouped(logs))
            return
        self._wandb.log({**grouped(logs), STEP: state.global_step})
        self._alert(state)
        self._send_rollouts(state)

    def on_train_end(
        self,
        args: TrainingArguments,
        state: Any,
        control: Any,
        model: Any = None,
        processing_class: Any = None,
        **kwargs: Any,
    ) -> None:
        if state.is_world_process_zero:
            if self._log is not None:
                self._log.flush()
            self._send_rollouts(state)
        super().on_train_end(args, state, control, model, processing_class, **kwargs)

    def _alert(self, state: TrainerState) -> None:
        for warned in warnings(state.log_history):
            if warned.name not in self._alerted:
                self._alerted.add(warned.name)
                self._wandb.run.alert(
                    title=f"{warned.name.replace('_', ' ')} at step {state.global_step}",
                    text=str(warned),
                    level=self._wandb.AlertLevel.WARN,
                )

    def _files(self) -> list[Path]:
        """Of the first rank: those of others may not be there yet."""
        return [] if self._log is None else sorted(self._log.folder.glob("*.rank-0.parquet"))

    def _send_rollouts(self, state: TrainerState) -> None:
        for path in self._files():
            if path not in self._sent:
                self._sent.add(path)
                self._send(pq.read_table(path).to_pylist(), state.max_steps)

    def _send(self, rows: list[dict[str, Any]], steps: int) -> None:
        media: dict[str, Any] = {
            name: self._wandb.Histogram(np_histogram=histogram)
            for name, histogram in entropy_histograms(rows).items()
        }
        step = rows[0]["step"]
        if step >= self._next_table:
            self._next_table = step + max(1, steps // TABLES)
            media["rollouts/completions"] = self._wandb.Table(
                columns=list(TABLE_COLUMNS), data=completion_rows(rows, TABLE_ROWS)
            )
        self._wandb.log({**media, STEP: step + 1})
