"""The distribution of one head pushed away from another's, and the divergence of a third head from it.

With the logits z+ of a head to go towards and z- of a head to go away from, p+ and p- their softmax,

    w  = base + rate * TVD,    TVD = sum_j |p+_j - p-_j|   (between 0 and 2),
    z* = z+ + w (z+ - z-),     q* = softmax z*.

A tile holds the logits of a few rows over the whole vocabulary, of all heads.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
from torch import Tensor

from rlent_kernels.head_checks import check_heads, check_numbers, require
from rlent_kernels.plan import Plan
from rlent_kernels.row_tiles import Head, RowTiles, Task, make_row_plan
from rlent_kernels.rows import indices
from rlent_kernels.token_kl import Reverse
from rlent_kernels.transform import LogitTransform
from rlent_kernels.types import IGNORE_INDEX


@dataclass(frozen=True, kw_only=True, slots=True)
class FixedHead:
    """A linear head that is a constant: ``hidden [*n d]``, ``weight [v d]``, ``bias [v]`` or None."""

    hidden: Tensor
    weight: Tensor
    bias: Tensor | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Contrast:
    """``softmax(z+ + w (z+ - z-))`` with ``w = base + rate * sum |p+ - p-|``."""

    towards: FixedHead
    away: FixedHead
    base: float
    rate: float = 0.0

    def tensors(self) -> dict[str, Tensor | None]:
        """Every tensor under its name in messages."""
        named = {"towards": self.towards, "away": self.away}
        return {
            f"{name}_{part}": getattr(head, part)
            for name, head in named.items()
            for part in ("hidden", "weight", "bias")
        }


def contrast_kl(
    hidden: Tensor,
    weight: Tensor,
    contrast: Contrast,
    rows: Tensor,
    *,
    bias: Tensor | None = None,
    temperature: float = 1.0,
    logit_scale: float = 1.0,
    softcap: float | None = None,
    tile: int | None = None,
) -> tuple[Tensor, Tensor]:
    """``KL(p || q*)`` of a head from a contrast of two others, and the contrast's ``w``, at the chosen rows.

    The logits of all three heads go through the same scale, soft cap and temperature; precision,
    rows, gradients and memory are as in ``token_kl``, with eight tensors of ``tile * v``.

    Args:
        hidden: ``[*n d]``.
        weight: ``[v d]``.
        contrast: constants, over the same vocabulary.
        rows: ``[*n]`` bool.

    Returns:
        ``[*n]`` each, 0 at other rows; ``w`` carries no gradient.

    Raises:
        ValueError: a shape, dtype, device or number is not as described.
        RuntimeError: in backward, when second derivatives are asked for.
    """
    operation = "contrast_kl"
    _check(
        operation, contrast, rows, (temperature, logit_scale, softcap, tile), hidden, weight, bias
    )
    transform = LogitTransform(temperature=temperature, logit_scale=logit_scale, softcap=softcap)
    task = Task(
        operation=operation,
        plan=make_row_plan(hidden, weight, transform, tile),
        function=partial(
            _divergence, contrast.base, contrast.rate, _plans(contrast, transform, tile)
        ),
        outputs=2,
    )
    results = RowTiles.apply(
        hidden.reshape(rows.numel(), hidden.shape[-1]),
        weight,
        bias,
        rows.reshape(-1),
        task,
        *_constants(contrast, rows.numel()),
    )
    divergence, push = cast("tuple[Tensor, Tensor]", results)
    return divergence.reshape(rows.shape), push.reshape(rows.shape)


@torch.no_grad()
def contrast_log_probs(
    contrast: Contrast,
    targets: Tensor,
    *,
    temperature: float = 1.0,
    logit_scale: float = 1.0,
    softcap: float | None = None,
    tile: int | None = None,
) -> Tensor:
    """``log q*(target)`` of a contrast, in nats, without gradient; 0 where the target is -100.

    Args:
        targets: ``[*n]`` int64, each in ``[0, v)`` or -100.

    Raises:
        ValueError: a shape, dtype, device, number or target is not as described.
    """
    operation = "contrast_log_probs"
    rows = targets != IGNORE_INDEX
    _check(operation, contrast, rows, (temperature, logit_scale, softcap, tile))
    vocabulary = len(contrast.towards.weight)
    known = bool(((targets >= 0) & (targets < vocabulary) | ~rows).all())
    require(operation, known, "targets", f"ids below {vocabulary}, or -100", "others")
    transform = LogitTransform(temperature=temperature, logit_scale=logit_scale, softcap=softcap)
    plans = _plans(contrast, transform, tile)
    result = torch.zeros(targets.numel(), dtype=plans[0].precision.result, device=targets.device)
    picked, flat = indices(rows.reshape(-1)), targets.reshape(-1)
    if picked.numel():
        pushed = _Pushed.make(
            contrast.base, contrast.rate, plans, picked, *_constants(contrast, targets.numel())
        )
        for part in plans[0].row_spans(picked.numel()):
            log_probs, _ = pushed.log_probs(part)
            ids = flat[picked[part], None]
            result[picked[part]] = log_probs.gather(1, ids)[:, 0]
    return result.reshape(targets.shape)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Pushed:
    """The contrast at the picked rows."""

    towards: Head
    away: Head
    base: float
    rate: float

    @classmethod
    def make(
        cls,
        base: float,
        rate: float,
        plans: tuple[Plan, Plan],
        picked: Tensor,
        *constants: Tensor | None,
    ) -> "_Pushed":
        heads: Iterator[Head] = (
            Head.make(hidden[picked], weight, bias, plan)
            for plan, (hidden, weight, bias) in zip(
                plans, (constants[:3], constants[3:]), strict=True
            )
            if hidden is not None and weight is not None
        )
        towards, away = heads
        return cls(towards=towards, away=away, base=base, rate=rate)

    def log_probs(self, part: slice) -> tuple[Tensor, Tensor]:
        """``log q* [r v]`` and ``w [r]``."""
        towards = torch.log_softmax(self.towards.logits(part), dim=1)
        away = torch.log_softmax(self.away.logits(part), dim=1)
        push = towards.new_full((len(towards), 1), self.base)
        if self.rate:
            push += self.rate * (towards.exp() - away.exp()).abs_().sum(1, keepdim=True)
        # A token that is banned in both heads stays banned: inf - inf would be NaN.
        difference = (towards - away).masked_fill_((towards == away) & towards.isinf(), 0.0)
        return torch.log_softmax(difference.mul_(push).add_(towards), dim=1), push[:, 0]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Divergence:
    pushed: _Pushed

    def values(self, logits: Tensor, part: slice) -> tuple[Tensor, ...]:
        log_q, push = self.pushed.log_probs(part)
        compared = Reverse.of(torch.log_softmax(logits, dim=1), log_q)
        return compared.divergence[:, 0].clamp(min=0.0), push

    def logit_gradient(self, logits: Tensor, part: slice) -> Tensor:
        log_q, _ = self.pushed.log_probs(part)
        return Reverse.of(torch.log_softmax(logits, dim=1), log_q).logit_gradient()


def _divergence(
    base: float, rate: float, plans: tuple[Plan, Plan], picked: Tensor, *constants: Tensor | None
) -> _Divergence:
    return _Divergence(pushed=_Pushed.make(base, rate, plans, picked, *constants))


def _plans(contrast: Contrast, transform: LogitTransform, tile: int | None) -> tuple[Plan, Plan]:
    towards, away = (
        make_row_plan(head.hidden, head.weight, transform, tile)
        for head in (contrast.towards, contrast.away)
    )
    return towards, away


def _constants(contrast: Contrast, rows: int) -> list[Tensor | None]:
    constants: list[Tensor | None] = []
    for head in (contrast.towards, contrast.away):
        flat = head.hidden.detach().reshape(rows, head.hidden.shape[-1])
        constants += [flat, head.weight.detach(), None if head.bias is None else head.bias.detach()]
    return constants


def _check(
    operation: str,
    contrast: Contrast,
    rows: Tensor,
    numbers: tuple[float, float, float | None, int | None],
    *current: Tensor | None,
) -> None:
    check_numbers(operation, *numbers)
    for name in ("base", "rate"):
        number = getattr(contrast, name)
        require(operation, math.isfinite(number), name, "a finite number", repr(number))
    given = contrast.tensors()
    if current:
        named = dict(zip(("hidden", "weight", "bias"), current, strict=True))
        check_heads(operation, {**named, **given}, rows, ("towards_", "away_"))
    else:
        own = {name.removeprefix("towards_"): tensor for name, tensor in given.items()}
        check_heads(operation, own, rows, ("away_",))
