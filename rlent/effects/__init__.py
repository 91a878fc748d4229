"""What interventions do to completions that exist already: no training, and no model once the tokens are scored."""

from rlent.effects.apply import Effect, Setting, apply_chain
from rlent.effects.batches import batch_of, changed_rows
from rlent.effects.metrics import effect_metrics, sampled_entropy_effect
from rlent.effects.refusals import check_without_training
from rlent.effects.table import Tally, tally_table

__all__ = [
    "Effect",
    "Setting",
    "Tally",
    "apply_chain",
    "batch_of",
    "changed_rows",
    "check_without_training",
    "effect_metrics",
    "sampled_entropy_effect",
    "tally_table",
]
