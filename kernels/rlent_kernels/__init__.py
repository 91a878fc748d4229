"""Statistics of a language model's linear head without its logits. Needs torch alone.

``token_stats``: log-probability of the targets and entropy.
``token_kl``: KL divergence from a reference head, exact over the vocabulary.
"""

from rlent_kernels.api import token_stats
from rlent_kernels.token_kl import token_kl
from rlent_kernels.types import IGNORE_INDEX, TokenStats

__all__ = ["IGNORE_INDEX", "TokenStats", "token_kl", "token_stats"]
