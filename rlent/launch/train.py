"""``rlent train``: a recipe becomes a run."""

import sys
import warnings
from pathlib import Path
from typing import Any

from accelerate import PartialState

from rlent.config import Recipe
from rlent.launch.prepare import Prepared, held_out_length, prepare
from rlent.launch.run_folder import (
    METRICS_FILE,
    MODEL_FOLDER,
    ROLLOUTS_FOLDER,
    latest_checkpoint,
    new_run_folder,
    write_run_folder,
)
from rlent.launch.show import say, show_completions, show_plan, show_result
from rlent.tracking import MetricsFile, RolloutLog
from rlent.tracking.wandb_run import start_wandb
from rlent.trainer import EntropyGRPOTrainer
from rlent.trainer.callbacks import (
    HeldOutCallback,
    InterruptCallback,
    MetricsCallback,
    ProgressCallback,
)

INTERRUPTED = 130
"""Exit status after Ctrl-C, as a shell expects it."""


def train(recipe: Recipe, *, resume: bool) -> int:
    """Run a recipe, or continue its latest run; returns the exit status.

    Raises:
        ConfigError: the recipe cannot run; nothing has been written then.
    """
    with recipe.source.locating():
        folder, checkpoint = latest_checkpoint(recipe) if resume else (new_run_folder(recipe), None)
    # TRL calls names that transformers has renamed; nobody who runs a recipe can do anything about it.
    warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
    prepared = prepare(recipe, folder)
    # Every rank must have chosen the folder's name before the first one makes it.
    PartialState().wait_for_everyone()
    if checkpoint is None and prepared.args.process_index == 0:
        write_run_folder(folder, recipe)
    show_plan(prepared, folder, checkpoint)
    if recipe.tracking.wandb is not None and prepared.args.process_index == 0:
        mode = start_wandb(recipe.tracking.wandb, recipe, folder)
        say(
            f"wandb      {mode}"
            + (f": upload later with wandb sync {folder}/wandb/*" if mode == "offline" else "")
        )

    held_out = _held_out(prepared)
    interrupt = InterruptCallback(every=prepared.args.steps_to_fresh_rollouts)
    trainer = _trainer(prepared, folder, [interrupt, *([held_out] if held_out else [])])
    if held_out is not None:
        held_out.trainer = trainer
    trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    if trainer.rollout_log is not None:
        trainer.rollout_log.flush()
    if interrupt.interrupted:
        say(f"\nStopped after step {trainer.state.global_step}. Continue with: {_again()} --resume")
        return INTERRUPTED
    trainer.save_model(str(folder / MODEL_FOLDER))
    if held_out is not None and recipe.evaluation is not None:
        show_completions(held_out.history, recipe.evaluation.show)
    show_result(folder)
    return 0


def _trainer(prepared: Prepared, folder: Path, callbacks: list[Any]) -> EntropyGRPOTrainer:
    from transformers.trainer_callback import PrinterCallback
    from transformers.trainer_callback import ProgressCallback as HuggingFaceProgress

    recipe, args = prepared.recipe, prepared.args
    log = None
    if recipe.tracking.rollouts:
        names = [reward.name for reward in recipe.rewards]
        log = RolloutLog(folder / ROLLOUTS_FOLDER, prepared.tokenizer, names, args.process_index)
    trainer = EntropyGRPOTrainer(
        prepared.model,
        [reward.function for reward in recipe.rewards],
        args,
        train_dataset=prepared.train,
        processing_class=prepared.tokenizer,
        interventions=recipe.interventions,
        rollout_log=log,
        callbacks=[
            *callbacks,
            MetricsCallback(MetricsFile(folder / METRICS_FILE)),
            ProgressCallback(),
        ],
    )
    for replaced in (HuggingFaceProgress, PrinterCallback):
        trainer.remove_callback(replaced)
    return trainer


def _held_out(prepared: Prepared) -> HeldOutCallback | None:
    evaluation = prepared.recipe.evaluation
    if evaluation is None or prepared.held_out is None:
        return None
    by_name = {reward.name: reward.function for reward in prepared.recipe.rewards}
    name = evaluation.reward or prepared.recipe.rewards[0].name
    return HeldOutCallback(
        prepared.held_out.to_list(),
        by_name[name],
        every=evaluation.every,
        batch_size=evaluation.batch_size,
        length=held_out_length(evaluation, prepared.args),
    )


def _again() -> str:
    return " ".join(["rlent", *(word for word in sys.argv[1:] if word != "--resume")])
