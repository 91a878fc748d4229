"""Statistics that need a row's whole distribution at once: the most probable tokens, the nucleus, min-p.

They take a pass of their own, over a few rows and the whole vocabulary at a time.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from rlent_kernels.plan import PANEL_BYTES, spans
from rlent_kernels.running import LOG_ZERO
from rlent_kernels.sweep import Engine, Weights
from rlent_kernels.types import Wanted

# Tokens looked at first for the nucleus; rows whose nucleus is larger are looked at again.
_FIRST_LOOK = 64
_GROWTH = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Rows:
    """``hidden [k d]``, cast for products, ``targets [k]`` and ``logsumexp [k]`` of their logits."""

    hidden: Tensor
    targets: Tensor
    logsumexp: Tensor


def distribution_stats(
    engine: Engine, rows: Rows, head: Weights, wanted: Wanted
) -> dict[str, Tensor]:
    """``top_log_probs``, ``top_ids``, ``nucleus_entropy`` and ``kept_log_probs``, as far as wanted."""
    if wanted.top_k is None and wanted.top_p is None and wanted.min_p is None:
        return {}
    panels: list[dict[str, Tensor]] = []
    for part, u in _panels(engine, rows.hidden, head):
        z, logsumexp = engine.plan.transform.bend(u), rows.logsumexp[part, None]
        log_p = z.sub_(logsumexp) if z is u else z - logsumexp
        panels.append(_of_panel(log_p, rows.targets[part], wanted))
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
    for nucleus in nuclei(log_p, top_p):
        p = nucleus.log_p.exp().where(nucleus.inside, 0.0)
        mass = p.sum(1)
        entropy = mass.log() - (p * nucleus.log_p).sum(1) / mass
        result[nucleus.rows] = entropy.clamp(min=0.0)
    return result


def kept_log_probs(log_p: Tensor, targets: Tensor, min_p: float) -> Tensor:
    """``[r]``: log-probability of ``targets [r]`` among the tokens of at least ``min_p`` times the largest probability.

    -inf where the target is none of them.
    """
    kept = log_p >= log_p.amax(1, keepdim=True) + math.log(min_p)
    restricted = log_p.masked_fill(~kept, -torch.inf)
    return restricted.gather(1, targets[:, None])[:, 0] - restricted.logsumexp(1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Nuclei:
    """Some rows, and their ``m`` most probable tokens, falling: the nucleus, and others.

    Attributes:
        rows: ``[r]``.
        log_p: ``[r m]``, no less than ``LOG_ZERO``.
        ids: ``[r m]``.
        inside: whether a token is in its row's nucleus, ``[r m]``.
    """

    rows: Tensor
    log_p: Tensor
    ids: Tensor
    inside: Tensor


def nuclei(log_p: Tensor, top_p: float, *, crossing: bool = True) -> Iterator[Nuclei]:
    """The nuclei of the rows of ``log_p [r v]``, each row once, those with small nuclei first.

    Args:
        crossing: False leaves out the token with which the mass reaches ``top_p``, unless it is the
            only one.
    """
    rows = torch.arange(len(log_p), device=log_p.device)
    looked = _FIRST_LOOK
    while rows.numel():
        looked = min(looked, log_p.shape[1])
        top = log_p[rows].topk(looked, dim=1)
        values = top.values.clamp_(min=LOG_ZERO)
        reached = values.exp().double().cumsum(1)
        # A token belongs if those before it have not reached top_p.
        before = torch.cat([torch.zeros_like(reached[:, :1]), reached[:, :-1]], 1)
        inside = (before if crossing else reached) < top_p
        inside[:, 0] = True
        found = (reached[:, -1] >= top_p) | (looked == log_p.shape[1])
        yield Nuclei(
            rows=rows[found], log_p=values[found], ids=top.indices[found], inside=inside[found]
        )
        rows = rows[~found]
        looked *= _GROWTH


def _of_panel(log_p: Tensor, targets: Tensor, wanted: Wanted) -> dict[str, Tensor]:
    found = {}
    if wanted.top_k is not None:
        found |= largest(log_p, wanted.top_k)
    if wanted.top_p is not None:
        found["nucleus_entropy"] = nucleus_entropy(log_p, wanted.top_p)
    if wanted.min_p is not None:
        found["kept_log_probs"] = kept_log_probs(log_p, targets, wanted.min_p)
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
