"""Losses over answers that are given, token by token: one file per published idea, one line per idea in ``TABLE``.

An entry is named in a recipe's ``loss`` section, which makes the recipe a supervised or preference run: nothing is
generated and nothing is rewarded. ``contract.py`` says what a loss sees and gives; ``rlent losses`` lists them.
"""

from rlent.losses.align_distil import AlignDistil
from rlent.losses.cdpo import CDPO
from rlent.losses.contract import (
    REFERENCE,
    Answers,
    CompletionLoss,
    Head,
    Loss,
    PairLosses,
    PreferenceLoss,
    ScoredLoss,
    TokenLosses,
    Transform,
)
from rlent.losses.diversity_or_precision import DiversityOrPrecision
from rlent.losses.tdpo import TDPO

TABLE: dict[str, type[Loss]] = {
    cls.name: cls for cls in (DiversityOrPrecision, TDPO, CDPO, AlignDistil)
}

__all__ = [
    "CDPO",
    "REFERENCE",
    "TABLE",
    "TDPO",
    "AlignDistil",
    "Answers",
    "CompletionLoss",
    "DiversityOrPrecision",
    "Head",
    "Loss",
    "PairLosses",
    "PreferenceLoss",
    "ScoredLoss",
    "TokenLosses",
    "Transform",
]
