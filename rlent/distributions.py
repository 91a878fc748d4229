"""What an intervention may ask of the next-token distribution at every token, beyond log-probability and entropy.

The head answers by name (``rlent_kernels``), in nats, at the sampling temperature, over the full vocabulary unless the
statistic says otherwise; no logits are kept. Those in ``DIFFERENTIABLE`` carry gradient under the current policy.
"""

from dataclasses import dataclass
from typing import Literal

Name = Literal[
    "log_probs",
    "logsumexp",
    "mean_logits",
    "entropy_change",
    "is_top1",
    "kept_log_probs",
    "nucleus_entropy",
    "open_nucleus_entropy",
    "clamped_entropy",
    "mean_top_log_prob",
    "next_entropy",
]

MEANING: dict[Name, str] = {
    "log_probs": "log-probability of the token",
    "logsumexp": "logsumexp of the logits, which are divided by the sampling temperature",
    "mean_logits": "mean of those logits over the vocabulary",
    "entropy_change": "p_a (log p_a + H) - sum_j p_j^2 (log p_j + H) with a the token and H the entropy: how much a "
    "step along the gradient of log p_a on the logits lowers the entropy, to first order in its size",
    "is_top1": "whether the token is the most probable one, a bool",
    "kept_log_probs": "log-probability of the token among those of at least the number times the largest probability, "
    "normalised there; -inf where it is none of them",
    "nucleus_entropy": "entropy on the nucleus whose mass reaches the number, normalised there",
    "open_nucleus_entropy": "the same without the token with which the mass reaches the number, unless it is alone",
    "clamped_entropy": "entropy without the least probable tokens, a share of the vocabulary that the number says",
    "mean_top_log_prob": "mean log-probability of as many most probable tokens as the number says",
    "next_entropy": "entropy of the distribution behind the token, from which its successor, if it has one, is drawn",
}
"""Every statistic, and what its number is."""

DIFFERENTIABLE: frozenset[Name] = frozenset(
    {
        "log_probs",
        "nucleus_entropy",
        "open_nucleus_entropy",
        "clamped_entropy",
        "mean_top_log_prob",
        "next_entropy",
    }
)


@dataclass(frozen=True, slots=True)
class Statistic:
    """A statistic by its name in ``MEANING``, with the number that it takes, if any."""

    name: Name
    number: float | None = None

    def __str__(self) -> str:
        return self.name if self.number is None else f"{self.name}({self.number!r})"
