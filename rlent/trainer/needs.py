"""Can this configuration give each intervention what it needs? If not, the run does not start."""

from collections.abc import Mapping, Sequence

from rlent.errors import ConfigError
from rlent.interventions import NEEDS, Chain
from rlent.interventions.stages import OnFilter, OnRewards
from rlent.objective import LOSS_TYPES
from rlent.surrogates import PPO, SURROGATES
from rlent.trainer.config import EntropyGRPOConfig
from rlent.trainer.losses import readers_of, surrogate_of

_BOUND_FIELDS = frozenset().union(*(surrogate.reads for surrogate in SURROGATES.values()))


def check_needs(chain: Chain, args: EntropyGRPOConfig) -> None:
    """Refuse a configuration under which an intervention would silently do nothing or something else.

    Raises:
        ConfigError: names the intervention, the need, the reason and the recipe line to change.
    """
    unmet = _unmet(args)
    _check_statistics(chain)
    if args.budgets is not None:
        _check_budgets(chain, unmet)
    surrogate = surrogate_of(args)
    for position, link in enumerate(chain.links):
        key = f"interventions.{position}.{link.config.name}"
        for need in sorted(link.config.needs & unmet.keys()):
            raise ConfigError(f"needs {NEEDS[need]}", key=key, remedy=unmet[need])
        if link.config.smallest_group > args.num_generations:
            raise ConfigError(
                f"needs {link.config.smallest_group} completions of every prompt",
                key=key,
                given=args.num_generations,
                remedy=f"set trainer.num_generations to at least {link.config.smallest_group}",
            )
        for field in sorted(link.config.writes & _BOUND_FIELDS - surrogate.reads):
            raise ConfigError(
                f"moves {field}, which the surrogate {surrogate.name} does not read",
                key=key,
                remedy=readers_of(field),
            )
        if isinstance(link.stages, OnRewards) and (
            args.multi_objective_aggregation != "sum_then_normalize"
        ):
            raise ConfigError(
                "changes rewards, which needs them summed before they are normalised",
                key=key,
                remedy="set trainer.multi_objective_aggregation to sum_then_normalize",
            )


def _check_statistics(chain: Chain) -> None:
    """The head filters by one ``min_p`` in a pass."""
    for asked in (chain.statistics, chain.old_statistics):
        numbers = {each.number for each in asked if each.name == "kept_log_probs"}
        if len(numbers) > 1:
            raise ConfigError(
                "two interventions filter a policy by different min_p",
                key="interventions",
                given=" and ".join(map(str, sorted(numbers, key=str))),
                remedy="give both the same min_p, or leave one of them out",
            )


def _check_budgets(chain: Chain, unmet: Mapping[str, str]) -> None:
    """Thinking that is cut at budgets needs all rows of a prompt in one place."""
    if "whole_groups" in unmet:
        raise ConfigError(
            f"needs {NEEDS['whole_groups']}", key="rollout.budgets", remedy=unmet["whole_groups"]
        )
    for position, link in enumerate(chain.links):
        if isinstance(link.stages, OnFilter):
            raise ConfigError(
                "gives up single completions, of which the rows of a thinking trace consist",
                key=f"interventions.{position}.{link.config.name}",
                remedy="remove it, or remove rollout.budgets",
            )


def check_reward_names(chain: Chain, names: Sequence[str]) -> None:
    """Refuse an intervention that speaks of a reward function which is not listed.

    Raises:
        ConfigError: names the intervention and the nearest reward function.
    """
    for position, link in enumerate(chain.links):
        for name in sorted(link.config.named_rewards - set(names)):
            raise ConfigError(
                "not one of the listed rewards",
                key=f"interventions.{position}.{link.config.name}.reward",
                expected=", ".join(names),
                given=name,
                choices=names,
            )


def _unmet(args: EntropyGRPOConfig) -> dict[str, str]:
    """Needs that this configuration cannot meet, and the change that would."""
    unmet = {}
    if args.budgets is None:
        unmet["budgets"] = (
            "set rollout.budgets, or the argument budgets of EntropyGRPOConfig, such as {levels: [2000, 4000]}"
        )
    if args.updates_per_generation <= 1:
        unmet["several_updates"] = (
            "set trainer.num_iterations above 1, or trainer.steps_per_generation above "
            f"gradient_accumulation_steps ({args.gradient_accumulation_steps}); with one update per generation batch "
            "every ratio is 1"
        )
    whole_steps = args.steps_per_generation % args.gradient_accumulation_steps == 0
    if args.num_iterations != 2 or not whole_steps:
        unmet["two_passes"] = (
            f"set trainer.num_iterations to 2 (it is {args.num_iterations}), and trainer.steps_per_generation "
            f"({args.steps_per_generation}) to a multiple of gradient_accumulation_steps "
            f"({args.gradient_accumulation_steps})"
        )
    if args.temperature != 1.0:
        unmet["prompt_logp"] = (
            f"set trainer.temperature to 1.0: at {args.temperature} log-probabilities are those of another "
            "distribution than the text's"
        )
    surrogate = surrogate_of(args)
    if not isinstance(surrogate, PPO) or surrogate.level != "token":
        unmet["token_clipping"] = (
            "set trainer.loss_type to one of grpo, dapo, dr_grpo, bnpo, luspo, with importance_sampling_level: token"
        )
        unmet["plain_clipping"] = f"{unmet['token_clipping']}, and no delta"
    elif surrogate.dual_clip is not None:
        unmet["plain_clipping"] = "remove trainer.delta, or dual_clip under trainer.surrogate"
    rows = args.per_device_train_batch_size * args.steps_per_generation
    if rows % args.num_generations != 0:
        unmet["whole_groups"] = (
            f"make trainer.per_device_train_batch_size * steps_per_generation ({rows}) a multiple of "
            f"num_generations ({args.num_generations})"
        )
    if LOSS_TYPES[args.loss_type].aggregate == "step_token_mean":
        unmet["micro_batch_denominator"] = (
            f"with loss_type {args.loss_type} the denominator counts the whole step, before its micro-batches "
            "have been ranked; set trainer.loss_type to bnpo or grpo, or the intervention's denominator to all, or "
            "rank before the batch is split (entropy: old, scope: global)"
        )
    return unmet
