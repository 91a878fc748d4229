"""TRL's GRPOConfig, minus the options that would act behind the interventions' back."""

from dataclasses import dataclass, field, fields
from math import gcd
from typing import TYPE_CHECKING, Any, Literal

from trl.trainer.grpo_config import GRPOConfig

from rlent.errors import ConfigError
from rlent.interventions import TABLE
from rlent.objective import LOSS_TYPES
from rlent.rollout import Budgets
from rlent.trainer.losses import as_entry, ratio_bounds, refuse_unread, surrogate_of

OWNED: dict[str, str] = {
    "top_entropy_quantile": "its denominator is a choice",
    "entropy_coef": "TRL's would act on tokens that others deselect",
    "use_adaptive_entropy": "TRL's would not see the others",
    "use_liger_kernel": "remove it: the token head of rlent_kernels takes the place of Liger's",
    "cast_lm_head_to_fp32": "remove it: log-probabilities and entropies are float32 always",
}
"""TRL options that are refused unless they have TRL's default, and what to do in place of them, or why an intervention
is in place of them."""


@dataclass
class EntropyGRPOConfig(GRPOConfig):
    """Every option of ``trl.GRPOConfig`` with TRL's defaults, and rlent's own, which change speed and not results.

    Raises:
        ConfigError: an option that an intervention owns is set, the loss type or the surrogate is unknown or
            misconfigured, or an option of TRL is set that the surrogate does not read.
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
    decoding: dict[str, Any] | None = field(
        default=None,
        metadata={
            "help": "What tokens are drawn from beyond temperature and truncation, by rlent's engine alone: one rule "
            "of `rlent.rollout.decoding` by its name, as in `{name: {option: value}}`."
        },
    )
    branching: dict[str, Any] | None = field(
        default=None,
        metadata={
            "help": "How a prompt's completions fork in training, by rlent's engine alone: one rule of "
            "`rlent.rollout.forking` by its name, as in `{name: {option: value}}`."
        },
    )
    budgets: dict[str, Any] | None = field(
        default=None,
        metadata={
            "help": "Cut thinking at token budgets and write summaries from each cut: the fields of "
            "`rlent.rollout.Budgets`. `num_generations` counts the traces. Only with `rollout_engine: native`."
        },
    )
    surrogate: Any = field(
        default=None,
        metadata={
            "help": "The policy-gradient surrogate in place of the loss type's own: a name, or `{name: {options}}`. "
            "The loss type still says how it is averaged."
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
        for name in OWNED:
            if getattr(self, name) != defaults[name]:
                raise ConfigError(
                    "this option of TRL is not used by rlent",
                    key=f"trainer.{name}",
                    given=getattr(self, name),
                    remedy=_remedy(name),
                )
        self._check_surrogate()
        self._check_budgets()
        self._check_micro_batches()
        if self.rollout_engine == "native" and not self.ds3_gather_for_generation:
            raise ConfigError(
                "rlent's engine needs all weights on every rank: ranks do not take the same number of forward passes",
                key="trainer.ds3_gather_for_generation",
                expected="true",
                given=False,
                remedy="leave it true, or use rollout.engine: vllm",
            )

    def _check_surrogate(self) -> None:
        self.surrogate = as_entry(self.surrogate)
        defaults = {option.name: option.default for option in fields(self)}
        refuse_unread(self, lambda option: getattr(self, option) != defaults[option])
        ratio_bounds(self)
        correction = self.use_vllm and self.vllm_importance_sampling_correction
        if correction and not surrogate_of(self).takes_sampling_correction:
            raise ConfigError(
                "the surrogate takes no correction for the probabilities of the sampler",
                key="trainer.vllm_importance_sampling_correction",
                given=True,
                expected="false",
            )

    def _check_budgets(self) -> None:
        budgets = self.thinking_budgets
        if budgets is None:
            return
        if self.use_vllm or self.rollout_engine != "native":
            raise ConfigError(
                "only rlent's engine cuts thinking at budgets",
                key="rollout.budgets",
                remedy="use rollout.engine: native",
            )
        if self.mask_truncated_completions:
            raise ConfigError(
                "a row is a summary, and the last one of a trace would take the thinking with it",
                key="trainer.mask_truncated_completions",
                given=True,
                expected="false with rollout.budgets",
            )
        longest = budgets.levels[-1] + budgets.summary_length
        if longest > self.max_completion_length:
            raise ConfigError(
                "thinking and summary are longer than a completion may be",
                key="trainer.max_completion_length",
                given=self.max_completion_length,
                expected=f"{longest} and what is forced between them, at least",
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
    def thinking_budgets(self) -> Budgets | None:
        """``budgets`` with their defaults. Raises ConfigError for one that is not possible."""
        if self.budgets is None:
            return None
        try:
            return Budgets(**{**self.budgets, "levels": tuple(self.budgets.get("levels", ()))})
        except (TypeError, ValueError) as error:
            raise ConfigError(str(error), key="rollout.budgets", given=self.budgets) from error

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


def _remedy(option: str) -> str:
    """What to do in place of an option that is refused."""
    owners = [name for name, cls in TABLE.items() if option in cls.in_place_of]
    use = f"use the intervention {' or '.join(owners)}: " if owners else ""
    return f"{use}{OWNED[option]}"


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
