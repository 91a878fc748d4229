"""Rows of a generation batch by the prompt that they answer."""

from collections import defaultdict

from jaxtyping import Int
from torch import Tensor


def rows_of_groups(group: Int[Tensor, " n"]) -> list[list[int]]:
    """The rows of each group, both in order of appearance."""
    rows: defaultdict[int, list[int]] = defaultdict(list)
    for row, number in enumerate(group.tolist()):
        rows[number].append(row)
    return list(rows.values())
