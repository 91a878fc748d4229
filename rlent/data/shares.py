"""How many rows each source of a mixture gives."""

from collections.abc import Sequence
from fractions import Fraction


def shares(weights: Sequence[float], size: int) -> list[int]:
    """Whole numbers that sum to `size`, each within one of ``size * weight / sum(weights)``.

    Every source gets the whole part of its share, and the rows that are left over go to the largest
    fractional parts, the first of equal ones (Hamilton's method of largest remainders).
    """
    exact = [size * part for part in _parts(weights)]
    counts = [int(share) for share in exact]
    by_remainder = sorted(range(len(exact)), key=lambda i: counts[i] - exact[i])
    for i in by_remainder[: size - sum(counts)]:
        counts[i] += 1
    return counts


def largest_size(weights: Sequence[float], available: Sequence[int]) -> int:
    """The most rows a mixture can have when source i has ``available[i]`` and no row is taken twice."""
    return min(int(count / part) for count, part in zip(available, _parts(weights), strict=True))


def _parts(weights: Sequence[float]) -> list[Fraction]:
    # A weight means the decimal number that was written: three times 0.1 is as much as 0.3.
    exact = [Fraction(repr(weight)) for weight in weights]
    total = sum(exact)
    return [weight / total for weight in exact]
