"""What the command line prints about a run."""

import json
from collections.abc import Sequence
from pathlib import Path

from rlent.config import Recipe
from rlent.data import LoadedData
from rlent.evaluation import ProblemSet, set_name
from rlent.interventions import NEEDS
from rlent.launch.loss_run import PreparedLoss, plan_lines
from rlent.launch.prepare import Prepared
from rlent.launch.run_folder import METRICS_FILE, MODEL_FOLDER, ROLLOUTS_FOLDER
from rlent.report.curves import draw_curves
from rlent.report.forking import rank_forking_tokens
from rlent.report.trace import read_trace
from rlent.report.when import whole
from rlent.trainer.callbacks.held_out import Answers
from rlent.trainer.losses import surrogate_of

CURVES_FILE = "curves.png"


def say(text: str) -> None:
    """Print at once, also into a pipe."""
    print(text, flush=True)


def show_plan(
    prepared: Prepared | PreparedLoss, folder: Path, checkpoint: Path | None = None
) -> None:
    """What will happen, and what each intervention, or the loss, needs."""
    if prepared.args.process_index != 0:
        return
    recipe = prepared.recipe
    say(f"run        {folder}" + (f", resumed from {checkpoint.name}" if checkpoint else ""))
    say(f"model      {recipe.model.name} ({prepared.model})")
    device, processes = prepared.args.device, prepared.args.world_size
    say(f"device     {device}, {_precision(prepared)}, processes: {processes}")
    for line in _shares(prepared):
        say(line)
    if isinstance(prepared, PreparedLoss):
        for line in plan_lines(prepared):
            say(line)
        say(f"tracking   {_tracking(prepared)}")
        return
    args = prepared.args
    say(f"data       {recipe.data.title}: {len(prepared.train)} problems{_left_out(prepared)}")
    for line in source_lines(prepared.rows.train):
        say(f"           {line}")
    if prepared.held_out is not None and recipe.evaluation is not None:
        every = _every(recipe.evaluation.every)
        left_out = prepared.rows.held_out.problems.left_out() if prepared.rows.held_out else []
        dropped = f" ({_dropped(left_out)})" if left_out else ""
        say(
            f"held out   {len(prepared.held_out)} problems{dropped}, none of them in training, {every}"
        )
    for problems in prepared.sets:
        say(f"set        {set_line(problems)}, {_when(recipe, problems)}")
    groups = args.generation_batch_size // args.num_generations
    say(
        f"rollouts   {recipe.rollout.engine}: {groups} prompts x {args.num_generations} completions of at most "
        f"{args.max_completion_length} tokens, temperature {args.temperature}"
    )
    say(
        f"updates    {args.updates_per_generation:g} per generation batch, loss {args.loss_type}, "
        f"learning rate {args.learning_rate:g}"
    )
    say(f"surrogate  {surrogate_of(args)}")
    say(
        "rewards    "
        + (", ".join(f"{reward.name} x {reward.weight:g}" for reward in recipe.rewards) or "none")
    )
    _show_interventions(prepared)
    say(f"tracking   {_tracking(prepared)}")


def _shares(prepared: Prepared | PreparedLoss) -> list[str]:
    """What is trained in the weights' place, and what is shared out over the processes."""
    adapter, engine = prepared.recipe.model.adapter, prepared.recipe.engine
    lines = [f"adapter    {name} {dict(options)}" for name, options in (adapter or {}).items()]
    if engine.deepspeed is not None:
        lines.append(f"sharding   DeepSpeed as {engine.deepspeed} says")
    elif engine.zero is not None:
        offload = (
            "" if engine.offload == "none" else f", offloaded to main memory: {engine.offload}"
        )
        lines.append(f"sharding   DeepSpeed, ZeRO stage {engine.zero}{offload}")
    return lines


def show_deepspeed(prepared: Prepared | PreparedLoss) -> None:
    """The configuration that DeepSpeed gets, if it is used."""
    if prepared.args.deepspeed is not None:
        say(f"deepspeed\n{json.dumps(prepared.args.deepspeed, indent=2)}")


def set_line(problems: ProblemSet) -> str:
    """How a set is evaluated."""
    at = f"{problems.temperature:g}" if problems.difficulty is None else "and limit by difficulty"
    drawn = (
        f" and {problems.samples} drawn (temperature {at}, top_p {problems.top_p:g}, "
        f"seed {problems.seed})"
        if problems.samples
        else ""
    )
    return (
        f"{problems.name}: {len(problems.rows)} problems, a greedy completion{drawn}, at most {problems.length} "
        f"tokens, scored by {getattr(problems.reward, '__name__', 'a function')}"
    )


def _when(recipe: Recipe, problems: ProblemSet) -> str:
    evaluation = recipe.evaluation
    assert evaluation is not None
    return _every(evaluation.every_of(evaluation.sets[set_name(problems.name)]))


def _every(steps: int) -> str:
    return f"every {steps} steps" if steps else "before and after"


def _show_interventions(prepared: Prepared) -> None:
    if not prepared.chain.links:
        say("intervene  nothing: this is plain GRPO")
    for link in prepared.chain.links:
        needs = sorted(link.config.needs)
        say(f"intervene  {link.config}")
        for need in needs:
            say(f"           needs {need}: {NEEDS[need]}")
        unscored = "old_entropy" in needs and prepared.args.updates_per_generation <= 1
        if unscored or "old_statistics" in needs:
            say("           costs one scoring pass per generation batch")


def _precision(prepared: Prepared | PreparedLoss) -> str:
    weights = prepared.recipe.model.dtype
    compute = "bfloat16" if prepared.args.bf16 else "float16" if prepared.args.fp16 else "float32"
    return f"{weights} weights, {compute} arithmetic"


def source_lines(data: LoadedData) -> list[str]:
    """What each source of a mixture gave; nothing for a single source."""
    if len(data.sources) == 1:
        return []
    total = sum(source.taken for source in data.sources)
    return [
        f"{source.name}: {source.taken} ({source.taken / total:.1%})"
        + (f", {source.unused} more are not used, by its weight" if source.unused else "")
        for source in data.sources
    ]


def _left_out(prepared: Prepared) -> str:
    parts = []
    if prepared.removed:
        parts.append(f"{prepared.removed} left out, because their prompt is held out")
    if prepared.in_sets:
        parts.append(f"{prepared.in_sets} left out, because they are in evaluation.sets")
    if dropped := prepared.rows.train.problems.left_out():
        parts.append(_dropped(dropped))
    if prepared.too_long:
        parts.append(f"{prepared.too_long} dropped as too long")
    return f" ({', '.join(parts)})" if parts else ""


def _dropped(left_out: list[str]) -> str:
    return f"dropped: {', '.join(left_out)}"


def _tracking(prepared: Prepared | PreparedLoss) -> str:
    tracking = prepared.recipe.tracking
    parts = [METRICS_FILE]
    if tracking.rollouts and prepared.recipe.loss is None:
        parts.append(f"{ROLLOUTS_FOLDER}/*.parquet")
    if tracking.wandb is not None:
        parts.append(f"Weights & Biases project {tracking.wandb.project}")
    return ", ".join(parts)


def show_completions(history: Sequence[Answers], count: int) -> None:
    """The same held-out problems answered before and after."""
    if count == 0 or len(history) < 2:
        return
    before, after = history[0], history[-1]
    say("")
    for i in range(min(count, len(before.prompts))):
        say(f"problem  {_one_line(before.prompts[i])}")
        for answers in (before, after):
            score = "no score" if (given := answers.scores[i]) is None else f"{given:g}"
            say(f"  step {answers.step:<4} {_one_line(answers.completions[i])}  [{score}]")
    scores = ", ".join(f"step {answers.step}: {answers.score:.3f}" for answers in history)
    say(f"\nheld-out score  {scores}")


def show_result(folder: Path) -> None:
    """Forking tokens and curves of a finished run, from its files."""
    trace = read_trace(folder / ROLLOUTS_FOLDER)
    if trace is not None:
        say("\nforking tokens  (mean entropy in nats, times seen, share kept)")
        for token in rank_forking_tokens(trace, whole(trace)):
            say(f"  {token.text!r:<16} {token.entropy:6.3f} {token.count:6d} {token.kept:6.0%}")
    draw_curves(folder / METRICS_FILE, folder / CURVES_FILE)
    say(f"\nmodel   {folder / MODEL_FOLDER}\ncurves  {folder / CURVES_FILE}")


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 160 else line[:157] + "..."
