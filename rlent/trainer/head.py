"""rlent's token head inside a transformers model.

TRL scores with ``model(..., labels=labels, fused_lm_head=True)`` and reads ``log_probs`` and ``entropy`` of the output.
``install_token_head`` answers that call with ``rlent_kernels.token_stats``. The head runs inside the model's forward,
so that DeepSpeed, DDP and PEFT wrap it as they wrap everything else.
"""

import functools
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel
from transformers.utils.generic import ModelOutput

from rlent.distributions import Statistic
from rlent.errors import ConfigError
from rlent.trainer.head_statistics import head_statistics
from rlent_kernels import token_kl


@dataclass
class TokenOutput(ModelOutput):
    """Log-probability and entropy [b t-1] of each next token, float32; 0 where the label is ignored."""

    log_probs: Tensor | None = None
    entropy: Tensor | None = None
    hidden: Tensor | None = None
    """Last hidden states [b t-1 d] before the head, when they were asked for."""
    ref_kl: Tensor | None = None
    """Exact KL divergence [b t-1] from the reference that was given, 0 outside its rows."""
    measured: dict[str, Tensor] | None = None
    """What ``measure`` gave."""
    statistics: dict[Statistic, Tensor] | None = None
    """Those [b t-1] that were asked for, 0 where the label is ignored."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """The reference policy at the positions of a micro-batch."""

    hidden: Tensor
    """Its last hidden states [b t-1 d]."""
    weight: Tensor
    bias: Tensor | None
    rows: Tensor
    """Positions [b t-1] at which the divergence is wanted."""


Measure = Callable[..., dict[str, Tensor]]
"""``measure(head module, hidden [b t-1 d], temperature=..., logit_scale=..., softcap=...)``, run inside the head."""


def install_token_head(model: PreTrainedModel, temperature: float, impl: str = "auto") -> None:
    """Make ``model(..., labels=..., fused_lm_head=True)`` return ``TokenOutput`` without ever forming logits.

    Every other call, generation included, goes to the forward that was there before.

    Args:
        temperature: sampling temperature; log-probabilities and entropies are those of ``logits / temperature``.

    Raises:
        ConfigError: the model scales its logits in a way the head does not know.
    """
    scale, softcap = logit_transform(model)
    plain_forward = model.forward
    options = {"impl": impl, "temperature": temperature, "logit_scale": scale, "softcap": softcap}

    # The wrapped signature must stay the model's own: `generate` checks its keyword arguments against it.
    @functools.wraps(type(model).forward)
    def forward(
        self: Any,
        *args: Any,
        fused_lm_head: bool = False,
        return_hidden: bool = False,
        reference: Reference | None = None,
        statistics: Sequence[Statistic] = (),
        measure: Measure | None = None,
        **kwargs: Any,
    ) -> Any:
        if not fused_lm_head:
            return plain_forward(*args, **kwargs)
        labels = kwargs.pop("labels")
        hidden = self.base_model(*args, **kwargs, use_cache=False).last_hidden_state
        targets = labels[:, 1:].to(hidden.device)
        log_probs, entropy, ref_kl, measured, *further = _through(
            self.get_output_embeddings(),
            functools.partial(
                _scores,
                targets=targets,
                reference=reference,
                measure=measure,
                statistics=statistics,
                **options,
            ),
            hidden,
        )
        return TokenOutput(
            log_probs=log_probs,
            entropy=entropy,
            hidden=hidden[:, :-1] if return_hidden else None,
            ref_kl=ref_kl,
            measured=measured,
            statistics=dict(zip(statistics, further, strict=True)),
        )

    model.forward = types.MethodType(forward, model)


def _through(head: Any, function: Callable[..., Any], hidden: Tensor) -> Any:
    """``function(head, hidden)``, run as the head's own forward.

    What others hang on a module, such as ZeRO stage 3, which puts its weights together before it runs and again before
    its backward pass, then happens here too.
    """
    own = vars(head).get("forward")
    head.forward = functools.partial(function, head)
    try:
        return head(hidden)
    finally:
        del head.forward
        if own is not None:
            head.forward = own


def _scores(
    head: Any,
    hidden: Tensor,
    *,
    targets: Tensor,
    reference: Reference | None,
    measure: Measure | None,
    statistics: Sequence[Statistic],
    impl: str,
    **transform: Any,
) -> tuple[Any, ...]:
    """Log-probability and entropy of each target, its divergence from a reference, and what else is asked for.

    Args:
        hidden: [b t d], of which the last place predicts no target.
    """
    hidden, behind = hidden[:, :-1], hidden[:, 1:]
    stats, further = head_statistics(
        head, hidden, targets, statistics, behind=behind, impl=impl, **transform
    )
    ref_kl = None
    if reference is not None:
        ref_kl = token_kl(
            hidden,
            head.weight,
            reference.hidden,
            reference.weight,
            reference.rows,
            bias=head.bias,
            ref_bias=reference.bias,
            **transform,
        )
    measured = None if measure is None else measure(head, hidden, **transform)
    return stats.log_probs, stats.entropy, ref_kl, measured, *further


def logit_transform(model: PreTrainedModel) -> tuple[float, float | None]:
    """What the model does to its logits: the factor before the soft cap, and the cap."""
    config = model.config.get_text_config()
    factors = {
        "logit_scale": getattr(config, "logit_scale", None),
        "output_multiplier": getattr(config, "output_multiplier", None),
        "lm_head_multiplier": getattr(config, "lm_head_multiplier", None),
        "logits_scaling": getattr(config, "logits_scaling", None),
    }
    present = {name: value for name, value in factors.items() if value is not None}
    if len(present) > 1:
        raise ConfigError(
            f"{config.model_type} scales its logits by {' and '.join(present)}; rlent's head knows one of them",
            key="model.name",
        )
    name, factor = next(iter(present.items()), ("logit_scale", 1.0))
    # Granite and MiniCPM divide by logits_scaling, HyperCLOVA X multiplies by the field of the same name.
    if name == "logits_scaling" and config.model_type != "hyperclovax":
        factor = 1.0 / factor
    return float(factor), getattr(config, "final_logit_softcapping", None)
