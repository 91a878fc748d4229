"""TRL's GRPOConfig, minus the options that would act behind the interventions' back."""

from dataclasses import fields
from math import gcd
from typing import Any, get_args

from trl.trainer.grpo_config import GRPOConfig

from rlent.errors import ConfigError
from rlent.objective import LOSS_TYPES
from rlent.surrogates import Level

OWNED: dict[str, str] = {
    "top_entropy_quantile": "use the intervention forking_tokens: {fraction: ...}; its denominator is a choice",
    "entropy_coef": "an entropy bonus is an intervention's penalty; TRL's would act on tokens that others deselect",
    "use_adaptive_entropy": "an entropy controller is an intervention with state; TRL's would not see the others",
    "use_liger_kernel": "remove it: the token head of rlent_kernels takes the place of Liger's",
    "cast_lm_head_to_fp32": "remove it: log-probabilities and entropies are float32 always",
}
"""TRL options that are refused unless they have TRL's default, and what to do in place of them."""


class EntropyGRPOConfig(GRPOConfig):
    """Every option of ``trl.GRPOConfig`` with TRL's defaults.

    Raises:
        ConfigError: an option that an intervention owns is set, the loss type is not supported, or ``delta`` is not
            above ``1 + epsilon_high`` or has no effect.
    """

    # TRL allows None until its own __post_init__ has filled these in.
    num_generations: Any
    max_completion_length: Any
    generation_batch_size: Any
    steps_per_generation: Any
    importance_sampling_level: Any

    def __post_init__(self) -> None:
        super().__post_init__()
        defaults = {field.name: field.default for field in fields(self)}
        for name, remedy in OWNED.items():
            if getattr(self, name) != defaults[name]:
                raise ConfigError(
                    "this option of TRL is not used by rlent",
                    key=f"trainer.{name}",
                    given=getattr(self, name),
                    remedy=remedy,
                )
        if self.loss_type not in LOSS_TYPES:
            raise ConfigError(
                "the loss type is not supported",
                key="trainer.loss_type",
                expected=", ".join(LOSS_TYPES),
                given=self.loss_type,
                choices=LOSS_TYPES,
            )
        levels = get_args(Level)
        if self.importance_sampling_level not in levels:
            raise ConfigError(
                "not a level of the ratio",
                key="trainer.importance_sampling_level",
                expected=", ".join(levels),
                given=self.importance_sampling_level,
                choices=levels,
            )
        self._check_delta()

    def _check_delta(self) -> None:
        if self.delta is None:
            return
        if LOSS_TYPES[self.loss_type].surrogate != "ppo":
            raise ConfigError(
                f"delta has no effect on loss_type {self.loss_type}",
                key="trainer.delta",
                given=self.delta,
                remedy="remove it, or use a clipped loss such as grpo or dapo",
            )
        high = self.epsilon if self.epsilon_high is None else self.epsilon_high
        if self.delta <= 1.0 + high:
            raise ConfigError(
                "delta must be above the upper clip bound, where the dual clip begins",
                key="trainer.delta",
                expected=f"more than {1.0 + high}",
                given=self.delta,
            )

    @property
    def updates_per_generation(self) -> float:
        """Optimiser steps taken on one generation batch; at most 1 means on-policy."""
        return self.steps_per_generation * self.num_iterations / self.gradient_accumulation_steps

    @property
    def steps_to_fresh_rollouts(self) -> int:
        """Optimiser steps after which no generation batch is left half used: a checkpoint loses nothing there."""
        micro_batches = self.steps_per_generation * self.num_iterations
        return micro_batches // gcd(micro_batches, self.gradient_accumulation_steps)


def own_config(args: GRPOConfig | None) -> EntropyGRPOConfig:
    """``args``, or the defaults where there are none.

    Raises:
        ConfigError: a plain GRPOConfig, whose options nobody has checked.
    """
    if args is None:
        return EntropyGRPOConfig("EntropyGRPO")
    if not isinstance(args, EntropyGRPOConfig):
        raise ConfigError(
            "args must refuse the options of TRL that interventions own",
            expected="EntropyGRPOConfig, which takes every option of GRPOConfig",
            given=type(args).__name__,
        )
    return args
