"""Policy-gradient surrogates. ``SURROGATES`` is the whole table; there is no decorator and nothing registers itself.

To add one: a file in this folder with a class that derives from ``Surrogate``, and one entry here.
"""

from rlent.surrogates.cispo import CISPO
from rlent.surrogates.contract import (
    Level,
    Sides,
    Surrogate,
    clipped_sides,
    ratio_exponent,
)
from rlent.surrogates.dppo import DPPO
from rlent.surrogates.dro import DRO
from rlent.surrogates.gmpo import GMPO
from rlent.surrogates.gspo import GSPO
from rlent.surrogates.ppo import PPO
from rlent.surrogates.sapo import SAPO
from rlent.surrogates.vespo import VESPO

SURROGATES: dict[str, type[Surrogate]] = {
    cls.name: cls for cls in (PPO, GSPO, GMPO, CISPO, SAPO, DPPO, DRO, VESPO)
}

__all__ = [
    "CISPO",
    "DPPO",
    "DRO",
    "GMPO",
    "GSPO",
    "PPO",
    "SAPO",
    "SURROGATES",
    "VESPO",
    "Level",
    "Sides",
    "Surrogate",
    "clipped_sides",
    "ratio_exponent",
]
