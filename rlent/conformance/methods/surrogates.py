"""Plain surrogates: verl's policy losses and TRL's loss types."""

import math

import torch

from rlent.aggregate import AGGREGATES, Step
from rlent.conformance.cases import Case
from rlent.conformance.methods.method import EPSILON_IN_DENOMINATOR, FLOAT64, Method, Outputs
from rlent.conformance.methods.verl import (
    leave_out_empty_rows,
    only,
    verl_aggregate,
    verl_objective,
    verl_outputs,
    verl_ppo,
    verl_signal,
)
from rlent.conformance.records import gradients, signal_of, tokens_of
from rlent.conformance.trl_loss import trl_loss
from rlent.numerics import fill
from rlent.objective import Objective

VERL_AVERAGES = {
    "token-mean": "step_token_mean",
    "seq-mean-token-sum": "sequence_sum",
    "seq-mean-token-sum-norm": "constant",
    "seq-mean-token-mean": "sequence_mean",
}
"""verl's ``loss_agg_mode`` as names in ``AGGREGATES``."""


def verl_vanilla(case: Case) -> Outputs:
    tokens = tokens_of(case)
    return verl_ppo(case, tokens, verl_signal(case, tokens))


def verl_cispo(case: Case) -> Outputs:
    tokens = tokens_of(case)
    objective = verl_objective("cispo", verl_aggregate(case), sides="both")
    return verl_outputs(tokens, verl_signal(case, tokens), objective)


def verl_gspo(case: Case) -> Outputs:
    tokens = tokens_of(case)
    signal = leave_out_empty_rows(verl_signal(case, tokens), tokens.mask)
    return verl_outputs(tokens, signal, verl_objective("gspo", "sequence_mean"))


def verl_geo_mean(case: Case) -> Outputs:
    """It averages over all rows, also those without tokens."""
    given = case.hyperparameters
    tokens = tokens_of(case)
    objective = verl_objective(
        "gmpo", "sequence_mean", epsilon=given["clip_low"], epsilon_high=given["clip_high"]
    )
    bounds = objective.surrogate.bounds(0.0, None)
    signal = signal_of(tokens, case.inputs["advantages"], bounds)
    return only(verl_outputs(tokens, signal, objective), "loss", "grad_logp")


def verl_dppo(case: Case) -> Outputs:
    given = case.hyperparameters
    objective = verl_objective(
        "dppo",
        verl_aggregate(case),
        divergence="tv" if case.method == "verl_dppo_tv" else "kl",
        delta=given["clip_low"],
        delta_high=given["clip_high"],
        max_ratio=given["clip_c"],
    )
    return _without_bounds(case, objective)


def verl_dro(case: Case) -> Outputs:
    objective = verl_objective("dro", verl_aggregate(case), beta=case.hyperparameters["dro_beta"])
    return _without_bounds(case, objective)


def verl_agg_loss(case: Case) -> Outputs:
    """verl's averages, which leave out completions without tokens."""
    info, mask = case.hyperparameters["global_batch_info"], case.mask
    ranks = info["dp_size"]
    sequences = info.get("global_batch_size", mask.any(dim=1).sum().item())
    step = Step(
        micro_batches=1,
        tokens=torch.as_tensor(info.get("batch_num_tokens", mask.sum().item()) / ranks),
        max_length=info.get("loss_scale_factor", mask.shape[1]),
        sequences=torch.as_tensor(sequences / ranks),
    )
    outputs: dict[str, torch.Tensor] = {}
    for mode, aggregate in VERL_AVERAGES.items():
        values = case.inputs["loss_mat"].clone().requires_grad_()
        loss = AGGREGATES[aggregate](fill(values, mask), mask, step)
        (outputs[f"grad_{mode}"],) = gradients(loss, values)
        outputs[f"loss_{mode}"] = loss.detach()
    return outputs


def verl_sapo(case: Case) -> Outputs:
    positive, negative = case.hyperparameters["tau_pos"], case.hyperparameters["tau_neg"]
    objective = verl_objective(
        "sapo", "sequence_mean", temperature_positive=positive, temperature_negative=negative
    )
    return _without_bounds(case, objective)


def _without_bounds(case: Case, objective: Objective) -> Outputs:
    tokens = tokens_of(case)
    signal = signal_of(tokens, case.inputs["advantages"], bounds=(0.0, math.inf))
    if objective.aggregate is AGGREGATES["sequence_mean"]:
        signal = leave_out_empty_rows(signal, tokens.mask)
    return verl_outputs(tokens, signal, objective)


SURROGATE_METHODS: dict[str, Method] = {
    "verl_vanilla": Method(outputs=verl_vanilla),
    "verl_cispo": Method(outputs=verl_cispo),
    "verl_gspo": Method(outputs=verl_gspo),
    "verl_sapo": Method(outputs=verl_sapo),
    "verl_geo_mean": Method(outputs=verl_geo_mean, tolerance=3 * EPSILON_IN_DENOMINATOR),
    "verl_dppo_tv": Method(outputs=verl_dppo),
    "verl_dppo_kl": Method(outputs=verl_dppo),
    "verl_dro": Method(outputs=verl_dro),
    "verl_agg_loss": Method(outputs=verl_agg_loss, remark="token-sum is not in rlent"),
    "trl_grpo": Method(outputs=trl_loss, tolerance=FLOAT64),
    "trl_bnpo": Method(outputs=trl_loss, tolerance=FLOAT64),
    "trl_dr_grpo": Method(outputs=trl_loss, tolerance=FLOAT64),
    "trl_dapo": Method(outputs=trl_loss, tolerance=FLOAT64),
    "trl_luspo": Method(outputs=trl_loss, tolerance=FLOAT64),
    "trl_cispo": Method(outputs=trl_loss, tolerance=FLOAT64),
    "trl_sapo": Method(outputs=trl_loss, tolerance=FLOAT64),
}
