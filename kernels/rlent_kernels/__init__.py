"""Log-probability and entropy of a language model's linear head. Needs torch alone."""

from rlent_kernels.api import token_stats
from rlent_kernels.types import IGNORE_INDEX, TokenStats

__all__ = ["IGNORE_INDEX", "TokenStats", "token_stats"]
