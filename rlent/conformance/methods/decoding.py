"""Rules of decoding, and what is measured of sampled completions."""

from typing import Any

import torch
from torch import Tensor

from rlent.conformance.cases import Case
from rlent.conformance.methods.method import Method, Outputs
from rlent.rollout.branching_factor import branching_factor as factor_of
from rlent.rollout.decoding import Cautious
from rlent.rollout.decoding.cautious import perplexity
from rlent.rollout.truncation import keep_typical, nats


def typical(case: Case) -> Outputs:
    kept = keep_typical(case.inputs["scores"], case.hyperparameters["mass"])
    return {"keep": kept.isfinite(), "kept_probs": kept.softmax(-1)}


def cntp(case: Case) -> Outputs:
    given = case.hyperparameters
    rule = Cautious(
        min_entropy=given["entropy_threshold_low"],
        max_entropy=given["entropy_threshold_high"],
        max_trials=given["max_trials"],
        as_released=True,
    )
    log_probs = case.inputs["scores"].log_softmax(-1)
    entropies = nats(log_probs.exp(), log_probs)
    trials = [perplexity(torch.tensor(probs).double().log()) for probs in given["trials"]]
    return {
        "entropy": entropies,
        "trial_count": rule.count(entropies),
        "perplexities": torch.stack(trials),
        "best_trial": torch.stack(trials).argmin(),
    }


def branching_factor(case: Case) -> Outputs:
    limit = case.hyperparameters["asymptotic_limit"]
    noted = zip(case.outputs["token_logprob"], case.outputs["token_entropy"], strict=True)
    factors = torch.tensor(
        [
            factor_of(_rows(logp), _rows(entropy), limit=limit, as_released=True)
            for logp, entropy in noted
        ]
    ).double()
    return {"bf_per_prompt": factors, "bf": factors.mean()}


def _rows(values: Any) -> list[Tensor]:
    return [torch.tensor(row, dtype=torch.float64) for row in values]


DECODING_METHODS: dict[str, Method] = {
    "typical": Method(outputs=typical),
    "cntp": Method(outputs=cntp, remark="the release adds 1e-10 inside the logarithm"),
    "branching_factor": Method(
        outputs=branching_factor,
        tolerance=1e-6,
        remark="the nucleus's numbers per token are taken as recorded",
    ),
}
