"""Statistics of a language model's linear head without its logits. Needs torch alone.

``token_stats``: log-probability of the targets, entropy, and further statistics by name.
``token_loss``: a loss of log-probability and entropy, with gradients formed in forward.
``token_kl``: KL divergence from a reference head, exact over the vocabulary.
"""

from rlent_kernels.api import token_stats
from rlent_kernels.loss_in_forward import TokenLoss, token_loss
from rlent_kernels.token_kl import token_kl
from rlent_kernels.types import IGNORE_INDEX, TokenStats

__all__ = [
    "IGNORE_INDEX",
    "TokenLoss",
    "TokenStats",
    "token_kl",
    "token_loss",
    "token_stats",
]
