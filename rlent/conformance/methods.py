"""What rlent computes for each method of the golden cases.

A function reads a case's inputs and settings into rlent's records, runs rlent's own objective, and returns outputs
under the names that the file uses. Formulas live in the library; what is written here is only how the released code
names and normalises things. To cover a method, write its function and one line in ``METHODS``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rlent.aggregate import AGGREGATES, Step
from rlent.conformance.cases import Case
from rlent.conformance.records import gradients, signal_of, tokens_of
from rlent.conformance.trl_loss import trl_loss
from rlent.errors import ConfigError
from rlent.interventions import ClipPreserve, ForkingTokens, PositiveLikelihood
from rlent.objective import Objective
from rlent.surrogates import SURROGATES
from rlent.types import Signal, Tokens
from rlent_rewards import VoteRule, majority_vote

Outputs = Mapping[str, Tensor | str]

VERL_AGGREGATES = {"token-mean": "token_mean", "seq-mean-token-mean": "sequence_mean"}
"""verl's ``loss_agg_mode`` as names in ``AGGREGATES``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Method:
    """A method of the golden cases."""

    outputs: Callable[[Case], Outputs]
    tolerance: float
    """Largest difference allowed, relative above 1 and absolute below."""
    remark: str = ""
    """What is not compared, and why."""


def eighty_twenty(case: Case) -> Outputs:
    tokens = tokens_of(case, entropy=_break_ties_as_recorded(case))
    forking = ForkingTokens(fraction=case.hyperparameters["rho"], as_released=True)
    signal, _ = forking.on_tokens(tokens, _verl_signal(case, tokens))
    return {"entropy_top_mask": signal.select, **_verl_ppo(case, tokens, signal)}


def gppo(case: Case) -> Outputs:
    return _clip_preserve(case, ClipPreserve(keep_low=1.0, keep_high=1.0))


def ce_gppo(case: Case) -> Outputs:
    given = case.hyperparameters
    outputs = _clip_preserve(case, ClipPreserve(keep_low=given["beta1"], keep_high=given["beta2"]))
    tokens = tokens_of(case)
    correct = replace(tokens, reward=case.inputs["correct"].double())
    likelihood = PositiveLikelihood(weight=1.0).build()
    signal, _ = likelihood.on_tokens(correct, _verl_signal(case, correct))
    rows = correct.mask & (correct.reward > 0).unsqueeze(1)
    nll = signal.penalty.sum() / rows.sum().clamp(min=1)
    (gradient,) = gradients(nll, tokens.logp)
    return {
        "grad_logp": outputs["grad_logp"],
        "positive_nll": nll.detach(),
        "grad_positive_nll": gradient,
    }


def ttrl_vote(case: Case) -> Outputs:
    vote = majority_vote(case.inputs["solutions"], VoteRule(count="text", unparsed="vote"))
    count = round(vote.share * len(vote.rewards))
    return {
        "rewards": torch.tensor(vote.rewards),
        "majority_count": torch.tensor(count),
        "label": "" if vote.winner is None else vote.winner,
    }


def verl_vanilla(case: Case) -> Outputs:
    tokens = tokens_of(case)
    return _verl_ppo(case, tokens, _verl_signal(case, tokens))


def verl_cispo(case: Case) -> Outputs:
    tokens = tokens_of(case)
    objective = _objective("cispo", _verl_aggregate(case))
    return _verl_outputs(tokens, _verl_signal(case, tokens), objective)


def verl_gspo(case: Case) -> Outputs:
    tokens = tokens_of(case)
    signal = _leave_out_empty_rows(_verl_signal(case, tokens), tokens.mask)
    return _verl_outputs(tokens, signal, _objective("ppo", "sequence_mean", level="sequence"))


def verl_sapo(case: Case) -> Outputs:
    tokens = tokens_of(case)
    positive, negative = case.hyperparameters["tau_pos"], case.hyperparameters["tau_neg"]
    signal = signal_of(tokens, case.inputs["advantages"], bounds=(1.0, 1.0))
    return _verl_outputs(
        tokens,
        _leave_out_empty_rows(signal, tokens.mask),
        _objective(
            "sapo",
            "sequence_mean",
            temperature_positive=positive,
            temperature_negative=negative,
        ),
    )


EPSILON_IN_DENOMINATOR = 1e-8
"""Added to denominators by verl and the code derived from it, so nothing closer can be expected."""
FLOAT64 = 1e-10

METHODS: dict[str, Method] = {
    "eighty_twenty": Method(outputs=eighty_twenty, tolerance=EPSILON_IN_DENOMINATOR),
    "gppo": Method(outputs=gppo, tolerance=EPSILON_IN_DENOMINATOR),
    "ce_gppo": Method(
        outputs=ce_gppo,
        tolerance=EPSILON_IN_DENOMINATOR,
        remark="gradients; the loss value of clipped tokens is PPO's in rlent",
    ),
    "ttrl_vote": Method(outputs=ttrl_vote, tolerance=0.0),
    "verl_vanilla": Method(outputs=verl_vanilla, tolerance=EPSILON_IN_DENOMINATOR),
    "verl_cispo": Method(outputs=verl_cispo, tolerance=EPSILON_IN_DENOMINATOR),
    "verl_gspo": Method(outputs=verl_gspo, tolerance=EPSILON_IN_DENOMINATOR),
    "verl_sapo": Method(outputs=verl_sapo, tolerance=EPSILON_IN_DENOMINATOR),
    "trl_grpo": Method(outputs=trl_loss, tolerance=FLOAT64),
    "trl_bnpo": Method(outputs=trl_loss, tolerance=FLOAT64),
    "trl_dr_grpo": Method(outputs=trl_loss, tolerance=FLOAT64),
    "trl_dapo": Method(outputs=trl_loss, tolerance=FLOAT64),
    "trl_luspo": Method(outputs=trl_loss, tolerance=FLOAT64),
    "trl_cispo": Method(outputs=trl_loss, tolerance=FLOAT64),
    "trl_sapo": Method(outputs=trl_loss, tolerance=FLOAT64),
}

KNOWN: dict[str, str] = {
    "trl_high_entropy_mask": "keeps all ties; rlent keeps exactly k",
}
"""Methods that are not compared because rlent differs on purpose, and how."""


def _clip_preserve(case: Case, preserve: ClipPreserve) -> Outputs:
    tokens = tokens_of(case)
    signal, _ = preserve.on_tokens(tokens, _verl_signal(case, tokens))
    return _verl_ppo(case, tokens, signal)


def _verl_ppo(case: Case, tokens: Tokens, signal: Signal) -> Outputs:
    dual_clip = case.hyperparameters["clip_c"]
    objective = _objective("ppo", _verl_aggregate(case), dual_clip=dual_clip)
    return _verl_outputs(tokens, signal, objective)


def _verl_outputs(tokens: Tokens, signal: Signal, objective: Objective) -> Outputs:
    step = Step(micro_batches=1, tokens=signal.count.sum(), max_length=signal.count.shape[1])
    loss = objective(tokens, signal, counted=step, everything=step)
    (grad_logp,) = gradients(loss, tokens.logp)
    per_token = objective.surrogate.function(tokens, signal, **objective.options)
    return {
        "loss": loss.detach(),
        "grad_logp": grad_logp,
        "per_token_loss": per_token.detach(),
    }


def _verl_signal(case: Case, tokens: Tokens) -> Signal:
    given = case.hyperparameters
    bounds = 1.0 - given["clip_low"], 1.0 + given["clip_high"]
    return signal_of(tokens, case.inputs["advantages"], bounds)


def _verl_aggregate(case: Case) -> str:
    name = case.hyperparameters["agg"]
    if name not in VERL_AGGREGATES:
        raise ConfigError(
            "the case averages its loss in a way that rlent does not have",
            where=str(case.path),
            key="hyperparameters.agg",
            expected=", ".join(VERL_AGGREGATES),
            given=name,
        )
    return VERL_AGGREGATES[name]


def _objective(surrogate: str, aggregate: str, **options: Any) -> Objective:
    return Objective(
        surrogate=SURROGATES[surrogate], aggregate=AGGREGATES[aggregate], options=options
    )


def _leave_out_empty_rows(signal: Signal, mask: Bool[Tensor, "b t"]) -> Signal:
    """verl averages over the completions that have tokens, rlent over all: a weight moves the denominator."""
    return replace(signal, weight=signal.weight * len(mask) / mask.any(dim=1).sum())


def _break_ties_as_recorded(case: Case) -> Float[Tensor, "b t"]:
    """Entropies, one bit higher at those tied positions at the threshold that the released code happened to keep.

    Which of several equal entropies is kept is ``torch.topk``'s accident there and the position's order in rlent.
    """
    entropy = case.inputs["entropy"].clone()
    kept = case.outputs["entropy_top_mask"].bool()
    for row, column in case.remarks["positions_tied_at_threshold"]:
        if kept[row, column]:
            entropy[row, column] = entropy[row, column].nextafter(entropy.new_tensor(torch.inf))
    return entropy
