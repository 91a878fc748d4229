"""The head with full logits, through autograd: slow, plain, and the oracle of the others."""

import torch
from torch import Tensor

from rlent_kernels.types import IGNORE_INDEX, LinearHead, Wanted


def token_stats(head: LinearHead, wanted: Wanted) -> dict[str, Tensor]:
    """The statistics by name, from ``[n v]`` logits in float32, or float64 for float64 hidden.

    Autocast is off inside: the result never depends on it.
    """
    rows = (head.targets != IGNORE_INDEX).nonzero()[:, 0]
    z, targets = _logits(head, rows), head.targets[rows]
    log_p = torch.log_softmax(z, dim=-1)
    results = {
        "log_probs": log_p.gather(1, targets[:, None])[:, 0],
        "entropy": _entropy(log_p),
    }
    with torch.no_grad():
        available = _further(z, log_p, targets, wanted)
    results |= {name: available[name] for name in wanted.outputs}
    return {name: _at_rows(values, rows, len(head.targets)) for name, values in results.items()}


def _logits(head: LinearHead, rows: Tensor) -> Tensor:
    dtype = torch.float64 if head.hidden.dtype == torch.float64 else torch.float32
    with torch.autocast(head.hidden.device.type, enabled=False):
        raw = head.hidden[rows].to(dtype) @ head.weight.to(dtype).T
        if head.bias is not None:
            raw = raw + head.bias.to(dtype)
        return head.transform.bend(raw * head.transform.scale)


def _entropy(log_p: Tensor) -> Tensor:
    # The limit of p log p at p = 0 is 0, where the product of a banned token is 0 * -inf.
    return (log_p.exp() * -log_p.masked_fill(log_p == -torch.inf, 0.0)).sum(-1)


def _further(z: Tensor, log_p: Tensor, targets: Tensor, wanted: Wanted) -> dict[str, Tensor]:
    p, entropy = log_p.exp(), _entropy(log_p)[:, None]
    surprise = (log_p.masked_fill(p == 0, 0.0) + entropy) * p
    found = {
        "logsumexp": z.logsumexp(-1),
        "varentropy": (surprise * (log_p.masked_fill(p == 0, 0.0) + entropy)).sum(-1),
        "log_sum_sq_probs": p.square().sum(-1).log(),
        "mean_logits": z.mean(-1),
        "entropy_change": surprise.gather(1, targets[:, None])[:, 0] - (p * surprise).sum(-1),
        "argmax": z.argmax(-1),
        "is_top1": z.argmax(-1) == targets,
    }
    if wanted.top_k is not None:
        found["top_log_probs"], found["top_ids"] = log_p.topk(wanted.top_k, dim=-1)
    if wanted.top_p is not None:
        found["nucleus_entropy"] = _nucleus_entropy(p, wanted.top_p)
    if wanted.min_p is not None:
        kept = p.masked_fill(p < wanted.min_p * p.amax(-1, keepdim=True), 0.0)
        kept = kept / kept.sum(-1, keepdim=True)
        found["kept_log_probs"] = kept.gather(1, targets[:, None])[:, 0].log()
    return found


def _nucleus_entropy(p: Tensor, top_p: float) -> Tensor:
    falling = p.sort(dim=-1, descending=True).values
    before = falling.double().cumsum(-1) - falling.double()
    nucleus = falling.masked_fill(before >= top_p, 0.0)
    q = nucleus / nucleus.sum(-1, keepdim=True)
    return _entropy(q.log())


def _at_rows(values: Tensor, rows: Tensor, size: int) -> Tensor:
    blank = IGNORE_INDEX if values.dtype == torch.int64 else 0
    return values.new_full((size, *values.shape[1:]), blank).index_copy(0, rows, values)
