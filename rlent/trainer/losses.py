"""What TRL's options say of the objective."""

from typing import TYPE_CHECKING

from rlent.objective import LOSS_TYPES, Objective, build_objective
from rlent.surrogates import Level

if TYPE_CHECKING:
    from rlent.trainer.config import EntropyGRPOConfig


def objective_of(args: "EntropyGRPOConfig") -> Objective:
    """The objective that a TRL configuration describes."""
    return build_objective(
        args.loss_type,
        level=args.importance_sampling_level,
        dual_clip=args.delta,
        temperatures=(args.sapo_temperature_pos, args.sapo_temperature_neg),
    )


def ratio_bounds(args: "EntropyGRPOConfig") -> tuple[float, float]:
    """Bounds on the ratio before any intervention moves them.

    TRL's CISPO bounds the ratio by ``epsilon_high`` itself, from above only.
    """
    high = args.epsilon if args.epsilon_high is None else args.epsilon_high
    if args.loss_type == "cispo":
        return 0.0, high
    return 1.0 - args.epsilon, 1.0 + high


def clip_level(args: "EntropyGRPOConfig") -> Level | None:
    """Whose ratio the loss clips; None for a loss that sends gradient from every token."""
    return args.importance_sampling_level if LOSS_TYPES[args.loss_type].surrogate == "ppo" else None
