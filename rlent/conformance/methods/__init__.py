"""What rlent computes for each method of the golden cases, one file per family.

A function reads a case's inputs and settings into rlent's records, runs rlent's own interventions and objective, and
returns outputs under the names that the file uses. Formulas live in the library; what is written here is only how the
released code names and normalises things. To cover a method, write its function and one line in its family's table.
"""

from rlent.conformance.methods.clipping import CLIPPING_METHODS
from rlent.conformance.methods.method import Method, Outputs
from rlent.conformance.methods.rewards import REWARD_METHODS
from rlent.conformance.methods.selection import SELECTION_METHODS
from rlent.conformance.methods.surrogates import SURROGATE_METHODS

METHODS: dict[str, Method] = {
    **SELECTION_METHODS,
    **CLIPPING_METHODS,
    **REWARD_METHODS,
    **SURROGATE_METHODS,
}

KNOWN: dict[str, str] = {
    "trl_high_entropy_mask": "keeps all ties; rlent keeps exactly k",
}
"""Methods that are not compared because rlent differs on purpose, and how."""

__all__ = ["KNOWN", "METHODS", "Method", "Outputs"]
