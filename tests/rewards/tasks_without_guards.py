"""``algebra`` without the guards, so that hostile answers reach SymPy."""

from rlent_rewards import algebra
from rlent_rewards.algebra import judge, warm_up

__all__ = ["judge", "warm_up"]

algebra.expression_refusal = lambda expression: None
