"""Every token by a small or a large model, by the entropy of the tokens before.

"Entropy Adaptive Decoding", arXiv 2502.06833, after an account and the abstract. With ``H_t`` the entropy, in bits, of
``softmax(logits)`` before temperature and truncation, of the model in use, ``M_t`` the mean of the last `window` of
them (of all, while there are fewer) and ``c`` the number of tokens since the last change::

    large model   if M_t > threshold_bits  and c >= min_dwell
    small model   if M_t <= threshold_bits and c >= min_dwell
    as before     otherwise

There is no verification of tokens. Published values of the threshold and of the least dwell could not be verified, so
neither has a default; window 5 is the paper's. Unverified as well, and decided here: a completion begins with the small
model; before the first change there is no dwell; ``H_t`` counts at once, so the token at ``t`` itself is drawn by the
model that was changed to; what becomes of the caches. ``threshold_bits: .inf`` is the small model alone,
``threshold_bits: -.inf`` the large one.

At a change the sequence leaves the batch of one model and enters that of the other, which runs the whole prefix again:
no cache is kept meanwhile, and what this costs is in ``Statistics.prefill_tokens``.

The small model is the one that is evaluated. The two must have one vocabulary. Where their output layers are padded to
different widths, the tokens that only one of them has are never drawn. Log-probabilities and entropies are noted of the
model that drew the token: such completions cannot be trained on. ``rlent eval`` reports ``large_model_tokens``, the
share of tokens that the large model drew.

Recipe::

    evaluation:
      samples: 8
      decoding: {two_models: {large_model: Qwen/Qwen2.5-14B-Instruct, threshold_bits: 0.5, min_dwell: 5}}
"""

import math
from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from rlent.rollout.decoding.rule import DecodingRule
from rlent.rollout.sampling import Step, truncated


@dataclass(frozen=True, kw_only=True)
class TwoModels(DecodingRule):
    """Draw by a large model while the mean entropy is high, and by the small one while it is low."""

    name: ClassVar[str] = "two_models"
    paper: ClassVar[str] = "Entropy Adaptive Decoding, arXiv 2502.06833, after an account"
    trains: ClassVar[bool] = False
    summarises: ClassVar[bool] = False

    large_model: str
    """Folder or name of the large model."""
    threshold_bits: float
    """Mean entropy in bits above which the large model draws."""
    min_dwell: int
    """Fewest tokens between two changes, at least 1."""
    window: int = 5
    """Tokens of which the mean is taken."""

    def __post_init__(self) -> None:
        if not self.large_model:
            raise ValueError("large_model must be a folder or a name")
        if math.isnan(self.threshold_bits):
            raise ValueError("threshold_bits must be a number")
        for name in ("min_dwell", "window"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    def __call__(self, step: Step) -> Float[Tensor, "b v"]:
        return truncated(step.scores, step.sampling).log_softmax(-1)
