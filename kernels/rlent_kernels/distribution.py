"""Statistics that need a row's whole distribution at once: the most probable tokens, the nucleus.

They take a pass of their own, over a few rows and the whole vocabulary at a time.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from rlent_kernels.plan import PANEL_BYTES, spans
from rlent_kernels.running import LOG_ZERO
from rlent_kernels.sweep import Engine, Weights
from rlent_kernels.types import Wanted

# Tokens looked at first for the nucleus; rows whose nucleus is larger are looked at again.
_FIRST_LOOK = 64
_GROWTH = 8


def distribution_stats(
    engine: Engine, hidden: Tensor, head: Weights, logsumexp: Tensor, wanted: Wanted
) -> dict[str, Tensor]:
    """``top_log_probs``, ``top_ids`` and ``nucleus_entropy`` of ``hidden [k d]``, as far as wanted."""
    if wanted.top_k is None and wanted.top_p is None:
        return {}
    panels: list[dict[str, Tensor]] = []
    for part, u in _panels(engine, hidden, head):
        z = engine.plan.transform.bend(u)
        log_p = z.sub_(logsumexp[part, None]) if z is u else z - logsumexp[part, None]
        panels.append(_of_panel(log_p, wanted))
    return {name: torch.cat([panel[name] for panel in panels]) for name in panels[0]}


def largest(log_p: Tensor, k: int) -> dict[str, Tensor]:
    """The ``k`` largest of each row of ``log_p [r v]``, falling, and their ids, each ``[r k]``."""
    top = log_p.topk(k, dim=1)
    return {"top_log_probs": top.values, "top_ids": top.indices}


def nucleus_entropy(log_p: Tensor, top_p: float) -> Tensor:
    """Entropy ``[r]`` of each row of ``log_p [r v]``, restricted to its nucleus and normalised.

    With M the nucleus' mass: ``log M - sum_nucleus p log p / M``.
    """
    result = log_p.new_zeros(len(log_p))
    rows = torch.arange(len(log_p), device=log_p.device)
    looked = _FIRST_LOOK
    while rows.numel():
        looked = min(looked, log_p.shape[1])
        top = log_p[rows].topk(looked, dim=1).values.clamp_(min=LOG_ZERO)
        p = top.exp()
        reached = p.double().cumsum(1)
        # A token belongs if those before it have not reached top_p.
        inside = torch.cat([torch.zeros_like(reached[:, :1]), reached[:, :-1]], 1) < top_p
        p = p.where(inside, 0.0)
        mass = p.sum(1)
        found = (reached[:, -1] >= top_p) | (looked == log_p.shape[1])
        entropy = mass.log() - (p * top).sum(1) / mass
        result[rows[found]] = entropy[found].clamp(min=0.0)
        rows = rows[~found]
        looked *= _GROWTH
    return result


def _of_panel(log_p: Tensor, wanted: Wanted) -> dict[str, Tensor]:
    found = {}
    if wanted.top_k is not None:
        found |= largest(log_p, wanted.top_k)
    if wanted.top_p is not None:
        found["nucleus_entropy"] = nucleus_entropy(log_p, wanted.top_p)
    return found


def _panels(engine: Engine, hidden: Tensor, head: Weights) -> Iterator[tuple[slice, Tensor]]:
    """u of a few rows ``[r v]`` at a time."""
    vocabulary, dtype = head.weight.shape[0], engine.plan.precision.result
    rows = max(1, PANEL_BYTES // (vocabulary * dtype.itemsize))
    # With no rows at all, one empty panel: its statistics have the right shapes.
    for part in spans(len(hidden), rows) if len(hidden) else [slice(0, 0)]:
        u = hidden.new_empty((part.stop - part.start, vocabulary), dtype=dtype)
        for columns in engine.plan.columns(head.weight, head.bias):
            engine.plan.multiply(hidden[part], columns, u[:, columns.span])
        yield part, u
