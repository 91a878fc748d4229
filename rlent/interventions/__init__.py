"""Interventions on single tokens: one file per published idea, one line per idea in ``TABLE``.

To add one, write ``rlent/interventions/<name>.py`` after the pattern of ``forking_tokens.py`` (the contract is in
``stages.py``) and add its config class to ``TABLE``. Being in the table enters it into the recipes, ``rlent
interventions``, and the laws of ``tests/laws``. ``docs/adding-an-intervention.md`` walks through it.
"""

from rlent.interventions.chain import Chain, chain
from rlent.interventions.forking_tokens import ForkingTokens
from rlent.interventions.stages import (
    NEEDS,
    STAGES,
    Intervention,
    Mean,
    Metrics,
    StepStatistics,
    implemented_stages,
)

TABLE: dict[str, type[Intervention]] = {
    ForkingTokens.name: ForkingTokens,
}

__all__ = [
    "NEEDS",
    "STAGES",
    "TABLE",
    "Chain",
    "ForkingTokens",
    "Intervention",
    "Mean",
    "Metrics",
    "StepStatistics",
    "chain",
    "implemented_stages",
]
