"""Interventions that read more of a distribution than log-probability and entropy."""

from dataclasses import replace

import torch

from rlent.aggregate import AGGREGATES, Step
from rlent.conformance.cases import Case
from rlent.conformance.methods.method import Method, Outputs
from rlent.conformance.methods.verl import only, verl_ppo, verl_signal
from rlent.conformance.records import gradients, signal_of, tokens_of
from rlent.distributions import Statistic
from rlent.interventions import LpReg, SimKO, Siren
from rlent.interventions.stages import Mean
from rlent.numerics import fill
from rlent_kernels import IGNORE_INDEX, restricted_entropy, token_stats


def entropy_from_logits(case: Case) -> Outputs:
    """The entropies are those of a head whose weight is the identity; the token at each position does not matter."""
    logits = case.inputs["logits"].clone().requires_grad_()
    stats = token_stats(
        logits,
        torch.eye(logits.shape[-1], dtype=logits.dtype),
        torch.zeros(logits.shape[:-1], dtype=torch.int64),
        temperature=case.hyperparameters["temperature"],
    )
    loss = (stats.entropy * case.inputs["weight"]).sum()
    entropy = stats.entropy.detach()
    return {
        "loss": loss.detach(),
        "entropy": entropy,
        "entropy_chunked": entropy,
        "grad_logits": gradients(loss, logits)[0],
    }


def siren(case: Case) -> Outputs:
    """The entropies are those of a head whose weight is the identity."""
    given = case.hyperparameters
    logits = case.inputs["logits"].clone().requires_grad_()
    config = Siren(
        weight=given["coef"],
        top_p=given["top_p"],
        quantile=given["mask_ratio"],
        anchor=given["anchor"],
        as_released=True,
    )
    entropy = restricted_entropy(
        logits,
        torch.eye(logits.shape[-1], dtype=logits.dtype),
        case.mask,
        top_p=config.top_p,
        crossing=False,
        temperature=given["temperature"],
    )
    selected = config.selected(entropy, case.mask)
    outputs = {"nucleus_entropy": entropy.detach(), "value_mask": selected}
    if (case.outputs["value_mask"].bool() & ~case.mask).any():
        return outputs
    zero = torch.zeros_like(entropy.detach())
    tokens = tokens_of(replace(case, inputs={**case.inputs, "logp": zero, "old_logp": zero}))
    tokens = replace(tokens, statistics={config.statistic: entropy})
    plain = signal_of(tokens, zero, bounds=(1.0, 1.0))
    signal, metrics = config.build().on_tokens(tokens, plain)
    step = Step(micro_batches=1, tokens=case.mask.sum(), max_length=case.mask.shape[1])
    penalty = AGGREGATES["sequence_mean"](fill(signal.penalty, case.mask), case.mask, step)
    total, number = config.means(entropy, case.mask)
    loss = metrics["loss"]
    assert isinstance(loss, Mean)
    return {
        **outputs,
        "entropy_loss": total / number,
        "loss": torch.as_tensor(loss.total),
        "grad_logits": gradients(penalty, logits)[0],
    }


def lp_reg(case: Case) -> Outputs:
    """The proxy is that of a head whose weight is the identity; the released filter comes before the temperature."""
    given = case.hyperparameters
    power = 1 / given["temperature"]
    config = LpReg(
        share=given["neg_share"],
        min_p=given["min_p"] ** power,
        weight=given["kl_coef"],
        as_released=True,
    )
    logits = case.inputs["old_logits"]
    stats = token_stats(
        logits,
        torch.eye(logits.shape[-1], dtype=logits.dtype),
        case.inputs["tokens"].masked_fill(~case.mask, IGNORE_INDEX),
        temperature=given["temperature"],
        min_p=config.min_p,
    )
    assert stats.kept_log_probs is not None
    tokens = replace(tokens_of(case), old_statistics={config.proxy: stats.kept_log_probs})
    plain = verl_signal(case, tokens)
    signal, _ = config.build().on_tokens(tokens, plain)
    return {
        "regularised": signal.clip_high != plain.clip_high,
        **only(verl_ppo(case, tokens, signal), "loss", "grad_logp"),
    }


def simko(case: Case) -> Outputs:
    """The case's top log-probabilities stand in for the head's; what they were before cancels in the gradient."""
    given = case.hyperparameters
    top = case.inputs["topk_logp"].clone().requires_grad_()
    config = SimKO(
        mix=given["mix_topk_coef"],
        top_k=top.shape[-1],
        boost=given["neg_scale"],
        quantile=given["tau"],
    )
    statistics = {
        config.top: top.mean(-1),
        Statistic("is_top1"): case.inputs["is_top1"].bool(),
    }
    tokens = replace(
        tokens_of(case, entropy=case.inputs["entropy"]),
        statistics=statistics,
        reward=case.inputs["scores"].sum(-1),
    )
    bounds = 1.0 - given["clip"], 1.0 + given["clip"]
    plain = signal_of(tokens, case.inputs["advantages"], bounds)
    signal, _ = config.on_tokens(tokens, plain)
    step = Step(micro_batches=1, tokens=case.mask.sum(), max_length=case.mask.shape[1])
    penalty = AGGREGATES["step_token_mean"](fill(signal.penalty, case.mask), case.mask, step)
    (grad_top,) = torch.autograd.grad(penalty, top, retain_graph=True)
    outputs = verl_ppo(case, tokens, signal)
    return {
        **only(outputs, "loss", "grad_logp"),
        "grad_topk_logp": grad_top,
        "boosted_negative_tokens": (signal.weight != plain.weight) & (plain.advantage != 0),
    }


DISTRIBUTION_METHODS: dict[str, Method] = {
    "entropy_from_logits": Method(outputs=entropy_from_logits),
    "siren": Method(
        outputs=siren,
        remark="entropies where the response is; no loss where the released code lets padding in",
    ),
    "lp_reg": Method(outputs=lp_reg),
    "simko": Method(outputs=simko),
}
