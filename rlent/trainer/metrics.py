"""Metrics of a step: TRL's names, and exact means over micro-batches and ranks."""

from jaxtyping import Bool, Float
from torch import Tensor, as_tensor, device, float64, stack

from rlent.interventions import Mean
from rlent.numerics import fill, safe_ratio
from rlent.reduce import Reduce
from rlent.surrogates import Level, clipped_sides, ratio_exponent
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


def clip_metrics(tokens: Tokens, signal: Signal, level: Level) -> dict[str, Mean | float]:
    """Shares of tokens outside the bounds, on the side where PPO clips, under TRL's names."""
    ratio = safe_ratio(ratio_exponent(tokens, level))
    below, above = clipped_sides(ratio, fill(signal.advantage, tokens.mask), signal)
    lowest = tokens.reduce.min(_row_share(below, tokens.mask).min())
    highest = tokens.reduce.max(_row_share(above, tokens.mask).max())
    return {
        "clip_ratio/low_mean": masked(below, tokens.mask),
        "clip_ratio/high_mean": masked(above, tokens.mask),
        "clip_ratio/region_mean": masked(below | above, tokens.mask),
        "clip_ratio/low_min": lowest.item(),
        "clip_ratio/high_max": highest.item(),
    }


def cispo_metrics(tokens: Tokens, signal: Signal, level: Level) -> dict[str, Mean | float]:
    """Share of tokens whose coefficient is cut, under TRL's name."""
    ratio = safe_ratio(ratio_exponent(tokens, level))
    above = tokens.mask & (ratio > signal.clip_high) & (signal.advantage > 0)
    return {"cispo_clip_ratio": masked(above, tokens.mask)}


def unclipped_metrics(tokens: Tokens, loss_type: str) -> dict[str, Mean]:
    """What tokens at ratio 1, or without advantage, add to the means that the two functions above take."""
    names = ("clip_ratio/low_mean", "clip_ratio/high_mean", "clip_ratio/region_mean")
    if loss_type == "cispo":
        names = ("cispo_clip_ratio",)
    nothing = Mean(tokens.mask.new_zeros((), dtype=tokens.logp.dtype), tokens.mask.sum())
    return {} if loss_type == "sapo" else dict.fromkeys(names, nothing)


def _row_share(part: Bool[Tensor, "b t"], mask: Bool[Tensor, "b t"]) -> Float[Tensor, " b"]:
    return part.sum(-1) / mask.sum(-1).clamp(min=1)
