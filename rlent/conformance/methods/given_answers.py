"""Losses over given answers. A case holds logits; a head whose weight is the identity makes them of themselves."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from rlent.conformance.cases import Case
from rlent.conformance.methods.method import Method, Outputs
from rlent.conformance.records import gradients
from rlent.losses import CDPO, REFERENCE, TDPO, AlignDistil, Answers, Head, PreferenceLoss
from rlent.numerics import fill
from rlent_kernels import IGNORE_INDEX, Contrast, FixedHead, contrast_kl, token_stats

SIDES = ("chosen", "rejected")
LOGITS: Mapping[str, Any] = {"temperature": 1.0, "logit_scale": 1.0, "softcap": None}


def tdpo(case: Case) -> Outputs:
    given = case.hyperparameters
    second = given["if_tdpo2"]
    loss = (
        TDPO(variant=2, alpha=given["alpha"], beta=given["beta"])
        if second
        else TDPO(variant=1, beta=given["beta"])
    )
    leaves = {side: case.inputs[f"{side}_logits"].clone().requires_grad_() for side in SIDES}
    answers = {side: answers_of(case, side, logits, loss) for side, logits in leaves.items()}
    pairs = loss.per_pair(answers["chosen"], answers["rejected"])
    grads = gradients(pairs.losses.mean(), *leaves.values())
    outputs: dict[str, Tensor] = {
        "loss": pairs.losses.mean(),
        "losses": pairs.losses,
        "chosen_rewards": pairs.chosen_reward,
        "rejected_rewards": pairs.rejected_reward,
    }
    for (side, each), grad in zip(answers.items(), grads, strict=True):
        outputs |= {
            f"{side}_margin": each.log_ratio.sum(1),
            f"{side}_kl": each.measured["ref_kl"].sum(1),
            f"{side}_logps": each.logp.sum(1),
            f"grad_{side}_logits": grad,
        }
    return {name: value.detach() for name, value in outputs.items()}


def cdpo(case: Case) -> Outputs:
    loss = CDPO(positive="", negative="", gamma=case.hyperparameters["beta"], level="position")
    leaves, answers = cdpo_answers(case, loss)
    pairs = loss.per_pair(*answers)
    grads = gradients(pairs.losses.mean(), *leaves)
    outputs: dict[str, Tensor] = {"loss": pairs.losses.mean()}
    for side, each, grad in zip(SIDES, answers, grads, strict=True):
        outputs |= {f"{side}_logps": each.logp, f"grad_{side}_logits": grad}
    return {name: value.detach() for name, value in outputs.items()}


def cdpo_answers(case: Case, loss: CDPO) -> tuple[list[Tensor], tuple[Answers, Answers]]:
    """The logits of both sides, with gradient, and the answers, rejected ones with the scores of the released code."""
    leaves = [case.inputs[f"{side}_logits"].clone().requires_grad_() for side in SIDES]
    chosen, rejected = (
        answers_of(case, side, logits, loss) for side, logits in zip(SIDES, leaves, strict=True)
    )
    return leaves, (chosen, replace(rejected, score=released_scores(case)))


def released_scores(case: Case) -> Tensor:
    """The scores as the released code lays them out, its end tokens included: see the notes of the case."""
    width = case.inputs["rejected_labels"].shape[1] - 1
    qwen = "Qwen" in case.hyperparameters["model_name"]
    scores = torch.ones(len(case.inputs["rejected_labels"]), width, dtype=torch.float64)
    for row, given in enumerate(case.inputs["ce_prob_rejected"]):
        laid_out = [0.0, *given] if qwen else [*given, 0.0]
        scores[row, : len(laid_out)] = torch.tensor(laid_out, dtype=torch.float64)
    if qwen:
        scores[:, -1] = 0.0
    return scores


def align_distil(case: Case) -> Outputs:
    lengths = torch.tensor(case.hyperparameters["prompt_id_lens"])[:, None]
    positions = torch.arange(case.inputs["input_ids"].shape[1])
    mask = case.inputs["attention_mask"].bool() & (positions >= lengths)
    return {**distilled(case, mask, slice(None)), "mask": mask}


def align_distil_on_policy(case: Case) -> Outputs:
    """Positions of tokens from the prompt's end on, but for the last of the batch's width."""
    (start,) = case.hyperparameters["prompt_id_lens"]
    tokens = case.inputs["attention_mask"][:, start:-1].bool()
    mask = torch.cat([tokens, torch.zeros_like(tokens[:, :1])], dim=1)
    return {**distilled(case, mask, slice(start, None)), "mask": mask}


def distilled(case: Case, mask: Tensor, span: slice) -> dict[str, Tensor]:
    """Loss, gradient and mean push over the positions of ``mask``."""
    student = case.inputs["student_logits"].clone().requires_grad_()
    head = head_of(student[:, span], torch.where(mask, 0, IGNORE_INDEX))
    losses, push = token_losses(case, head, mask)
    rows = [(fill(values, mask).sum(1) / mask.sum(1)).mean() for values in (losses, push)]
    (grad,) = gradients(rows[0], student)
    return {"loss": rows[0].detach(), "mean_weight": rows[1], "grad_student_logits": grad}


def token_losses(case: Case, head: Head, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Loss and push of each token; the constant push of ``theorem1`` is the kernel's alone."""
    beta, beta2 = case.hyperparameters["beta"], case.hyperparameters["beta2"]
    teacher, reference = (
        FixedHead(hidden=logits, weight=_identity(logits))
        for logits in (case.inputs["teacher_logits"], case.inputs["reference_logits"])
    )
    if case.hyperparameters["reward_boost_type"] == "theorem1":
        weight = beta / beta2
        contrast = Contrast(towards=teacher, away=reference, base=weight - 1)
        divergence, _ = contrast_kl(head.hidden, head.weight, contrast, head.rows)
        return beta2 * divergence, torch.full_like(divergence.detach(), weight)
    loss = AlignDistil(dpo_model="", reverse_model="", beta=beta, beta2=beta2)
    measured = loss.measure(head, {"dpo_model": teacher, "reverse_model": reference})
    answers = Answers(logp=measured["push"], ref_logp=None, mask=mask, measured=measured)
    return loss.per_token(answers).losses, measured["push"]


def answers_of(case: Case, side: str, logits: Tensor, loss: PreferenceLoss) -> Answers:
    """One side's answers under the logits of the policy and of the reference."""
    labels = case.inputs[f"{side}_labels"][:, 1:]
    reference = case.inputs[f"ref_{side}_logits"][:, :-1]
    fixed = {REFERENCE: FixedHead(hidden=reference, weight=_identity(reference))}
    policy = logits[:, :-1]
    return Answers(
        logp=log_probs(policy, labels),
        ref_logp=log_probs(reference, labels),
        mask=labels != IGNORE_INDEX,
        measured=loss.measure(head_of(policy, labels), fixed) if loss.in_head else {},
    )


def head_of(logits: Tensor, targets: Tensor) -> Head:
    """A head whose hidden states are its logits."""
    return Head(
        hidden=logits, weight=_identity(logits), bias=None, targets=targets, transform=LOGITS
    )


def log_probs(logits: Tensor, targets: Tensor) -> Tensor:
    """Log-probability of each target, 0 where it is ignored."""
    return token_stats(logits, _identity(logits), targets).log_probs


def _identity(logits: Tensor) -> Tensor:
    return torch.eye(logits.shape[-1], dtype=logits.dtype)


GIVEN_ANSWER_METHODS: dict[str, Method] = {
    "tdpo1": Method(outputs=tdpo),
    "tdpo2": Method(outputs=tdpo),
    "cdpo": Method(outputs=cdpo, remark="level: position, with the released weights of end tokens"),
    "aligndistil": Method(outputs=align_distil, remark="positions one late, as released"),
    "aligndistil_onpolicy": Method(outputs=align_distil_on_policy, remark="positions as released"),
}
