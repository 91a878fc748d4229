"""Interventions that move the bounds on the ratio, or what is kept outside them."""

from dataclasses import replace

import torch

from rlent.conformance.cases import Case
from rlent.conformance.methods.method import Method, Outputs
from rlent.conformance.methods.verl import only, verl_objective, verl_outputs, verl_ppo, verl_signal
from rlent.conformance.records import gradients, rollouts_of, signal_of, tokens_of
from rlent.interventions import (
    ASPO,
    BAPO,
    ERC,
    Archer,
    ClipPreserve,
    DCPOClip,
    Intervention,
    PositiveLikelihood,
    chain,
)
from rlent.interventions.entropy_split import high_entropy_tokens
from rlent.types import Selection


def gppo(case: Case) -> Outputs:
    return _clip_preserve(case, ClipPreserve(keep_low=1.0, keep_high=1.0))


def ce_gppo(case: Case) -> Outputs:
    given = case.hyperparameters
    outputs = _clip_preserve(case, ClipPreserve(keep_low=given["beta1"], keep_high=given["beta2"]))
    tokens = tokens_of(case)
    correct = replace(tokens, reward=case.inputs["correct"].double())
    likelihood = PositiveLikelihood(weight=1.0).build()
    everything = Selection(select=correct.mask, count=correct.mask)
    likelihood.on_select(rollouts_of(correct), everything)
    signal, _ = likelihood.on_tokens(correct, verl_signal(case, correct))
    nll = signal.penalty.sum() / correct.mask.sum().clamp(min=1)
    (gradient,) = gradients(nll, tokens.logp)
    return {
        "grad_logp": outputs["grad_logp"],
        "positive_nll": nll.detach(),
        "grad_positive_nll": gradient,
    }


def erc_grpo(case: Case) -> Outputs:
    return _erc(case, [])


def erc_gppo(case: Case) -> Outputs:
    return _erc(case, [ClipPreserve(keep_low=1.0, keep_high=1.0)])


def _erc(case: Case, before: list[Intervention]) -> Outputs:
    given = case.hyperparameters
    tokens = replace(
        tokens_of(case, entropy=case.inputs["entropy"]), old_entropy=case.inputs["old_entropy"]
    )
    links = chain([*before, ERC(low=given["erc_low"], high=given["erc_high"])])
    signal, _ = links.on_tokens(tokens, verl_signal(case, tokens))
    kept = (signal.select & tokens.mask).sum().double() / tokens.mask.sum()
    return {"kept_fraction": kept, **only(verl_ppo(case, tokens, signal), "grad_logp")}


def archer(case: Case) -> Outputs:
    given = case.hyperparameters
    config = Archer(
        quantile=given["quantile"],
        epsilon_low_entropy=(given["low_H_clip_low"], given["low_H_clip_high"]),
        epsilon_high_entropy=(given["high_H_clip_low"], given["high_H_clip_high"]),
        kl_low_entropy=given["kl_coef"],
        kl_high_entropy=given["high_H_kl_coef"],
        as_released=True,
    )
    tokens = tokens_of(case, entropy=case.inputs["entropy"])
    plain = signal_of(tokens, case.inputs["advantages"], bounds=(1.0, 1.0))
    signal, _ = config.on_tokens(tokens, plain)
    policy = verl_ppo(case, tokens, replace(signal, penalty=plain.penalty))
    high = high_entropy_tokens(tokens, config.quantile)
    return {
        "low_entropy_token_mask": tokens.mask & ~high,
        "high_entropy_token_mask": high,
        "policy_loss": policy["loss"],
        "grad_policy_loss": policy["grad_logp"],
        **verl_ppo(case, tokens, signal),
    }


def aspo(case: Case) -> Outputs:
    given = case.hyperparameters
    config = ASPO(
        cap=given["neg_c"],
        quantile=given["quantile"],
        epsilon_low_entropy=(given["neg_low_H"], given["pos_low_H"]),
        epsilon_high_entropy=(given["neg_high_H"], given["pos_high_H"]),
    )
    tokens = tokens_of(case, entropy=case.inputs["entropy"])
    plain = signal_of(tokens, case.inputs["advantages"], bounds=(1.0, 1.0))
    signal, _ = config.on_tokens(tokens, plain)
    low = tokens.mask & ~high_entropy_tokens(tokens, config.quantile)
    return {"low_entropy_token_mask": low, **only(verl_ppo(case, tokens, signal), "grad_logp")}


def dcpo(case: Case) -> Outputs:
    given = case.hyperparameters
    config = DCPOClip(
        epsilon_low=given["clip_low"],
        epsilon_high=given["clip_high"],
        cap=max(10.0, given["clip_c"]),
        as_released=True,
    )
    tokens = tokens_of(case)
    plain = signal_of(tokens, case.inputs["advantages"], bounds=(1.0, 1.0))
    # The case has bounds for masked positions too.
    signal, _ = config.on_tokens(replace(tokens, mask=torch.ones_like(tokens.mask)), plain)
    objective = verl_objective("ppo", "step_token_mean", dual_clip=given["clip_c"])
    counted = given["batch_response_len"] or tokens.mask.sum()
    outputs = verl_outputs(tokens, signal, objective, torch.as_tensor(counted))
    return {"ratio_low": signal.clip_low, "ratio_high": signal.clip_high, **outputs}


def bapo(case: Case) -> Outputs:
    given = case.hyperparameters
    config = BAPO(
        target=given["target"],
        low=(given["low_start"], given["low_max"]),
        high=(given["high_start"], given["high_max"]),
        low_step=given["low_step"],
        high_step=given["high_step"],
        as_released=True,
    )
    tokens = tokens_of(case)
    plain = signal_of(tokens, case.inputs["advantages"], bounds=(1.0, 1.0))
    signal, metrics = config.on_tokens(tokens, plain)
    share = torch.tensor(metrics["positive_share"], dtype=torch.float64)
    return {
        "clip_low": signal.clip_low[0, 0],
        "clip_high": signal.clip_high[0, 0],
        "pos_neg_ratio": share / (1 - share),
        **verl_ppo(case, tokens, signal),
    }


def _clip_preserve(case: Case, preserve: ClipPreserve) -> Outputs:
    tokens = tokens_of(case)
    signal, _ = preserve.on_tokens(tokens, verl_signal(case, tokens))
    return verl_ppo(case, tokens, signal)


NO_VALUE_OUTSIDE = "gradients; tokens that do not learn add nothing to rlent's loss value"

CLIPPING_METHODS: dict[str, Method] = {
    "gppo": Method(outputs=gppo),
    "ce_gppo": Method(
        outputs=ce_gppo,
        remark="gradients; the loss value of clipped tokens is PPO's in rlent",
    ),
    "erc_grpo": Method(outputs=erc_grpo, remark=NO_VALUE_OUTSIDE),
    "erc_gppo": Method(outputs=erc_gppo, remark=NO_VALUE_OUTSIDE),
    "archer": Method(outputs=archer),
    "aspo": Method(outputs=aspo, remark="gradients; the released loss values have two scales"),
    "dcpo": Method(outputs=dcpo),
    "bapo": Method(outputs=bapo),
}
