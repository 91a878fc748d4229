"""Interventions that add a term to the loss, and their controllers."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rlent.aggregate import Step
from rlent.conformance.cases import Case
from rlent.conformance.methods.method import FLOAT64, Method, Outputs
from rlent.conformance.methods.verl import only, verl_ppo, verl_signal
from rlent.conformance.records import gradients, rollouts_of, signal_of, tokens_of
from rlent.interventions import (
    AdaptiveEntropy,
    EntropyBonus,
    EntropyMinimisation,
    ForkingTokens,
    StepStatistics,
)
from rlent.interventions.adaptive_entropy import AdaptiveEntropyStages, SkyworkStages, TRLStages
from rlent.numerics import fill
from rlent.objective import build_objective
from rlent.types import Selection, Tokens
from rlent_kernels import token_stats


def epo(case: Case) -> Outputs:
    entropy = case.inputs["entropy"].clone().requires_grad_()
    tokens = tokens_of(case, entropy=entropy)
    bonus = EntropyBonus(weight=case.hyperparameters["entropy_coeff"])
    signal, _ = bonus.on_tokens(tokens, verl_signal(case, tokens))
    (grad_entropy,) = gradients(signal.penalty.sum() / tokens.mask.sum(), entropy)
    return {"grad_entropy": grad_entropy, **only(verl_ppo(case, tokens, signal), "grad_logp")}


def skywork_controller(case: Case) -> Outputs:
    given = case.hyperparameters
    stages = AdaptiveEntropy(
        as_released="skywork",
        target=given["target"],
        delta=given["delta"],
        smallest=given["min"],
        largest=given["max"],
        initial=given["init"],
    ).build()
    assert isinstance(stages, SkyworkStages)
    rows: dict[str, list[float]] = defaultdict(list)
    for entropy, old_logp in zip(case.inputs["entropy"], case.inputs["old_logp"], strict=True):
        inputs = {**case.inputs, "logp": old_logp, "old_logp": old_logp}
        tokens = tokens_of(replace(case, inputs=inputs), entropy=entropy)
        stages.on_advantages(rollouts_of(tokens), old_logp)
        rows["applied_coef"].append(stages.applied)
        rows["entropy_term"].append(-_penalty(stages, tokens, tokens.mask).item())
        rows["measured_entropy"].append(stages.state_dict()["entropy"])
        rows["coef_after"].append(stages.state_dict()["weight"])
        rows["enabled_after"].append(stages.low)
    return _in_rows(rows)


def trl_adaptive_entropy(case: Case) -> Outputs:
    """TRL averages the bonus over the micro-batch's tokens whatever the loss type, which rlent does for bnpo."""
    given = case.hyperparameters
    stages = AdaptiveEntropy(
        as_released="trl",
        target=given["entropy_target"],
        delta=given["entropy_coef_delta"],
        smallest=given["entropy_coef_min"],
        largest=given["entropy_coef_max"],
        initial=given["entropy_coef"],
    ).build()
    measured = given["last_world_entropy"]
    stages.load_state_dict({"weight": given["entropy_coef"], "entropy": measured})
    assert isinstance(stages, TRLStages)
    chosen = ForkingTokens(fraction=given["top_entropy_quantile"], as_released=True)
    rows: dict[str, list[float]] = defaultdict(list)
    for number, entropy in enumerate(case.inputs["entropy"], start=1):
        tokens = tokens_of(case, entropy=entropy)
        advantage = case.inputs["advantages_1d"].unsqueeze(1).expand_as(entropy)
        bounds = 1.0 - given["epsilon_low"], 1.0 + given["epsilon_high"]
        plain = signal_of(tokens, advantage, bounds)
        select = chosen.on_tokens(tokens, plain)[0].select
        step = Step(
            micro_batches=given["grad_accum"],
            tokens=tokens.mask.sum(),
            max_length=given["max_completion_length"],
        )
        policy = build_objective(given["loss_type"])(
            tokens, replace(plain, select=select), counted=step, everything=step
        )
        rows["applied_coef"].append(stages.applied)
        bonus = _penalty(stages, tokens, select) / given["grad_accum"]
        rows["loss_sequence"].append((policy + bonus).item())
        if number % given["grad_accum"] == 0:
            stages.on_step(StepStatistics(step=number, tokens=0.0, entropy=0.0, selected=0.0))
        rows["measured_entropy"].append(stages.state_dict()["entropy"])
        rows["coef_after"].append(stages.state_dict()["weight"])
    return _in_rows(rows)


def _penalty(
    stages: AdaptiveEntropyStages, tokens: Tokens, select: Bool[Tensor, "b t"]
) -> Float[Tensor, ""]:
    """What the controller adds to a loss that is averaged over the tokens of the micro-batch."""
    nothing = torch.zeros_like(tokens.entropy)
    plain = replace(signal_of(tokens, nothing, bounds=(1.0, 1.0)), select=select)
    signal, _ = stages.on_tokens(tokens, plain)
    return fill(signal.penalty, tokens.mask).sum() / tokens.mask.sum()


def _in_rows(rows: Mapping[str, Sequence[float]]) -> Outputs:
    return {name: torch.tensor(values, dtype=torch.float64) for name, values in rows.items()}


def one_shot_em(case: Case) -> Outputs:
    """On whole sequences, and on the places of them that the released code takes for tokens: some are in prompts."""
    given = case.hyperparameters
    prompts = case.inputs["prompt_ids"]
    ids = torch.cat([prompts, case.inputs["generated_ids"]], dim=1)
    begin = (prompts != given["pad_token_id"]).sum(1, keepdim=True)
    mask = (torch.arange(ids.shape[1]) >= begin) & (ids != given["pad_token_id"])
    logits = case.inputs["logits"].clone().requires_grad_()
    entropy = token_stats(
        logits,
        torch.eye(logits.shape[-1], dtype=logits.dtype),
        ids,
        temperature=given["loss_temperature"],
    ).entropy
    config = EntropyMinimisation(as_released=True)
    nothing = torch.zeros(ids.shape, dtype=logits.dtype)
    inputs = {"logp": nothing, "old_logp": nothing, "mask": mask}
    tokens = tokens_of(replace(case, inputs=inputs))
    tokens = replace(tokens, statistics=dict.fromkeys(config.statistics, entropy))
    selection, _ = config.on_select(rollouts_of(tokens), Selection(select=mask, count=mask))
    plain = signal_of(tokens, nothing, bounds=(1.0, 1.0))
    signal, _ = config.on_tokens(tokens, replace(plain, select=selection.select))
    step = Step(micro_batches=1, tokens=mask.sum(), max_length=ids.shape[1])
    loss = build_objective("bnpo")(tokens, signal, counted=step, everything=step)
    return {
        "loss": loss.detach(),
        "gen_mask": mask,
        "token_entropy": entropy.detach(),
        "grad_logits": gradients(loss, logits)[0],
    }


PENALTY_METHODS: dict[str, Method] = {
    "epo": Method(
        outputs=epo, remark="gradients; what is added to the bonus is a constant without any"
    ),
    "skywork_controller": Method(outputs=skywork_controller, tolerance=FLOAT64),
    "trl_adaptive_entropy": Method(outputs=trl_adaptive_entropy, tolerance=FLOAT64),
    "one_shot_em": Method(
        outputs=one_shot_em,
        tolerance=FLOAT64,
        remark="with the code's places inside prompts, which in training are none",
    ),
}
