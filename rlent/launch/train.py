"""``rlent train``: a recipe becomes a run."""

import json
import signal
import sys
import warnings
from contextlib import closing
from pathlib import Path
from typing import Any

import transformers

from rlent.checkpoints import make_universal
from rlent.config import Recipe
from rlent.evaluation import set_name
from rlent.launch.loss_run import METRICS_IN_A_LINE, PreparedLoss, make_trainer, prepare_loss
from rlent.launch.prepare import Prepared, held_out_length, prepare
from rlent.launch.resume import (
    Start,
    make_room,
    read_universal,
    was_restarted,
    was_split_otherwise,
    where_to_start,
)
from rlent.launch.run_folder import (
    ENVIRONMENT_FILE,
    EVALUATION_FOLDER,
    METRICS_FILE,
    MODEL_FOLDER,
    ROLLOUTS_FOLDER,
    write_run_folder,
)
from rlent.launch.show import say, show_completions, show_plan, show_result
from rlent.sharding import any_rank, from_the_first, join_processes, on_all_ranks
from rlent.tracking import MetricsFile, RolloutLog
from rlent.tracking.wandb_run import start_wandb
from rlent.trainer import EntropyGRPOTrainer
from rlent.trainer.adapters import adapter_config
from rlent.trainer.callbacks import (
    EvaluationCallback,
    HealthCallback,
    HeldOutCallback,
    InterruptCallback,
    MetricsCallback,
    ProgressCallback,
    WandbTracker,
    shield_trackers,
)
from rlent.trainer.losses import surrogate_of

STATUS = {None: 0, signal.SIGINT: 130, signal.SIGTERM: 0}
"""Exit status by the signal that ended the run: what a shell expects after Ctrl-C, success after SIGTERM."""


def train(recipe: Recipe, *, resume: bool) -> int:
    """Run a recipe, or continue its latest run; returns the exit status.

    Raises:
        ConfigError: the recipe cannot run; nothing has been written then.
        CheckpointError: a checkpoint could not be written, or does not fit this run.
        NonFiniteError: a loss or gradient was NaN or infinite.
    """
    # TRL calls names that transformers has renamed, and DeepSpeed those that torch has; nobody who runs a recipe can do
    # anything about it.
    warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
    warnings.filterwarnings("ignore", "`torch.distributed.*deprecated", FutureWarning)
    transformers.utils.logging.disable_progress_bar()
    state = join_processes(recipe.engine)
    restarted = any_rank(was_restarted())
    with recipe.source.locating():
        start = from_the_first(lambda: where_to_start(recipe, resume=resume, restarted=restarted))
    # Every rank must have read what there is before the first one changes it.
    preparing = prepare if recipe.loss is None else prepare_loss
    prepared = on_all_ranks(lambda: preparing(recipe, start.folder))
    if was_split_otherwise(start, prepared.args):
        read_universal(prepared.args)
    if state.is_main_process:
        _begin(prepared, start)
    # And none may write into the folder before it is made.
    state.wait_for_everyone()

    held_out = log = None
    interrupt, metrics = (
        InterruptCallback(),
        MetricsCallback(MetricsFile(start.folder / METRICS_FILE)),
    )
    if isinstance(prepared, PreparedLoss):
        progress = ProgressCallback(recipe.name, shown=METRICS_IN_A_LINE)
        trainer = make_trainer(prepared, [interrupt, metrics, progress])
    else:
        held_out = _held_out(prepared)
        measuring = [held_out, _evaluation(prepared, start.folder)]
        log = _rollout_log(prepared, start.folder)
        progress = ProgressCallback(recipe.name, log)
        callbacks = [interrupt, *filter(None, measuring), HealthCallback(), metrics, progress]
        trainer = _trainer(prepared, callbacks, log)
        for callback in filter(None, measuring):
            callback.trainer = trainer
    _report_to(trainer, recipe, log)
    with closing(progress):
        trainer.train(
            resume_from_checkpoint=None if start.checkpoint is None else str(start.checkpoint)
        )
    if log is not None:
        log.flush()
    if interrupt.stopped_by is None:
        trainer.save_model(str(start.folder / MODEL_FOLDER))
    if state.is_main_process:
        _conclude(prepared, start.folder, trainer, held_out, interrupt)
    return STATUS[interrupt.stopped_by]


def _begin(prepared: Prepared | PreparedLoss, start: Start) -> None:
    """Make the folder, or clear it for what will be done again; say what will happen."""
    recipe = prepared.recipe
    if start.checkpoint is None:
        write_run_folder(start.folder, recipe)
    else:
        make_room(start)
        if was_split_otherwise(start, prepared.args):
            assert start.checkpoint is not None
            make_universal(start.checkpoint)
    show_plan(prepared, start.folder, start.checkpoint)
    if recipe.tracking.wandb is not None:
        environment = json.loads((start.folder / ENVIRONMENT_FILE).read_text(encoding="utf-8"))
        mode = start_wandb(recipe, start.folder, environment)
        upload = (
            f": upload later with wandb sync {start.folder}/wandb/*" if mode == "offline" else ""
        )
        say(f"wandb      {mode}{upload}")


def _conclude(
    prepared: Prepared | PreparedLoss,
    folder: Path,
    trainer: Any,
    held_out: HeldOutCallback | None,
    interrupt: InterruptCallback,
) -> None:
    if interrupt.stopped_by is not None:
        say(f"\nStopped after step {trainer.state.global_step}. Continue with: {_again()} --resume")
        return
    if held_out is not None and prepared.recipe.evaluation is not None:
        show_completions(held_out.history, prepared.recipe.evaluation.show)
    show_result(folder)


def _rollout_log(prepared: Prepared, folder: Path) -> RolloutLog | None:
    recipe, args = prepared.recipe, prepared.args
    if not recipe.tracking.rollouts:
        return None
    return RolloutLog(
        folder / ROLLOUTS_FOLDER,
        prepared.tokenizer,
        [reward.name for reward in recipe.rewards],
        args.process_index,
        surrogate=surrogate_of(args),
    )


def _trainer(
    prepared: Prepared, callbacks: list[Any], log: RolloutLog | None
) -> EntropyGRPOTrainer:
    recipe = prepared.recipe
    return EntropyGRPOTrainer(
        prepared.model,
        [reward.function for reward in recipe.rewards],
        prepared.args,
        train_dataset=prepared.train,
        processing_class=prepared.tokenizer,
        interventions=recipe.interventions,
        rollout_log=log,
        peft_config=adapter_config(recipe.model.adapter),
        callbacks=callbacks,
    )


def _report_to(trainer: Any, recipe: Recipe, log: RolloutLog | None) -> None:
    """Put rlent's progress and trackers in the place of transformers' own."""
    from transformers.integrations.integration_utils import WandbCallback
    from transformers.trainer_callback import PrinterCallback
    from transformers.trainer_callback import ProgressCallback as HuggingFaceProgress

    for replaced in (HuggingFaceProgress, PrinterCallback):
        trainer.remove_callback(replaced)
    if recipe.tracking.wandb is not None:
        trainer.remove_callback(WandbCallback)
        trainer.add_callback(WandbTracker(log))
    shield_trackers(trainer)


def _held_out(prepared: Prepared) -> HeldOutCallback | None:
    evaluation = prepared.recipe.evaluation
    if evaluation is None or prepared.held_out is None:
        return None
    return HeldOutCallback(
        prepared.held_out,
        prepared.recipe.scoring(evaluation.reward),
        every=evaluation.every,
        batch_size=evaluation.batch_size,
        length=held_out_length(evaluation, prepared.args),
    )


def _evaluation(prepared: Prepared, folder: Path) -> EvaluationCallback | None:
    evaluation = prepared.recipe.evaluation
    if evaluation is None or not prepared.sets:
        return None
    every = {
        each.name: evaluation.every_of(evaluation.sets[set_name(each.name)])
        for each in prepared.sets
    }
    return EvaluationCallback(prepared.sets, every=every, folder=folder / EVALUATION_FOLDER)


def _again() -> str:
    return " ".join(["rlent", *(word for word in sys.argv[1:] if word != "--resume")])
