"""A recipe with a ``loss``: checked before anything is written, shown, and made into a trainer."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlent.config import Recipe
from rlent.data import context_length, load_tokenizer, resolve_model, within_bounds
from rlent.launch.answer_rows import AnswerRows, answer_rows, read_answers
from rlent.launch.pictures import refuse_pictures
from rlent.losses import CompletionLoss, Loss, PreferenceLoss, ScoredLoss
from rlent.trainer.adapters import adapter_config
from rlent.trainer.dpo_trainer import TokenDPOTrainer
from rlent.trainer.loss_config import TokenLossConfig
from rlent.trainer.loss_options import build_loss_args
from rlent.trainer.sft_trainer import TokenSFTTrainer
from rlent.trainer.teachers import teacher_path

METRICS_IN_A_LINE = {
    "loss": "loss",
    "rewards/margins": "margin",
    "rewards/accuracies": "accuracy",
    "entropy": "entropy",
}
"""Metric -> the word it is shown under in a plain line of progress."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedLoss:
    """A recipe whose every name has been found and whose every value fits the others."""

    recipe: Recipe
    loss: Loss
    args: TokenLossConfig
    model: str
    """Folder or hub name."""
    tokenizer: Any
    answers: AnswerRows


def prepare_loss(recipe: Recipe, folder: Path) -> PreparedLoss:
    """Load and check what a run in ``folder`` would use; writes nothing.

    Raises:
        ConfigError: the first thing that the user must change.
    """
    import datasets

    datasets.disable_progress_bars()
    loss = recipe.loss
    assert loss is not None
    with recipe.source.locating():
        args = build_loss_args(recipe, loss, folder)
        adapter_config(recipe.model.adapter)
        refuse_pictures(
            recipe.data, "a loss over given answers", "remove it, or train with rewards"
        )
        data = read_answers(recipe.data, loss.reads)
        model = resolve_model(recipe.model.name, revision=recipe.model.revision)
        tokenizer = load_tokenizer(model, recipe.model.revision, recipe.data.chat_template)
        context = context_length(model, recipe.model.revision)
        for role, name in further_models(loss).items():
            teacher_path(name, f"loss.{loss.name}.{role}")
        answers = answer_rows(
            within_bounds(data, tokenizer, recipe.data),
            loss.reads,
            tokenizer,
            limit=min(args.max_length or context, context),
            too_long=recipe.data.too_long,
        )
    return PreparedLoss(
        recipe=recipe, loss=loss, args=args, model=model, tokenizer=tokenizer, answers=answers
    )


def further_models(loss: Loss) -> dict[str, str]:
    """Role -> folder or name of every model that the loss asks beside the policy and its reference."""
    return {**loss.teachers, **(loss.scorers if isinstance(loss, ScoredLoss) else {})}


def make_trainer(prepared: PreparedLoss, callbacks: list[Any]) -> Any:
    """TRL's trainer for what the loss reads."""
    kind = TokenSFTTrainer if isinstance(prepared.loss, CompletionLoss) else TokenDPOTrainer
    arguments: dict[str, Any] = {
        "loss": prepared.loss,
        "args": prepared.args,
        "train_dataset": prepared.answers.rows,
        "processing_class": prepared.tokenizer,
        "peft_config": adapter_config(prepared.recipe.model.adapter),
        "callbacks": callbacks,
    }
    with prepared.recipe.source.locating():
        return kind(prepared.model, **arguments)


def plan_lines(prepared: PreparedLoss) -> list[str]:
    """What will be learnt from what, and with which further models."""
    loss, args, answers = prepared.loss, prepared.args, prepared.answers
    names = [name for name in answers.rows.column_names if name != "prompt"]
    dropped = f" ({answers.dropped} dropped as too long)" if answers.dropped else ""
    lines = [
        f"data       {prepared.recipe.data.title}: {len(answers.rows)} rows of {' and '.join(names)}{dropped}, at most "
        f"{answers.longest} tokens",
        f"loss       {loss}",
    ]
    if isinstance(loss, PreferenceLoss):
        lines.append("           compares with the model as it is before training")
    when = "once, before training" if isinstance(loss, ScoredLoss) else "at every step"
    lines += [
        f"           asks {name}, the {role} model, {when}"
        for role, name in further_models(loss).items()
    ]
    rows = args.per_device_train_batch_size * args.gradient_accumulation_steps * args.world_size
    lines.append(
        f"updates    {rows} rows each, learning rate {args.learning_rate:g}, "
        + (f"{args.max_steps} steps" if args.max_steps > 0 else f"{args.num_train_epochs:g} epochs")
    )
    return lines
