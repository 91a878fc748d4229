"""The smallest and the largest value of the tokens that a scope takes together."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from rlent.numerics import fill
from rlent.reduce import LOCAL, Reduce


@dataclass(frozen=True, kw_only=True, slots=True)
class Extremes:
    """Of values [b t] that are not negative; both are 0 where there are none."""

    least: Tensor
    """Of shape [], [b 1] for each row, or [g] for each of ``groups``."""
    most: Tensor
    groups: Int[Tensor, " g"] | None = None
    """Numbers of the groups, ascending."""

    def of_rows(self, group: Int[Tensor, " b"]) -> "Extremes":
        """In a shape that stands beside the tokens [b t] of rows of these groups."""
        if self.groups is None:
            return self
        place = torch.searchsorted(self.groups, group)
        return Extremes(least=self.least[place].unsqueeze(1), most=self.most[place].unsqueeze(1))


def extremes_of_rows(values: Float[Tensor, "b t"], mask: Bool[Tensor, "b t"]) -> Extremes:
    """Of every row."""
    least, most = _of_rows(values, mask)
    return Extremes(least=least.minimum(most).unsqueeze(1), most=most.unsqueeze(1))


def extremes_of_all(
    values: Float[Tensor, "b t"], mask: Bool[Tensor, "b t"], reduce: Reduce = LOCAL
) -> Extremes:
    """Of all tokens of all ranks, some of which may have no rows."""
    least, most = _of_rows(values, mask)
    nothing = values.new_zeros(1)
    least = reduce.min(torch.cat([least, nothing + math.inf]).min())
    most = reduce.max(torch.cat([most, nothing]).max())
    return Extremes(least=least.minimum(most), most=most)


def extremes_of_groups(
    values: Float[Tensor, "b t"], mask: Bool[Tensor, "b t"], group: Int[Tensor, " b"]
) -> Extremes:
    """Of every group; groups are whole on this rank."""
    groups, place = group.unique(return_inverse=True)
    least, most = (
        values.new_full((len(groups),), start).scatter_reduce(0, place, rows, reduction)
        for start, rows, reduction in zip(
            (math.inf, 0.0), _of_rows(values, mask), ("amin", "amax"), strict=True
        )
    )
    return Extremes(least=least.minimum(most), most=most, groups=groups)


def _of_rows(
    values: Float[Tensor, "b t"], mask: Bool[Tensor, "b t"]
) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
    """The smallest and the largest value of every row; infinity and 0 where it has none."""
    return fill(values, mask, math.inf).amin(dim=1), fill(values, mask).amax(dim=1)
