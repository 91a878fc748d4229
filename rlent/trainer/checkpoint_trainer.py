"""The trainer's checkpoints: TRL's files, and per rank what a resumed run needs to be the run that was not stopped."""

from typing import Any

from rlent.errors import CheckpointError
from rlent.trainer.generation import RolloutTrainer
from rlent.trainer.metrics import MeanMetrics
from rlent.trainer.sampler import EpochOrder
from rlent.trainer.whole_checkpoints import WholeCheckpoints


class CheckpointTrainer(WholeCheckpoints, RolloutTrainer):
    """The trainer with checkpoints that are whole or not there.

    Beyond TRL's files (model, optimiser, scheduler, random states of every rank) a checkpoint holds, for every rank:
    the rollouts that are still to be trained on, the state of every intervention, the prompts drawn in others' place,
    the random numbers of generation, and the metrics and rollouts that are not written yet.
    """

    _means: dict[str, MeanMetrics]

    def _get_train_sampler(  # pyright: ignore[reportIncompatibleMethodOverride] (TRL's own name of it)
        self, dataset: Any = None
    ) -> Any:
        sampler: Any = super()._get_train_sampler(dataset)
        if not self.shuffle_dataset:
            return sampler
        return EpochOrder(sampler, lambda: int(self.state.epoch or 0))

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

    def _check_split(self, state: dict[str, Any]) -> None:
        """Whether this run splits the work as the checkpoint's did, or may split it otherwise."""
        ranks = self.accelerator.num_processes
        self._check_rows(state)
        if state["ranks"] != ranks and state["waiting"] is not None:
            raise CheckpointError(
                f"the checkpoint holds rollouts of which {state['ranks']} processes have a part each, and this run has "
                f"{ranks} processes\n"
                f"  change: resume with {state['ranks']} processes, or from a checkpoint whose step is a multiple of "
                f"{self.args.steps_to_fresh_rollouts}"
            )
