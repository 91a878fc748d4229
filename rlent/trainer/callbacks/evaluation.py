"""Sets of problems, evaluated at chosen steps of training."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from accelerate.utils import gather_object
from transformers import TrainerState

from rlent.evaluation import (
    Answer,
    Answerer,
    ProblemSet,
    answer_share,
    in_order,
    set_result,
    write_answers,
    write_problems,
)
from rlent.sharding import on_all_ranks
from rlent.trainer.callbacks.at_steps import AtSteps, is_due
from rlent.trainer.trainer import EntropyGRPOTrainer


class EvaluationCallback(AtSteps):
    """Logs ``eval/<set>/pass@1`` and the other numbers of ``SetResult.logged``.

    rlent's own engine answers, whatever program generates the rollouts, and every rank answers its share. The answers
    are kept in ``folder/step-000010/<set>/``: ``completions.parquet`` and ``problems.parquet``.

    Args:
        every: optimiser steps between evaluations of each set; 0 only before and after.
    """

    def __init__(
        self, sets: Sequence[ProblemSet], *, every: Mapping[str, int], folder: Path
    ) -> None:
        super().__init__()
        self._sets = sets
        self._every = every
        self._folder = folder

    def measure(self, trainer: EntropyGRPOTrainer, state: TrainerState) -> dict[str, float]:
        due = [problems for problems in self._sets if is_due(state, self._every[problems.name])]
        metrics = {}
        for problems in due:
            answers = _answers(trainer, problems)
            result = set_result(problems, answers)
            if trainer.accelerator.is_main_process:
                folder = self._folder / f"step-{state.global_step:06d}" / problems.name
                write_answers(folder / "completions.parquet", answers)
                write_problems(folder, result)
            metrics |= result.logged()
        return metrics


def _answers(trainer: EntropyGRPOTrainer, problems: ProblemSet) -> list[Answer]:
    """Those of all ranks."""
    rank, ranks = trainer.accelerator.process_index, trainer.accelerator.num_processes
    with trainer.whole_model() as model, trainer.accelerator.autocast():
        answerer = Answerer(
            model=model,
            tokenizer=trainer.processing_class,
            ends=tuple(trainer.eos_token_ids),
            template_options=trainer.args.chat_template_kwargs,
        )
        mine = on_all_ranks(partial(answer_share, answerer, problems, rank=rank, ranks=ranks))
    return in_order(gather_object(mine))
