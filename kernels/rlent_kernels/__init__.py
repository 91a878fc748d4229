"""Statistics of a language model's linear head without its logits. Needs torch alone.

``token_stats``: log-probability of the targets, entropy, and further statistics by name.
``token_loss``: a loss of log-probability and entropy, with gradients formed in forward.
``token_kl``: KL divergence from a reference head in either direction, exact over the vocabulary.
``contrast_kl``, ``contrast_log_probs``: divergence from one head pushed away from another, and
log-probability under it.
``top_mass``: probability of the likeliest tokens beside the target.
``restricted_entropy``: entropy on the likeliest tokens alone.
``mean_top_log_prob``: mean log-probability of the likeliest tokens.
"""

from rlent_kernels.api import token_stats
from rlent_kernels.contrast import Contrast, FixedHead, contrast_kl, contrast_log_probs
from rlent_kernels.loss_in_forward import TokenLoss, token_loss
from rlent_kernels.mean_top_log_prob import mean_top_log_prob
from rlent_kernels.restricted_entropy import restricted_entropy
from rlent_kernels.token_kl import token_kl
from rlent_kernels.top_mass import top_mass
from rlent_kernels.types import IGNORE_INDEX, TokenStats

__all__ = [
    "IGNORE_INDEX",
    "Contrast",
    "FixedHead",
    "TokenLoss",
    "TokenStats",
    "contrast_kl",
    "contrast_log_probs",
    "mean_top_log_prob",
    "restricted_entropy",
    "token_kl",
    "token_loss",
    "token_stats",
    "top_mass",
]
