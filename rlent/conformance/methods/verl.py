"""How verl, and the code derived from it, names and averages things."""

from dataclasses import replace
from typing import Any

from jaxtyping import Bool
from torch import Tensor

from rlent.aggregate import AGGREGATES, Step
from rlent.conformance.cases import Case
from rlent.conformance.methods.method import Outputs
from rlent.conformance.records import gradients, signal_of
from rlent.errors import ConfigError
from rlent.objective import Objective
from rlent.surrogates import SURROGATES
from rlent.types import Signal, Tokens

VERL_AGGREGATES = {"token-mean": "token_mean", "seq-mean-token-mean": "sequence_mean"}
"""verl's ``loss_agg_mode`` as names in ``AGGREGATES``."""


def verl_signal(case: Case, tokens: Tokens) -> Signal:
    """PPO's signal with the bounds of the case."""
    given = case.hyperparameters
    bounds = 1.0 - given["clip_low"], 1.0 + given["clip_high"]
    return signal_of(tokens, case.inputs["advantages"], bounds)


def verl_ppo(case: Case, tokens: Tokens, signal: Signal) -> Outputs:
    """Loss and gradient of the clipped surrogate, with verl's dual clip if the case has one."""
    dual_clip = case.hyperparameters.get("clip_c")
    return verl_outputs(
        tokens, signal, verl_objective("ppo", verl_aggregate(case), dual_clip=dual_clip)
    )


def verl_outputs(
    tokens: Tokens, signal: Signal, objective: Objective, counted: Tensor | None = None
) -> Outputs:
    """``loss``, its gradient in ``logp``, and the surrogate of every token.

    Args:
        counted: tokens of the whole step, where the case names another number than its own.
    """
    counted = signal.count.sum() if counted is None else counted
    step = Step(micro_batches=1, tokens=counted, max_length=signal.count.shape[1])
    loss = objective(tokens, signal, counted=step, everything=step)
    (grad_logp,) = gradients(loss, tokens.logp)
    per_token = objective.surrogate(tokens, signal)
    return {
        "loss": loss.detach(),
        "grad_logp": grad_logp,
        "per_token_loss": per_token.detach(),
    }


def only(outputs: Outputs, *names: str) -> Outputs:
    """Some of the outputs."""
    return {name: outputs[name] for name in names}


def verl_aggregate(case: Case) -> str:
    """The case's ``agg`` as a name in ``AGGREGATES``.

    Raises:
        ConfigError: rlent has no such average.
    """
    name = case.hyperparameters.get("agg", "token-mean")
    if name not in VERL_AGGREGATES:
        raise ConfigError(
            "the case averages its loss in a way that rlent does not have",
            where=str(case.path),
            key="hyperparameters.agg",
            expected=", ".join(VERL_AGGREGATES),
            given=name,
        )
    return VERL_AGGREGATES[name]


def verl_objective(surrogate: str, aggregate: str, **options: Any) -> Objective:
    return Objective(surrogate=SURROGATES[surrogate](**options), aggregate=AGGREGATES[aggregate])


def leave_out_empty_rows(signal: Signal, mask: Bool[Tensor, "b t"]) -> Signal:
    """verl averages over the completions that have tokens, rlent over all: a weight moves the denominator."""
    return replace(signal, weight=signal.weight * len(mask) / mask.any(dim=1).sum())
