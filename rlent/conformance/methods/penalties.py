"""Interventions that add a term to the loss, and their controllers."""

from dataclasses import replace

import torch

from rlent.conformance.cases import Case
from rlent.conformance.methods.method import FLOAT64, Method, Outputs
from rlent.conformance.methods.verl import only, verl_ppo, verl_signal
from rlent.conformance.records import gradients, signal_of, tokens_of
from rlent.interventions import AdaptiveEntropy, EntropyBonus, StepStatistics
from rlent.interventions.adaptive_entropy import AdaptiveEntropyStages


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
        target=given["target"],
        delta=given["delta"],
        smallest=given["min"],
        largest=given["max"],
        initial=given["init"],
    ).build()
    rows: dict[str, list[float]] = {
        name: [] for name in ("applied_coef", "entropy_term", "coef_after", "enabled_after")
    }
    for step, measured in enumerate(case.outputs["measured_entropy"].tolist()):
        rows["applied_coef"].append(stages.applied)
        rows["entropy_term"].append(_bonus(case, stages, step))
        _advance(stages, step, measured)
        rows["coef_after"].append(stages.state_dict()["weight"])
        rows["enabled_after"].append(stages.state_dict()["low"])
    return {name: torch.tensor(values, dtype=torch.float64) for name, values in rows.items()}


def trl_adaptive_entropy(case: Case) -> Outputs:
    given = case.hyperparameters
    stages = AdaptiveEntropy(
        target=given["entropy_target"],
        delta=given["entropy_coef_delta"],
        smallest=given["entropy_coef_min"],
        largest=given["entropy_coef_max"],
        initial=given["entropy_coef"],
    ).build()
    applied, after = [], []
    for step, measured in enumerate(case.outputs["measured_entropy"].tolist()):
        applied.append(stages.applied)
        if (step + 1) % given["grad_accum"] == 0:
            _advance(stages, step, measured)
        after.append(stages.state_dict()["weight"])
    return {
        "applied_coef": torch.tensor(applied, dtype=torch.float64),
        "coef_after": torch.tensor(after, dtype=torch.float64),
    }


def _advance(stages: AdaptiveEntropyStages, step: int, entropy: float) -> None:
    stages.on_step(StepStatistics(step=step, tokens=1.0, entropy=entropy, selected=1.0))


def _bonus(case: Case, stages: AdaptiveEntropyStages, step: int) -> float:
    """What the step's loss loses by its entropies, averaged over the tokens."""
    entropy = case.inputs["entropy"][step]
    inputs = {**case.inputs, "logp": torch.zeros_like(entropy), "old_logp": entropy}
    tokens = tokens_of(replace(case, inputs=inputs), entropy=entropy)
    plain = signal_of(tokens, torch.zeros_like(entropy), bounds=(1.0, 1.0))
    signal, _ = stages.on_tokens(tokens, plain)
    return float(-signal.penalty.sum() / tokens.mask.sum())


MEASURED_ELSEWHERE = "the controller, given the measurements of the released code"

PENALTY_METHODS: dict[str, Method] = {
    "epo": Method(
        outputs=epo, remark="gradients; what is added to the bonus is a constant without any"
    ),
    "skywork_controller": Method(
        outputs=skywork_controller, tolerance=FLOAT64, remark=MEASURED_ELSEWHERE
    ),
    "trl_adaptive_entropy": Method(
        outputs=trl_adaptive_entropy, tolerance=FLOAT64, remark=MEASURED_ELSEWHERE
    ),
}
