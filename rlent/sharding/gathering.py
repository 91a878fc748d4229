"""Weights that ZeRO stage 3 keeps in parts, one on every rank."""

import torch
from torch import Tensor
from torch.nn import Parameter


def gathered(parameter: Parameter) -> Tensor:
    """The whole of a frozen weight: itself, or under ZeRO stage 3 a copy, for which every rank must call this."""
    if not hasattr(parameter, "ds_id"):
        return parameter
    # Importing DeepSpeed takes seconds and prints; a run without it must not pay.
    import deepspeed

    with deepspeed.zero.GatheredParameters([parameter]):
        return parameter.detach().clone()


def whole_shape(parameter: Parameter) -> torch.Size:
    """The shape of a weight, of which under ZeRO stage 3 a rank has a part; no rank waits for another."""
    return getattr(parameter, "ds_shape", parameter.shape)
