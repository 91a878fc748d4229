"""How well do estimators of a token's effect on entropy foresee it? On policies that are softmaxes of free logits.

    python scripts/entropy_change_study.py

Every state has logits of its own, a token ``a`` drawn from its policy and an advantage ``A``; the step is plain policy
gradient on the logits, ``z += eta A (1_a - pi)``. The true change of the entropy (nats) is compared with

    exact first order     -A ( pi_a (log pi_a + H) - sum_j pi_j^2 (log pi_j + H) )          rlent_kernels entropy_change
    STEER, paper          -A pi_a (1 - pi_a) (log pi_a + H)                                  arXiv 2510.10150
    STEER, released       -A (1 - pi_a) (log pi_a + H)
    covariance            -(A - mean A) (log pi_a - mean log pi)                             Clip-Cov, arXiv 2505.22617

by Pearson's and Spearman's correlation, and by that of the sizes, which is all that STEER reads.
"""

import argparse
from dataclasses import dataclass

import torch
from torch import Tensor

from rlent_kernels import token_stats


@dataclass(frozen=True, kw_only=True, slots=True)
class States:
    """Independent softmax policies, a token of each, and its advantage."""

    logits: Tensor
    """[n v]"""
    token: Tensor
    """[n]"""
    advantage: Tensor
    """[n]"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Correlation:
    """Of an estimate with the truth."""

    pearson: float
    spearman: float
    sizes: float
    """Pearson's, of the absolute values."""


def random_states(number: int, vocabulary: int, *, seed: int) -> States:
    """Policies from nearly uniform to nearly sure: normal logits times a factor that is uniform in 0.2..6."""
    g = torch.Generator().manual_seed(seed)
    spread = 0.2 + 5.8 * torch.rand(number, 1, generator=g, dtype=torch.float64)
    logits = spread * torch.randn(number, vocabulary, generator=g, dtype=torch.float64)
    token = torch.multinomial(logits.softmax(-1), 1, generator=g).squeeze(1)
    return States(
        logits=logits,
        token=token,
        advantage=torch.randn(number, generator=g, dtype=torch.float64),
    )


def entropy(logits: Tensor) -> Tensor:
    """Nats [n]."""
    logp = logits.log_softmax(-1)
    return -(logp.exp() * logp).sum(-1)


def true_change(states: States, step: float) -> Tensor:
    """Change [n] of each state's entropy by one step of policy gradient."""
    chosen = torch.nn.functional.one_hot(states.token, states.logits.size(1))
    direction = states.advantage.unsqueeze(1) * (chosen - states.logits.softmax(-1))
    return entropy(states.logits + step * direction) - entropy(states.logits)


def estimates(states: States) -> dict[str, Tensor]:
    """Each estimator's prediction [n], up to a positive factor."""
    advantage = states.advantage
    identity = torch.eye(states.logits.size(1), dtype=torch.float64)
    stats = token_stats(states.logits, identity, states.token, also=("entropy_change",))
    logp, h = stats.log_probs, stats.entropy
    assert stats.entropy_change is not None
    released = (1 - logp.exp()) * (logp + h)
    return {
        "exact first order": -advantage * stats.entropy_change,
        "STEER, paper": -advantage * logp.exp() * released,
        "STEER, released": -advantage * released,
        "covariance": -(advantage - advantage.mean()) * (logp - logp.mean()),
    }


def correlations(states: States, step: float) -> dict[str, Correlation]:
    """Of each estimator with the true change."""
    truth = true_change(states, step)
    return {
        name: Correlation(
            pearson=_pearson(values, truth),
            spearman=_pearson(_ranks(values), _ranks(truth)),
            sizes=_pearson(values.abs(), truth.abs()),
        )
        for name, values in estimates(states).items()
    }


def _pearson(first: Tensor, second: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([first, second]))[0, 1])


def _ranks(values: Tensor) -> Tensor:
    return values.argsort().argsort().double()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--states", type=int, default=20_000)
    parser.add_argument("--vocabulary", type=int, default=64)
    parser.add_argument("--steps", type=float, nargs="+", default=[0.01, 0.1, 1.0])
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    states = random_states(options.states, options.vocabulary, seed=options.seed)
    print("| step | estimator | Pearson | Spearman | Pearson of sizes |\n|---:|---|---:|---:|---:|")
    for step in options.steps:
        for name, found in correlations(states, step).items():
            numbers = (found.pearson, found.spearman, found.sizes)
            print(f"| {step:g} | {name} | {' | '.join(f'{value:.3f}' for value in numbers)} |")


if __name__ == "__main__":
    main()
