"""Where a token lies to the band of ``entropy_band``, from the recorded entropies and the recipe.

The log holds the entropies of the first update on a rollout, which are the ones that the intervention saw then; its
edges are statistics of a completion's chosen entropies, so they need not be recorded.
"""

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Bool, Int
from numpy import ndarray
from torch import Tensor

from rlent.interventions.entropy_band import EntropyBand, mad_band
from rlent.numerics import row_quantile
from rlent.report.trace import Trace

INSIDE, BELOW, ABOVE = 1, 2, 3
"""0 is a token that the band does not act on."""

_ROWS = 512


def band_side(trace: Trace, band: EntropyBand) -> Int[ndarray, " m"]:
    """``INSIDE``, ``BELOW`` or ``ABOVE`` for every token under ``band``, 0 outside its reach."""
    chosen = np.ones_like(trace.selected) if band.tokens == "all" else trace.selected
    parts = [_sides(trace, chosen, rows, band) for rows in _blocks(trace)]
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)


def _blocks(trace: Trace) -> Iterator[Int[ndarray, " r"]]:
    rows = np.arange(len(trace.length))
    return (rows[start : start + _ROWS] for start in range(0, len(rows), _ROWS))


def _sides(
    trace: Trace,
    chosen: Bool[ndarray, " m"],
    rows: Int[ndarray, " r"],
    band: EntropyBand,
) -> Int[ndarray, " j"]:
    places, lengths = trace.completions_at(rows), trace.length[rows]
    inside = np.arange(lengths.max(initial=0)) < lengths[:, None]
    entropy = torch.zeros(inside.shape)
    mask = torch.zeros(inside.shape, dtype=torch.bool)
    entropy[torch.from_numpy(inside)] = torch.from_numpy(trace.entropy[places])
    mask[torch.from_numpy(inside)] = torch.from_numpy(chosen[places])
    low, high = _edges(entropy, mask, band)
    side = torch.where(entropy < low, BELOW, torch.where(entropy > high, ABOVE, INSIDE))
    return side.masked_fill(~mask, 0).numpy()[inside].astype(np.int64)


def _edges(entropy: Tensor, mask: Tensor, band: EntropyBand) -> tuple[Tensor, Tensor]:
    match band.edges:
        case "quantile":
            return (
                row_quantile(entropy, mask, band.low_quantile),
                row_quantile(entropy, mask, band.high_quantile),
            )
        case "mad":
            return mad_band(entropy, mask)
        case "fixed":
            assert band.low is not None
            assert band.high is not None
            return torch.tensor(band.low), torch.tensor(band.high)
