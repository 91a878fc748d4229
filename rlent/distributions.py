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
    "is_top1",
    "kept_log_probs",
    "nucleus_entropy",
    "open_nucleus_entropy",
    "clamped_entropy",
    "mean_top_log_prob",
]

MEANING: dict[Name, str] = {
    "log_probs": "log-probability of the token",
    "logsumexp": "logsumexp of the logits, which are divided by the sampling temperature",
    "mean_logits": "mean of those logits over the vocabulary",
    "is_top1": "whether the token is the most probable one, a bool",
    "kept_log_probs": "log-probability of the token among those of at least the number times the largest probability, "
    "normalised there; -inf where it is none of them",
    "nucleus_entropy": "entropy on the nucleus whose mass reaches the number, normalised there",
    "open_nucleus_entropy": "the same without the token with which the mass reaches the number, unless it is alone",
    "clamped_entropy": "entropy without the least probable tokens, a share of the vocabulary that the number says",
    "mean_top_log_prob": "mean log-probability of as many most probable tokens as the number says",
}
"""Every statistic, and what its number is."""

DIFFERENTIABLE: frozenset[Name] = frozenset(
    {"log_probs", "nucleus_entropy", "open_nucleus_entropy", "clamped_entropy", "mean_top_log_prob"}
)


@dataclass(frozen=True, slots=True)
class Statistic:
    """A statistic by its name in ``MEANING``, with the number that it takes, if any."""

    name: Name
    number: float | None = None

    def __str__(self) -> str:
        return self.name if self.number is None else f"{self.name}({self.number!r})"
