"""``rlent inspect``: sample from a model, and show what interventions would do to the samples."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from statistics import fmean
from types import SimpleNamespace
from typing import Any

import torch

from rlent.config import Recipe, Source
from rlent.config.overrides import apply_overrides
from rlent.config.parse import parse_recipe
from rlent.data import check_prompt_lengths, context_length, load_tokenizer, prompt_ids, prompt_text
from rlent.effects import (
    Setting,
    Tally,
    apply_chain,
    batch_of,
    changed_rows,
    check_without_training,
    effect_metrics,
    tally_table,
)
from rlent.errors import ConfigError
from rlent.interventions import Intervention, chain
from rlent.launch.effects import EffectFolder, folder_for, listed, setting_of
from rlent.launch.pictures import refuse_pictures
from rlent.launch.policy import arithmetic, end_tokens, load_policy
from rlent.launch.prepare import check_rewards
from rlent.launch.report import PAGE_FILE, run_files
from rlent.launch.rows import bounded, read_rows
from rlent.launch.scoring import score_tokens
from rlent.launch.show import say
from rlent.launch.weights import Weights, find_weights
from rlent.numerics import fill
from rlent.report.page import write_page
from rlent.rollout import Completion, DecodingRule, RolloutEngine
from rlent.rollout.branching_factor import branching_factor
from rlent.rollout.forking.grow import Grower
from rlent.tracking.rollouts import PART
from rlent.trainer.native_rollout import sampling_of
from rlent.trainer.options import option, resolve_precision
from rlent_kernels import TokenStats

FOLDER = Path("inspections")
PLAIN, TOGETHER = "plain-GRPO", "together"
_ROWS = 8
"""Completions that are scored at once."""
_READ = (
    "generation_kwargs",
    "cache_implementation",
    "max_completion_length",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repetition_penalty",
)

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Plan:
    """An inspection whose every name has been found."""

    recipe: Recipe
    weights: Weights
    tokenizer: Any
    problems: list[dict[str, Any]]
    chosen: dict[str, tuple[Intervention, ...]]
    """The interventions of each page, by its name."""
    setting: Setting


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What the command line asks for."""

    model: str
    """As ``rlent eval --checkpoint`` takes it."""
    prompts: str
    """Anything that ``data.name`` of a recipe can be."""
    interventions: Sequence[str]
    rewards: Sequence[str]
    """Entries as in a recipe, as YAML."""
    size: int
    """Most prompts."""
    overrides: Sequence[str]
    """Of a recipe that holds the above."""
    output: Path | None

    def recipe(self) -> Recipe:
        """A recipe that says the same."""
        written = {
            "model": {"name": self.model},
            "data": {"name": self.prompts},
            "rewards": [],
        }
        places = dict.fromkeys(("", *written), "command line")
        lists = [f"rewards=[{', '.join(self.rewards)}]", listed(self.interventions)]
        source = apply_overrides(Source(mapping=written, places=places), [*lists, *self.overrides])
        return parse_recipe(source, name="inspection")


def inspect_model(request: Request) -> int:
    """Sample, score, and write what every intervention would do; returns the exit status.

    Raises:
        ConfigError: something cannot be found or shown; nothing is written then.
    """
    if request.size < 1:
        raise ConfigError("a prompt is needed", key="--size", expected="1 or more")
    plan = _plan(request)
    folder = folder_for(request.output, FOLDER / plan.weights.label)
    rows, changes = _sampled(plan)
    tallies, folders = _shown(plan, rows, changes, folder)
    page = folder / PAGE_FILE
    write_page(run_files(folders), page)
    say(f"\n{tally_table(tallies)}\n\nreport  {page}")
    return 0


def _plan(request: Request) -> _Plan:
    import datasets

    datasets.disable_progress_bars()
    recipe = request.recipe()
    with recipe.source.locating():
        refuse_pictures(recipe.data, "rlent inspect", "remove it")
        check_without_training(chain(recipe.interventions))
        setting = setting_of(recipe)
        weights = find_weights(recipe, request.model if Path(request.model).is_dir() else None)
        tokenizer = load_tokenizer(weights.path, weights.revision, recipe.data.chat_template)
        return _Plan(
            recipe=recipe,
            weights=weights,
            tokenizer=tokenizer,
            problems=_problems(recipe, weights, tokenizer, request.size),
            chosen=_chosen(recipe.interventions),
            setting=setting,
        )


def _chosen(interventions: tuple[Intervention, ...]) -> dict[str, tuple[Intervention, ...]]:
    """Nothing, each one alone, and where there are several all of them."""
    alone: dict[str, tuple[Intervention, ...]] = {each.name: (each,) for each in interventions}
    together = {TOGETHER: interventions} if len(interventions) > 1 else {}
    return {PLAIN: (), **alone, **together}


def _problems(recipe: Recipe, weights: Weights, tokenizer: Any, size: int) -> list[dict[str, Any]]:
    options: Any = option(recipe, "chat_template_kwargs")
    rows = bounded(read_rows(recipe), recipe, tokenizer, options).train.rows
    rows = check_prompt_lengths(
        rows.select(range(min(size, len(rows)))),
        tokenizer,
        context_length(weights.base, weights.revision),
        option(recipe, "max_completion_length"),
        too_long=recipe.data.too_long,
        template_options=options,
    ).rows.to_list()
    check_rewards(recipe, rows[0])
    return rows


def _sampled(plan: _Plan) -> tuple[list[Row], torch.Tensor]:
    """The completions as rows of a log, and ``entropy_change`` [n t] of their tokens."""
    recipe = plan.recipe
    device = torch.accelerator.current_accelerator() or torch.device("cpu")
    model = load_policy(plan.weights, recipe.model, device).eval()
    args: Any = SimpleNamespace(**{name: option(recipe, name) for name in _READ})
    options: Any = option(recipe, "chat_template_kwargs")
    engine = RolloutEngine(
        model=model,
        sampling=sampling_of(args, end_tokens(model, plan.tokenizer)),
        tokenizer=plan.tokenizer,
        max_live=recipe.rollout.max_live,
        decoding=_decoding(recipe),
    )
    prompts = [prompt_ids(each["prompt"], plan.tokenizer, options) for each in plan.problems]
    generations = option(recipe, "num_generations")
    say(f"model      {plan.weights.path}, on {device}")
    say(f"samples    {len(prompts)} prompts x {generations} completions")
    scored: list[TokenStats] = []
    with arithmetic(resolve_precision(recipe.engine.precision), device):
        completions = _completions(engine, recipe, prompts, generations)
        pairs = [(prompts[each.prompt], each.token_ids.tolist()) for each in completions]
        for start in range(0, len(pairs), _ROWS):
            scored += score_tokens(model, pairs[start : start + _ROWS], args.temperature)
    rows = [_row(plan, *each) for each in zip(completions, scored, strict=True)]
    _add_rewards(plan, rows)
    changes = [stats.entropy_change for stats in scored if stats.entropy_change is not None]
    return rows, torch.nn.utils.rnn.pad_sequence(changes, batch_first=True)


def _decoding(recipe: Recipe) -> DecodingRule | None:
    """Raise ConfigError for a rule that only a second generation batch would show."""
    if recipe.rollout.decoding is None:
        return None
    rule = recipe.rollout.decoding.rule
    if not rule.evaluates:
        raise ConfigError(
            "the rule follows the generation batches of a training run, and there is one batch here",
            key=f"rollout.decoding.{rule.name}",
            remedy="remove it",
        )
    return rule


def _completions(
    engine: RolloutEngine, recipe: Recipe, prompts: list[list[int]], generations: int
) -> Sequence[Completion]:
    """Those of all prompts, by prompt; says how many ways the model has to go on."""
    seed = option(recipe, "seed")
    if recipe.rollout.branching is None:
        completions = engine.generate(prompts, generations, seed=seed).completions
    else:
        grower = Grower(engine=engine, rule=recipe.rollout.branching.rule)
        completions = grower.generate(prompts, generations, seed=seed).completions
    groups = [list(group) for _, group in groupby(completions, key=lambda one: one.prompt)]
    factors = [
        branching_factor([one.log_probs for one in group], [one.entropies for one in group])
        for group in groups
    ]
    say(f"branching  factor {fmean(factors):.3f}, mean over prompts")
    return completions


def _row(plan: _Plan, completion: Completion, stats: TokenStats) -> Row:
    ids, size = completion.token_ids.tolist(), len(completion.token_ids)
    return {
        "step": 0,
        "group": completion.prompt,
        "prompt": prompt_text(plan.problems[completion.prompt]["prompt"]),
        "completion": plan.tokenizer.decode(ids, skip_special_tokens=True),
        "truncated": completion.finish == "length",
        "token": [plan.tokenizer.decode([token]) for token in ids],
        "token_id": ids,
        "logp": stats.log_probs.tolist(),
        "entropy": stats.entropy.tolist(),
        "selected": [True] * size,
        "advantage": [0.0] * size,
        "weight": [1.0] * size,
    }


def _add_rewards(plan: _Plan, rows: list[Row]) -> None:
    asked = [plan.problems[row["group"]] for row in rows]
    columns = {name: [row[name] for row in asked] for name in asked[0] if name != "prompt"}
    for reward in plan.recipe.rewards:
        scores = reward.function(
            prompts=[row["prompt"] for row in asked],
            completions=[row["completion"] for row in rows],
            completion_ids=[row["token_id"] for row in rows],
            **columns,
        )
        for row, score in zip(rows, scores, strict=True):
            row[f"{PART}{reward.name}"] = None if score is None else float(score)


def _shown(
    plan: _Plan, rows: list[Row], changes: torch.Tensor, folder: Path
) -> tuple[dict[str, Tally], list[Path]]:
    """Write a folder for each choice of interventions, and count what they do."""
    rollouts = batch_of(rows, {reward.name: reward.weight for reward in plan.recipe.rewards})
    assert rollouts.old_entropy is not None
    tallies, folders = {}, []
    for name, interventions in plan.chosen.items():
        effect = apply_chain(chain(interventions), rollouts, rollouts.old_entropy, plan.setting)
        # A step along d log p / dz changes the entropy by minus this number (``rlent_kernels.TokenStats``).
        entropy_effect = fill(-effect.push * changes, effect.rollouts.mask)
        changed = changed_rows(rows, effect, entropy_effect)
        written = EffectFolder(folder / name, replace(plan.recipe, interventions=interventions))
        written.add(changed, effect_metrics(effect, entropy_effect))
        tallies[name] = Tally()
        tallies[name].add(changed, rows)
        folders.append(written.path)
    return tallies, folders
