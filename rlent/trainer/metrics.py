"""Metrics of a step: TRL's names, and exact means over micro-batches and ranks."""

from jaxtyping import Bool, Float
from torch import Tensor, as_tensor, device, float64, stack

from rlent.interventions import Mean
from rlent.numerics import fill
from rlent.reduce import Reduce
from rlent.surrogates import Surrogate
from rlent.types import Signal, Tokens


class MeanMetrics:
    """Running ``total / count`` of named means since the last flush, reduced over ranks once, at the flush."""

    def __init__(self, device: device) -> None:
        self._device = device
        self._sums: dict[str, Tensor] = {}

    def add(self, name: str, mean: Mean) -> None:
        parts = (mean.total, mean.count)
        pair = stack(
            [as_tensor(part, dtype=float64, device=self._device) for part in parts]
        ).detach()
        self._sums[name] = pair if name not in self._sums else self._sums[name] + pair

    def state_dict(self) -> dict[str, Tensor]:
        return dict(self._sums)

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self._sums = {name: pair.to(self._device) for name, pair in state.items()}

    def flush(self, reduce: Reduce) -> dict[str, float]:
        """Every mean since the last flush, 0 where nothing was counted. A collective: every rank must call it."""
        if not self._sums:
            return {}
        names = sorted(self._sums)
        sums = reduce.sum(stack([self._sums[name] for name in names]))
        self._sums = {}
        return dict(zip(names, (sums[:, 0] / sums[:, 1].clamp(min=1)).tolist(), strict=True))


def masked(values: Tensor, mask: Tensor) -> Mean:
    """The mean of ``values`` over the mask, as a metric."""
    return Mean(fill(values.detach().float(), mask).sum(), mask.sum())


def surrogate_means(surrogate: Surrogate, tokens: Tokens, signal: Signal) -> dict[str, Mean]:
    """What a surrogate says of itself; where it clips, shares of the clipped tokens under TRL's names."""
    means = {
        name: _mean(values, tokens.mask)
        for name, values in surrogate.measures(tokens, signal).items()
    }
    if (sides := surrogate.clipped(tokens, signal)) is not None:
        below, above = sides
        means["clip_ratio/low_mean"] = masked(below, tokens.mask)
        means["clip_ratio/high_mean"] = masked(above, tokens.mask)
        means["clip_ratio/region_mean"] = masked(below | above, tokens.mask)
    return means


def clip_extremes(surrogate: Surrogate, tokens: Tokens, signal: Signal) -> dict[str, float]:
    """Smallest and largest share of clipped tokens in a completion, under TRL's names. A collective."""
    if (sides := surrogate.clipped(tokens, signal)) is None:
        return {}
    below, above = sides
    return {
        "clip_ratio/low_min": tokens.reduce.min(_row_share(below, tokens.mask).min()).item(),
        "clip_ratio/high_max": tokens.reduce.max(_row_share(above, tokens.mask).max()).item(),
    }


def _mean(values: Tensor, mask: Tensor) -> Mean:
    """Over tokens, or over the sequences that have tokens for values [b 1]."""
    return masked(values, mask if values.shape == mask.shape else mask.any(-1, keepdim=True))


def _row_share(part: Bool[Tensor, "b t"], mask: Bool[Tensor, "b t"]) -> Float[Tensor, " b"]:
    return part.sum(-1) / mask.sum(-1).clamp(min=1)
