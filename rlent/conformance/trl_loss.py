"""TRL 1.16's ``GRPOTrainer._compute_loss`` as a golden case records it, said in rlent's records."""

from dataclasses import replace

from jaxtyping import Bool, Float
from torch import Tensor

from rlent.aggregate import Step, token_mean
from rlent.conformance.cases import Case
from rlent.conformance.records import gradients, signal_of, tokens_of
from rlent.divergences import k3
from rlent.numerics import fill, safe_ratio, unit
from rlent.objective import LOSS_TYPES, Objective, build_objective
from rlent.surrogates import SURROGATES, ratio_exponent
from rlent.types import Tokens

_OPTIONS = {
    "importance_sampling_level": "importance_sampling_level",
    "delta": "delta",
    "sapo_temperature_pos": "tau_pos",
    "sapo_temperature_neg": "tau_neg",
}
"""TRL's options, and what the cases call them."""


def trl_loss(case: Case) -> dict[str, Tensor]:
    """Loss and gradients. The entropy mask restricts the policy term; KL and denominators keep all tokens."""
    tokens = tokens_of(case, entropy=case.inputs["entropy"].clone().requires_grad_())
    recorded_mask = case.outputs.get("entropy_mask")
    select = tokens.mask if recorded_mask is None else recorded_mask.bool()
    advantage = case.inputs["advantages_1d"].unsqueeze(1).expand_as(tokens.mask)
    signal = replace(
        signal_of(tokens, advantage, _bounds(case)),
        select=select,
        penalty=_kl_penalty(case, tokens),
    )
    step = _step(case)
    loss = _objective(case)(tokens, signal, counted=step, everything=step)
    loss = loss - _entropy_bonus(case, tokens, select & tokens.mask, step)
    grad_logp, grad_entropy = gradients(loss, tokens.logp, tokens.entropy)
    return {"loss": loss.detach(), "grad_logp": grad_logp, "grad_entropy": grad_entropy}


def _objective(case: Case) -> Objective:
    options = {option: case.hyperparameters[name] for option, name in _OPTIONS.items()}
    loss_type = case.hyperparameters["loss_type"]
    cls = SURROGATES[LOSS_TYPES[loss_type].surrogate]
    return build_objective(
        loss_type, cls(**{field: options[option] for option, field in cls.trl_options.items()})
    )


def _bounds(case: Case) -> tuple[float, float]:
    given = case.hyperparameters
    return _objective(case).surrogate.bounds(given["epsilon_low"], given["epsilon_high"])


def _kl_penalty(case: Case, tokens: Tokens) -> Float[Tensor, "b t"]:
    given = case.hyperparameters
    assert tokens.ref_logp is not None
    divergence = k3(tokens.logp, tokens.ref_logp, tokens.mask)
    if given["use_bias_correction_kl"]:
        exponent = ratio_exponent(tokens, given["importance_sampling_level"])
        divergence = divergence * safe_ratio(exponent) * unit(exponent)
    return given["beta"] * divergence


def _entropy_bonus(
    case: Case, tokens: Tokens, acted_on: Bool[Tensor, "b t"], step: Step
) -> Float[Tensor, ""]:
    """``entropy_coef`` times the mean entropy of the selected tokens, whatever the loss type's denominator is."""
    bonus = case.hyperparameters["entropy_coef"] * fill(tokens.entropy, acted_on)
    return token_mean(bonus, acted_on, step)


def _step(case: Case) -> Step:
    """``num_items_in_batch`` spans the generation batch: its mean over optimiser steps is one step's."""
    given = case.hyperparameters
    tokens = case.inputs["num_items_in_batch"]
    length = given["max_completion_length"]
    if not given["training"]:
        return Step(micro_batches=1, tokens=tokens, max_length=length)
    micro_batches = given["grad_accum"]
    tokens = tokens * micro_batches / given["steps_per_generation"]
    return Step(micro_batches=micro_batches, tokens=tokens, max_length=length)
