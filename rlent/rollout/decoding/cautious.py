"""Cautious next-token prediction: where the model is unsure, several continuations, of which the most probable is kept.

CNTP, arXiv 2507.03038, Algorithm 1. With ``H`` the entropy (nats) of the distribution that the next token would be
drawn from, after temperature and truncation::

    N = max(1, min(N_max, floor((H - H_min) / (H_max - H_min) * N_max)))

For N = 1 a token is drawn. Otherwise N continuations are drawn independently, each until a punctuation mark or its end,
and the one of lowest perplexity is appended whole, the first of equal ones::

    perplexity = exp(-(1/n) sum log p)          over its own n tokens, of the distribution drawn from

The entropy is not looked at within a continuation. ``max_trials: 1`` is plain sampling. Defaults are the released
scripts': 0.01, 1.5, 10.

``as_released: true`` interpolates as the release does, ``N = floor(1 + (N_max - 1) * clip(share, 0, 1))``: a second
continuation from an entropy of 0.176 on instead of 0.308. Read: the released generation loop, and Algorithm 1 as an
image; whether the paper takes entropy and perplexity before or after truncation is unverified, the release does so
after it. In the release a punctuation mark is the one token that encodes it; here it is any token that ends in it.

A completion's law is no product of the distributions noted, so such completions cannot be trained on.

Recipe, with the sampling of the released scripts on MATH; those on GSM8K have temperature 1.2 and top-p 0.9::

    evaluation: {samples: 8, temperature: 0.6, top_p: 0.9, decoding: {cautious: {}}}
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from jaxtyping import Float, Int
from torch import Tensor

from rlent.errors import ConfigError
from rlent.rollout.decoding.rule import DecodingRule
from rlent.rollout.sampling import Sampling, Step, truncated
from rlent.rollout.truncation import nats


@dataclass(frozen=True, kw_only=True)
class Cautious(DecodingRule):
    """Try several continuations up to the next punctuation mark where the entropy is high."""

    name: ClassVar[str] = "cautious"
    paper: ClassVar[str] = "Cautious Next Token Prediction, arXiv 2507.03038"
    trains: ClassVar[bool] = False

    min_entropy: float = 0.01
    """Nats at which the number of continuations begins to rise."""
    max_entropy: float = 1.5
    """Nats from which on it is `max_trials`."""
    max_trials: int = 10
    """Most continuations; 1 is plain sampling."""
    punctuation: tuple[str, ...] = (".", ",", "\n", "?", "!", ":", ";", ")", "]", "}")
    """Ends of tokens, spaces behind them left aside, with which a continuation ends."""
    as_released: bool = False
    """Count continuations as the released code does."""

    def __post_init__(self) -> None:
        if not 0 <= self.min_entropy < self.max_entropy:
            raise ValueError(
                f"min_entropy must be at least 0 and below max_entropy, {self.max_entropy:g}, got {self.min_entropy:g}"
            )
        if self.max_trials < 1:
            raise ValueError(f"max_trials must be at least 1, got {self.max_trials}")
        if not self.punctuation or "" in self.punctuation:
            raise ValueError("punctuation must be marks, at least one")

    def check_tokenizer(self, tokenizer: Any | None) -> None:
        if tokenizer is None:
            raise ConfigError(
                "punctuation is found in text, which needs the tokenizer", key="decoding.cautious"
            )

    def __call__(self, step: Step) -> Float[Tensor, "b v"]:
        return truncated(step.scores, step.sampling).log_softmax(-1)

    def trials(self, scores: Float[Tensor, "b v"], sampling: Sampling) -> Int[Tensor, " b"]:
        """Number of continuations for each row of penalised logits."""
        drawn_from = truncated(scores, sampling).log_softmax(-1)
        return self.count(nats(drawn_from.exp(), drawn_from))

    def count(self, entropies: Float[Tensor, " b"]) -> Int[Tensor, " b"]:
        """Number of continuations at each entropy."""
        share = (entropies - self.min_entropy) / (self.max_entropy - self.min_entropy)
        if self.as_released:
            return (1 + (self.max_trials - 1) * share.clamp(0, 1)).long()
        return (share * self.max_trials).floor().long().clamp(1, self.max_trials)

    def ends(self, text: str) -> bool:
        """Whether a continuation ends with a token of this text."""
        return text.rstrip(" ").endswith(self.punctuation)


def perplexity(log_probs: Float[Tensor, " t"]) -> Float[Tensor, ""]:
    """``exp(-mean log p)``."""
    return (-log_probs.double().mean()).exp()
