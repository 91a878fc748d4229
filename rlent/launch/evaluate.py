"""``rlent eval``: how well a checkpoint answers the sets of a recipe."""

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from rlent.config import Engine, Evaluation, Recipe, load_recipe
from rlent.config.evaluation import HELD_OUT
from rlent.data import context_length, load_tokenizer, prompt_ids
from rlent.errors import ConfigError
from rlent.evaluation import (
    Answerer,
    Chunk,
    ProblemSet,
    SetStore,
    result_table,
    set_result,
    store_share,
    write_curves,
    write_problems,
    write_summary,
)
from rlent.launch.difficulty_probe import check_template, find_probe
from rlent.launch.large_model import find_large_model
from rlent.launch.policy import arithmetic, end_tokens, load_policy
from rlent.launch.problem_sets import Reader, load_held_out, make_sets, read_sets
from rlent.launch.run_folder import RECIPE_FILE
from rlent.launch.show import say, set_line
from rlent.launch.weights import Weights, find_weights
from rlent.sharding import join_processes
from rlent.trainer.options import option, resolve_precision

INTERRUPTED = 130
"""Exit status after Ctrl-C, as a shell expects it."""
_WAIT_S = 0.2


@dataclass(frozen=True, kw_only=True, slots=True)
class _Plan:
    """An evaluation whose every name has been found."""

    recipe: Recipe
    weights: Weights
    reader: Reader
    sets: list[ProblemSet]
    folder: Path
    state: Any
    """accelerate's, of this process."""
    large: Weights | None
    """Those of the decoding rule's large model."""

    @property
    def precision(self) -> str:
        return resolve_precision(self.recipe.engine.precision)

    def store(self, problems: ProblemSet) -> SetStore:
        return SetStore(folder=self.folder / problems.name, settings=_settings(self, problems))


def evaluate(
    recipe: Recipe, *, checkpoint: str | None, output: str | None, names: Sequence[str]
) -> int:
    """Evaluate a checkpoint; returns the exit status.

    Args:
        checkpoint: as ``find_weights`` takes it.
        output: folder of the results; by default one below ``output_dir`` that names recipe and checkpoint.
        names: the sets to evaluate; all if there are none.

    Raises:
        ConfigError: the evaluation cannot run; nothing has been written then.
    """
    with recipe.source.locating():
        plan = _plan(recipe, checkpoint, output, names)
        stores = [(problems, plan.store(problems)) for problems in plan.sets]
        for _, store in stores:
            store.check()
    # No rank may find settings that another one has written just now.
    plan.state.wait_for_everyone()
    if plan.state.is_main_process:
        _show(plan)
        for _, store in stores:
            store.begin()
    try:
        _answer(plan, stores)
    except KeyboardInterrupt:
        say("\nStopped. The same command goes on where it was.")
        return INTERRUPTED
    if plan.state.is_main_process:
        _finish(plan, stores)
    return 0


def _plan(
    recipe: Recipe, checkpoint: str | None, output: str | None, names: Sequence[str]
) -> _Plan:
    import datasets

    datasets.disable_progress_bars()
    evaluation = _evaluation(recipe)
    wanted = _wanted(evaluation, names)
    length = option(recipe, "max_completion_length")
    weights = find_weights(recipe, checkpoint)
    probe = find_probe(recipe, checkpoint, weights)
    # Nothing is sharded: every process has the whole model.
    state = join_processes(Engine(timeout=recipe.engine.timeout))
    reader = Reader(
        tokenizer=load_tokenizer(weights.path, weights.revision, recipe.data.chat_template),
        context=context_length(weights.base, weights.revision),
        length=length,
        template_options=option(recipe, "chat_template_kwargs"),
    )
    held_out = []
    if HELD_OUT in wanted:
        if weights.run is not None:
            _check_held_out(recipe, weights.run)
        held_out = load_held_out(recipe, reader)
    sets = [*held_out, *make_sets(recipe, read_sets(recipe, reader, wanted), reader)]
    if probe is not None:
        check_template(recipe, sets)
        sets = [replace(each, difficulty=probe) for each in sets]
    folder = Path(recipe.output_dir) / "evaluations" / recipe.name / weights.label
    return _Plan(
        recipe=recipe,
        weights=weights,
        reader=reader,
        sets=sets,
        folder=folder if output is None else Path(output),
        state=state,
        large=find_large_model(evaluation.decoding, reader.tokenizer),
    )


def _evaluation(recipe: Recipe) -> Evaluation:
    if recipe.evaluation is None:
        raise ConfigError(
            "the recipe does not say what to evaluate",
            key="evaluation",
            remedy="add `evaluation: {problems: 128}` for held-out problems, or evaluation.sets",
        )
    return recipe.evaluation


def _wanted(evaluation: Evaluation, names: Sequence[str]) -> tuple[str, ...]:
    there = (*([HELD_OUT] if evaluation.problems else []), *evaluation.sets)
    for name in names:
        if name not in there:
            raise ConfigError(
                "the recipe has no such set",
                key="--set",
                expected=", ".join(there),
                given=name,
                choices=there,
                where="command line",
            )
    return tuple(names) or there


def _check_held_out(recipe: Recipe, run: Path) -> None:
    """Raise ConfigError unless the run held out the problems that the recipe holds out."""
    here, there = _held_out_from(recipe), _held_out_from(load_recipe(run / RECIPE_FILE))
    if differ := [name for name, value in here.items() if there[name] != value]:
        raise ConfigError(
            f"{run} held other problems out: it may have been trained on some of these",
            key=differ[0],
            expected=f"that of {run / RECIPE_FILE}",
            remedy=f"evaluate {run / RECIPE_FILE}, or name other sets with --set",
        )


def _held_out_from(recipe: Recipe) -> dict[str, Any]:
    """What the choice of held-out problems follows from, by its key: the rows, not how they are put into words."""
    worded = {"prompt": None, "system": None, "style": "chat", "chat_template": None}
    evaluation = recipe.evaluation
    data = None if evaluation is None else evaluation.data
    return {
        **{
            f"data.{each.name}": getattr(recipe.data, each.name)
            for each in fields(recipe.data)
            if each.name not in worded
        },
        "evaluation.data": None if data is None else replace(data, **worded),
        "evaluation.problems": 0 if evaluation is None else evaluation.problems,
    }


def _settings(plan: _Plan, problems: ProblemSet) -> dict[str, Any]:
    """Everything that completions and scores of a set follow from, but for the versions of the software."""
    model = plan.recipe.model
    tokens = [
        prompt_ids(row["prompt"], plan.reader.tokenizer, plan.reader.template_options)
        for row in problems.rows
    ]
    settings = {
        "weights": plan.weights.identity,
        "dtype": model.dtype,
        "options": model.options,
        "precision": plan.precision,
        "device": plan.state.device.type,
        "problems": _digest([tokens, [dict(row) for row in problems.rows]]),
        "reward": repr(problems.reward),
        "length": problems.length,
        "samples": problems.samples,
        "temperature": problems.temperature,
        "top_p": problems.top_p,
        "seed": problems.seed,
        "batch_size": problems.batch_size,
        "budget": None if problems.budget is None else asdict(problems.budget),
        "decoding": None if problems.decoding is None else repr(problems.decoding),
        "difficulty": None if problems.difficulty is None else problems.difficulty.identity,
        "large_weights": None if plan.large is None else plan.large.identity,
    }
    return json.loads(json.dumps(settings, default=str))


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def _show(plan: _Plan) -> None:
    weights = plan.recipe.model.dtype
    say(f"model      {plan.weights.path}")
    say(
        f"device     {plan.state.device}, {weights} weights, {plan.precision} arithmetic, "
        f"processes: {plan.state.num_processes}"
    )
    for problems in plan.sets:
        say(f"set        {set_line(problems)}")
    say(f"output     {plan.folder}\n")


def _answer(plan: _Plan, stores: Sequence[tuple[ProblemSet, SetStore]]) -> None:
    """The share of this process; the model is loaded only if something is left to do."""
    rank, ranks = plan.state.process_index, plan.state.num_processes
    left = [
        (problems, store)
        for problems, store in stores
        if not all(store.has(chunk) for chunk in problems.chunks[rank::ranks])
    ]
    if not left:
        return
    answerer = _answerer(plan)
    with arithmetic(plan.precision, plan.state.device):
        for problems, store in left:

            def done(chunk: Chunk, name: str = problems.name, of: int = len(problems.rows)) -> None:
                if plan.state.is_main_process:
                    say(f"{name}: {chunk.kind} {chunk.stop}/{of}")

            store_share(answerer, problems, store, rank=rank, ranks=ranks, done=done)


def _answerer(plan: _Plan) -> Answerer:
    model, large = (
        None if weights is None else load_policy(weights, plan.recipe.model, plan.state.device)
        for weights in (plan.weights, plan.large)
    )
    return Answerer(
        model=model,
        large_model=large,
        tokenizer=plan.reader.tokenizer,
        ends=end_tokens(model, plan.reader.tokenizer),
        template_options=plan.reader.template_options,
    )


def _finish(plan: _Plan, stores: Sequence[tuple[ProblemSet, SetStore]]) -> None:
    """Results, as soon as the chunks of all processes are there: a barrier would give up on a slow one."""
    results = []
    for problems, store in stores:
        while not all(map(store.has, problems.chunks)):
            time.sleep(_WAIT_S)
        results.append(set_result(problems, store.answers(problems)))
        write_problems(store.folder, results[-1])
    write_summary(plan.folder, results)
    say("\n".join(["", result_table(results), *write_curves(plan.folder, results)]))
    say(f"\nresults  {plan.folder}")
