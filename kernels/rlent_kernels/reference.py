"""The head with full logits, through autograd: slow, plain, and the oracle of the others."""

import torch
from torch import Tensor

from rlent_kernels.types import IGNORE_INDEX, LinearHead


def token_stats(head: LinearHead) -> tuple[Tensor, Tensor]:
    """``(log_probs [n], entropy [n])`` from ``[n v]`` logits in float32, or float64 for float64.

    Autocast is off inside: the result never depends on it.
    """
    dtype = torch.float64 if head.hidden.dtype == torch.float64 else torch.float32
    rows = (head.targets != IGNORE_INDEX).nonzero()[:, 0]
    with torch.autocast(head.hidden.device.type, enabled=False):
        raw = head.hidden[rows].to(dtype) @ head.weight.to(dtype).T
        if head.bias is not None:
            raw = raw + head.bias.to(dtype)
        log_p = torch.log_softmax(head.transform.apply(raw), dim=-1)
    target = log_p.gather(1, head.targets[rows, None])[:, 0]
    # The limit of p log p at p = 0 is 0, where the product of a banned token is 0 * -inf.
    surprisal = -log_p.masked_fill(log_p == -torch.inf, 0.0)
    entropy = (log_p.exp() * surprisal).sum(-1)
    blank = torch.zeros_like(head.targets, dtype=dtype)
    return blank.index_copy(0, rows, target), blank.index_copy(0, rows, entropy)
