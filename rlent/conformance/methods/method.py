"""What the table of methods is made of."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from rlent.conformance.cases import Case

Outputs = Mapping[str, Tensor | str]

EPSILON_IN_DENOMINATOR = 1e-8
"""Added to denominators by verl and the code derived from it, so nothing closer can be expected."""
FLOAT64 = 1e-10


@dataclass(frozen=True, kw_only=True, slots=True)
class Method:
    """A method of the golden cases."""

    outputs: Callable[[Case], Outputs]
    tolerance: float = EPSILON_IN_DENOMINATOR
    """Largest difference allowed, relative above 1 and absolute below."""
    remark: str = ""
    """What is not compared, and why."""
