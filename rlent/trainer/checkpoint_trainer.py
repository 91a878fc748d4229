"""The trainer's checkpoints: TRL's files, and per rank what a resumed run needs to be the run that was not stopped."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, rotate_checkpoints

from rlent.checkpoints import UNFINISHED, publish
from rlent.errors import CheckpointError
from rlent.trainer.generation import RolloutTrainer
from rlent.trainer.metrics import MeanMetrics
from rlent.trainer.sampler import EpochOrder

RANK_FILE = "rank-{}.pt"


class CheckpointTrainer(RolloutTrainer):
    """The trainer with checkpoints that are whole or not there.

    Beyond TRL's files (model, optimiser, scheduler, random states of every rank) a checkpoint holds, for every rank:
    the rollouts that are still to be trained on, the state of every intervention, the prompts drawn in others' place,
    the random numbers of generation, and the metrics and rollouts that are not written yet.
    """

    _means: dict[str, MeanMetrics]
    _staging: Path | None
    """Where a checkpoint is being written, or None."""
    _loss_to_go_on: tuple[torch.Tensor, int] | None
    """From a checkpoint: the loss since the last log line, and the step of that line."""

    def _get_train_sampler(self, dataset: Any = None) -> Any:
        sampler: Any = super()._get_train_sampler(dataset)
        if not self.shuffle_dataset:
            return sampler
        return EpochOrder(sampler, lambda: int(self.state.epoch or 0))

    def _get_output_dir(self, trial: Any) -> str:
        return super()._get_output_dir(trial) if self._staging is None else str(self._staging)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        run = Path(self.args.output_dir)
        name = f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        with self._staged(run / UNFINISHED, name) as folder:
            super()._save_checkpoint(model, trial)
            rank_file = folder / RANK_FILE.format(self.accelerator.process_index)
            torch.save(self._rank_state(), rank_file)
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                publish(folder, run)
                rotate_checkpoints(str(run), self.args.save_total_limit)
        self.accelerator.wait_for_everyone()

    @contextmanager
    def _staged(self, staging: Path, name: str) -> Iterator[Path]:
        """Inside, TRL writes to ``staging``. What an error leaves there is removed; older checkpoints stay."""
        if self.args.should_save:
            shutil.rmtree(staging, ignore_errors=True)
        self.accelerator.wait_for_everyone()
        (staging / name).mkdir(parents=True, exist_ok=True)
        self._staging = staging
        try:
            yield staging / name
        except Exception as error:
            shutil.rmtree(staging, ignore_errors=True)
            free = shutil.disk_usage(staging.parent).free / 2**20
            raise CheckpointError(
                f"{name} could not be written: {error}\n"
                f"  free space: {free:,.0f} MiB in {staging.parent}\n"
                "  change: make room, or lower trainer.save_total_limit; the older checkpoints are whole, and --resume "
                "goes on from them"
            ) from error
        finally:
            self._staging = None
        if self.args.should_save:
            shutil.rmtree(staging, ignore_errors=True)

    def _rank_state(self) -> dict[str, Any]:
        per_generation = self.args.steps_per_generation * self.num_iterations
        used_up = self._step % per_generation == 0
        return {
            "ranks": self.accelerator.num_processes,
            "rows_per_step": self._rows_per_step,
            "micro_batches": self._step,
            "waiting": None if used_up else self._buffered_inputs,
            "interventions": self.chain.state_dict(),
            "prompts_drawn": None if self._fresh_prompts is None else self._fresh_prompts.drawn,
            "generated": None if self._native is None else self._native.state_dict(),
            "metrics": {mode: dict(values) for mode, values in self._metrics.items()},
            "means": {mode: means.state_dict() for mode, means in self._means.items()},
            "rollout_log": None if self.rollout_log is None else self.rollout_log.state_dict(),
            "loss": (self._tr_loss, self._globalstep_last_logged),
            "skipped_steps": self.skipped_steps,
        }

    @property
    def _rows_per_step(self) -> int:
        """Completions of all ranks in an optimiser step."""
        args = self.args
        return args.train_batch_size * args.gradient_accumulation_steps * args.world_size

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            accelerator = self.accelerator
            state = read_rank_state(Path(checkpoint), accelerator.process_index, accelerator.device)
            self._load_rank_state(state)

    def _load_rank_state(self, state: dict[str, Any]) -> None:
        self._check_split(state)
        self._step = state["micro_batches"]
        self._buffered_inputs = state["waiting"]
        self.chain.load_state_dict(state["interventions"])
        if self._fresh_prompts is not None:
            self._fresh_prompts.drawn = state["prompts_drawn"] or 0
        if self._native is not None and state["generated"] is not None:
            self._native.load_state_dict(state["generated"])
        for mode, values in state["metrics"].items():
            self._metrics[mode].update(values)
        for mode, sums in state["means"].items():
            self._means[mode].load_state_dict(sums)
        if self.rollout_log is not None and state["rollout_log"] is not None:
            self.rollout_log.load_state_dict(state["rollout_log"])
        self.skipped_steps = state["skipped_steps"]
        self._loss_to_go_on = state["loss"]

    def _load_rng_state(self, checkpoint: str | None) -> None:
        """The last that is loaded, just before the first step; the loss since the last log line goes with it."""
        super()._load_rng_state(checkpoint)
        if self._loss_to_go_on is not None:
            (self._tr_loss, self._globalstep_last_logged), self._loss_to_go_on = (
                self._loss_to_go_on,
                None,
            )

    def _check_split(self, state: dict[str, Any]) -> None:
        """Whether this run splits the work as the checkpoint's did, or may split it otherwise."""
        ranks = self.accelerator.num_processes
        if state["rows_per_step"] != self._rows_per_step:
            raise CheckpointError(
                f"the checkpoint was written with {state['rows_per_step']} completions in an optimiser step, this run "
                f"has {self._rows_per_step}: the order of the data would not be the same\n"
                "  change: make per_device_train_batch_size * gradient_accumulation_steps * processes the same"
            )
        if state["ranks"] != ranks and state["waiting"] is not None:
            raise CheckpointError(
                f"the checkpoint holds rollouts of which {state['ranks']} processes have a part each, and this run has "
                f"{ranks} processes\n"
                f"  change: resume with {state['ranks']} processes, or from a checkpoint whose step is a multiple of "
                f"{self.args.steps_to_fresh_rollouts}"
            )


def read_rank_state(checkpoint: Path, rank: int, device: torch.device) -> dict[str, Any]:
    """What a rank wrote; a rank that was not there takes what all ranks have in common from the first."""
    own = checkpoint / RANK_FILE.format(rank)
    path = own if own.exists() else checkpoint / RANK_FILE.format(0)
    state = torch.load(path, map_location=device.type)
    if not own.exists():
        # Sums over ranks must hold every part once.
        state |= {"means": {}, "rollout_log": None}
        state["loss"] = (torch.zeros_like(state["loss"][0]), state["loss"][1])
    return state
