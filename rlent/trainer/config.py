"""TRL's GRPOConfig, minus the options that would act behind the interventions' back."""

from dataclasses import dataclass, field, fields
from math import gcd
from typing import TYPE_CHECKING, Any, Literal, get_args

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


@dataclass
class EntropyGRPOConfig(GRPOConfig):
    """Every option of ``trl.GRPOConfig`` with TRL's defaults, and rlent's own, which change speed and not results.

    Raises:
        ConfigError: an option that an intervention owns is set, the loss type is not supported, or ``delta`` is not
            above ``1 + epsilon_high`` or has no effect.
    """

    rollout_engine: Literal["native", "transformers"] = field(
        default="transformers",
        metadata={
            "help": "Program that generates unless `use_vllm`: rlent's own engine, or the model's `generate`."
        },
    )
    max_live_sequences: int | None = field(
        default=None,
        metadata={
            "help": "Most completions that rlent's engine holds in memory at once; all by default."
        },
    )
    sort_by_length: bool = field(
        default=True,
        metadata={
            "help": "Put rollouts of like length into the same micro-batch of an optimiser step and trim each "
            "micro-batch to its own longest. The gradient is the same."
        },
    )
    tokens_per_micro_batch: int | None = field(
        default=None,
        metadata={
            "help": "Most tokens, prompt and padding included, in one forward pass of training: micro-batches above "
            "it are run in parts. One rollout that is longer is run alone. The gradient is the same."
        },
    )
    skip_idle_rollouts: bool = field(
        default=True,
        metadata={
            "help": "Do not train on rollouts from which nothing is learnt, such as groups without variance, where "
            "no intervention and no KL term reads them. The gradient is the same."
        },
    )
    non_finite: Literal["stop", "skip"] = field(
        default="stop",
        metadata={
            "help": "What a loss or gradient that is NaN or infinite does: stop training, or leave out the optimiser "
            "step and count it. The rollouts are saved either way."
        },
    )

    if TYPE_CHECKING:
        # TRL allows None until its own __post_init__ has filled these in.
        num_generations: Any = None
        max_completion_length: Any = None
        generation_batch_size: Any = None
        steps_per_generation: Any = None
        importance_sampling_level: Any = None

    def __post_init__(self) -> None:
        super().__post_init__()
        defaults = {option.name: option.default for option in fields(self)}
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
        self._check_micro_batches()
        if self.rollout_engine == "native" and not self.ds3_gather_for_generation:
            raise ConfigError(
                "rlent's engine needs all weights on every rank: ranks do not take the same number of forward passes",
                key="trainer.ds3_gather_for_generation",
                expected="true",
                given=False,
                remedy="leave it true, or use rollout.engine: vllm",
            )

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

    def _check_micro_batches(self) -> None:
        for name in ("tokens_per_micro_batch", "max_live_sequences"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError("must be at least 1", key=f"trainer.{name}", given=value)
        if self.tokens_per_micro_batch is not None and self.averages_micro_batches:
            raise ConfigError(
                "loss_type bnpo averages over the tokens of a micro-batch, so running one in parts would change it",
                key="trainer.tokens_per_micro_batch",
                given=self.tokens_per_micro_batch,
                remedy="remove it, or set trainer.loss_type to dapo",
            )

    @property
    def averages_micro_batches(self) -> bool:
        """Whether the gradient depends on which rollouts share a micro-batch."""
        return LOSS_TYPES[self.loss_type].aggregate == "token_mean"

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
