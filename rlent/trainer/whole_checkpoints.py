"""Checkpoints that are whole or not there, and that hold what every rank needs to be the run that was not stopped."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, Trainer
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, rotate_checkpoints

from rlent.checkpoints import UNFINISHED, publish
from rlent.errors import CheckpointError
from rlent.sharding import on_all_ranks

RANK_FILE = "rank-{}.pt"


class WholeCheckpoints(Trainer):
    """Mixed into a trainer: its checkpoints are published whole, with ``_rank_state`` of every rank."""

    args: Any
    _staging: Path | None
    """Where a checkpoint is being written, or None."""
    _loss_to_go_on: tuple[torch.Tensor, int] | None
    """From a checkpoint: the loss since the last log line, and the step of that line."""

    def _rank_state(self) -> dict[str, Any]:
        """What this rank needs beyond the trainer's own files; ``loss`` among it, see ``_load_rng_state``."""
        raise NotImplementedError

    def _load_rank_state(self, state: dict[str, Any]) -> None:
        raise NotImplementedError

    def _get_output_dir(self, trial: Any) -> str:
        return super()._get_output_dir(trial) if self._staging is None else str(self._staging)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        run = Path(self.args.output_dir)
        name = f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        with self._staged(run / UNFINISHED, name) as folder:
            write = partial(super()._save_checkpoint, model, trial)
            if self.is_deepspeed_enabled:
                # Its ranks wait for each other meanwhile; one that fails leaves them, and they stop for that.
                write()
            else:
                on_all_ranks(write)
            state = self._rank_state()
            rank_file = folder / RANK_FILE.format(self.accelerator.process_index)
            on_all_ranks(partial(torch.save, state, rank_file))
            on_all_ranks(partial(self._publish, folder, run))

    def _publish(self, folder: Path, run: Path) -> None:
        if self.args.should_save:
            publish(folder, run)
            rotate_checkpoints(str(run), self.args.save_total_limit)

    @contextmanager
    def _staged(self, staging: Path, name: str) -> Iterator[Path]:
        """Inside, TRL writes to ``staging``. What an error leaves there is removed; older checkpoints stay.

        The rank that has made the folder removes it: where another fails, that one has stopped writing by then.
        """
        if self.args.should_save:
            shutil.rmtree(staging, ignore_errors=True)
        self.accelerator.wait_for_everyone()
        (staging / name).mkdir(parents=True, exist_ok=True)
        self._staging = staging
        try:
            yield staging / name
        except Exception as error:
            if self.args.should_save:
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

    def _check_rows(self, state: dict[str, Any]) -> None:
        """Refuse to go on from a checkpoint in another order of the data."""
        if state["rows_per_step"] != self._rows_per_step:
            raise CheckpointError(
                f"the checkpoint was written with {state['rows_per_step']} rows in an optimiser step, this run "
                f"has {self._rows_per_step}: the order of the data would not be the same\n"
                "  change: make per_device_train_batch_size * gradient_accumulation_steps * processes the same"
            )

    @property
    def _rows_per_step(self) -> int:
        """Rows of all ranks in an optimiser step."""
        args = self.args
        return args.train_batch_size * args.gradient_accumulation_steps * args.world_size

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Transformers', but weights are found under the names that ``save_pretrained`` gives them.

        These are the published checkpoint's, and not always those in the model, as of vision-language models and
        mixtures of experts; transformers' own would then leave the model as it is, with a warning.

        Raises:
            CheckpointError: a weight is missing, or is not the model's.
        """
        model = self.model if model is None else model
        if self.is_fsdp_enabled or not isinstance(model, PreTrainedModel):
            return super()._load_from_checkpoint(resume_from_checkpoint, model)
        found: Any = type(model).from_pretrained(
            resume_from_checkpoint, dtype=model.dtype, output_loading_info=True
        )
        saved, told = found
        if strange := sorted({*told["missing_keys"], *told["unexpected_keys"]}):
            raise CheckpointError(
                f"{resume_from_checkpoint} holds other weights than the model: {', '.join(strange)}"
            )
        model.load_state_dict(saved.state_dict())

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            accelerator = self.accelerator
            state = read_rank_state(Path(checkpoint), accelerator.process_index, accelerator.device)
            self._load_rank_state(state)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        """The last that is loaded, just before the first step; the loss since the last log line goes with it."""
        super()._load_rng_state(checkpoint)
        if self._loss_to_go_on is not None:
            (self._tr_loss, self._globalstep_last_logged), self._loss_to_go_on = (
                self._loss_to_go_on,
                None,
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
