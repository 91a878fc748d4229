"""ARES: entropy over windows of tokens, difficulty by pass rate, and what is made of the two.

Chen et al., "ARES: Multimodal Adaptive Reasoning via Difficulty-Aware Token-Level Entropy Shaping", arXiv 2510.08457.
``ares_reward`` shapes the reward, ``ares_kl`` the divergence from the reference policy; either works alone. The
adaptive cold start of the paper is ``rlent.data.adaptive_lengths``.
"""

from rlent.interventions.ares.divergence import AresKL
from rlent.interventions.ares.reward import AresReward

__all__ = ["AresKL", "AresReward"]
