"""Rewards -> advantages, one number per completion."""

from typing import Literal

from jaxtyping import Float
from torch import Tensor

EPSILON = 1e-4
"""Added to the standard deviation, as in TRL."""


def group_advantages(
    reward: Float[Tensor, " n"], group_size: int, scale: Literal["group", "batch", "none"]
) -> Float[Tensor, " n"]:
    """``(reward - mean_group) / (std + 1e-4)`` (GRPO, arXiv 2402.03300, Sec. 4.1), with the unbiased deviation.

    Args:
        reward: whole groups in order, ``group_size`` consecutive completions each; NaN where a completion could not
            be scored, which takes no part and gets advantage 0.
        scale: deviation over the ``group``, over the whole ``batch``, or none.
    """
    groups = reward.view(-1, group_size)
    centred = groups - groups.nanmean(dim=1, keepdim=True)
    if scale == "group":
        centred = centred / (_deviation(groups, dim=1) + EPSILON)
    elif scale == "batch":
        centred = centred / (_deviation(groups.reshape(1, -1), dim=1) + EPSILON)
    return centred.flatten().nan_to_num(nan=0.0)


def _deviation(values: Float[Tensor, "r c"], dim: int) -> Float[Tensor, "r 1"]:
    mean = values.nanmean(dim=dim, keepdim=True)
    count = values.isfinite().sum(dim=dim, keepdim=True)
    return (
        (values - mean).square().nansum(dim=dim, keepdim=True) / (count - 1).clamp(min=1)
    ).sqrt()
