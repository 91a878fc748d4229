"""TRL's SFTConfig and DPOConfig, minus the options that would act behind a loss's back."""

from dataclasses import dataclass, field, fields
from typing import Any, Literal

from trl.trainer.dpo_config import DPOConfig
from trl.trainer.sft_config import SFTConfig

from rlent.errors import ConfigError

_LOSS = "the loss is the recipe's `loss` section, which has its own options"
_BOTH = {
    "loss_type": _LOSS,
    "label_smoothing_factor": _LOSS,
    "neftune_noise_alpha": "remove it: the loss is that of the model as it is",
    "use_liger_kernel": "remove it: the token head of rlent_kernels takes the place of Liger's",
    "padding_free": "remove it: micro-batches are padded",
    "truncation_mode": "answers are never cut: rows that are too long are what data.too_long says",
    "pad_token": "remove it: the tokenizer says it",
    "average_tokens_across_devices": "remove it: tokens are counted over all processes",
    "batch_eval_metrics": "remove it: nothing is evaluated during training",
}
OWNED_SFT: dict[str, str] = {
    **_BOTH,
    "packing": "remove it: a row is one answer",
    "eval_packing": "remove it: nothing is evaluated during training",
    "packing_strategy": "remove it: a row is one answer",
    "dataset_text_field": "the column is called text; use data.columns",
    "dataset_kwargs": "remove it: rows are prepared in one way",
    "completion_only_loss": "rows with a completion are learnt from it, rows with a text as a whole",
    "assistant_only_loss": "remove it: the completion is what is learnt",
    "chat_template_path": "use data.chat_template",
    "eos_token": "remove it: the tokenizer says it",
}
OWNED_DPO: dict[str, str] = {
    **_BOTH,
    "beta": _LOSS,
    "loss_weights": _LOSS,
    "label_smoothing": _LOSS,
    "ld_alpha": _LOSS,
    "f_divergence_type": _LOSS,
    "f_alpha_divergence_coef": _LOSS,
    "use_weighting": _LOSS,
    "discopop_tau": _LOSS,
    "precompute_ref_log_probs": "remove it: TRL precomputes sums over answers, and the loss reads single tokens",
    "precompute_ref_batch_size": "remove it: nothing is precomputed",
}
"""TRL options that are refused unless they have TRL's default, and why or what to do."""


@dataclass
class TokenSFTConfig(SFTConfig):
    """Every option of ``trl.SFTConfig`` that a loss over completions leaves to TRL.

    Raises:
        ConfigError: an option is set that would have no effect, or another than it says.
    """

    non_finite: Literal["stop", "skip"] = field(
        default="stop",
        metadata={"help": "What a loss or gradient that is NaN or infinite does."},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        _refuse_owned(self, OWNED_SFT)


@dataclass
class TokenDPOConfig(DPOConfig):
    """Every option of ``trl.DPOConfig`` that a preference loss leaves to TRL.

    Raises:
        ConfigError: an option is set that would have no effect, or another than it says.
    """

    non_finite: Literal["stop", "skip"] = field(
        default="stop",
        metadata={"help": "What a loss or gradient that is NaN or infinite does."},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        _refuse_owned(self, OWNED_DPO)


TokenLossConfig = TokenSFTConfig | TokenDPOConfig


def _refuse_owned(config: TokenLossConfig, owned: dict[str, str]) -> None:
    for option in fields(config):
        given: Any = getattr(config, option.name)
        if option.name in owned and given != _default(option):
            raise ConfigError(
                "this option of TRL is not used by rlent",
                key=f"trainer.{option.name}",
                given=given,
                remedy=owned[option.name],
            )


def _default(option: Any) -> Any:
    return option.default_factory() if callable(option.default_factory) else option.default
