"""Can this configuration give each intervention what it needs? If not, the run does not start."""

from collections.abc import Sequence

from rlent.errors import ConfigError
from rlent.interventions import NEEDS, Chain
from rlent.interventions.stages import OnRewards
from rlent.objective import LOSS_TYPES
from rlent.surrogates import SURROGATES
from rlent.trainer.config import EntropyGRPOConfig
from rlent.trainer.losses import objective_of

_BOUND_FIELDS = frozenset().union(*(surrogate.reads for surrogate in SURROGATES.values()))


def check_needs(chain: Chain, args: EntropyGRPOConfig) -> None:
    """Refuse a configuration under which an intervention would silently do nothing or something else.

    Raises:
        ConfigError: names the intervention, the need, the reason and the recipe line to change.
    """
    unmet = _unmet(args)
    reads = objective_of(args).surrogate.reads
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
        for field in sorted(link.config.writes & _BOUND_FIELDS - reads):
            raise ConfigError(
                f"moves {field}, which the surrogate of loss_type {args.loss_type} does not read",
                key=key,
                remedy="set trainer.loss_type to one of grpo, dapo, dr_grpo, bnpo, luspo",
            )
        if isinstance(link.stages, OnRewards) and (
            args.multi_objective_aggregation != "sum_then_normalize"
        ):
            raise ConfigError(
                "changes rewards, which needs them summed before they are normalised",
                key=key,
                remedy="set trainer.multi_objective_aggregation to sum_then_normalize",
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
    if args.updates_per_generation <= 1:
        unmet["several_updates"] = (
            "set trainer.num_iterations above 1, or trainer.steps_per_generation above "
            f"gradient_accumulation_steps ({args.gradient_accumulation_steps}); with one update per generation batch "
            "every ratio is 1"
        )
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
