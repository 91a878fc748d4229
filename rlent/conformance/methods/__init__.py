"""What rlent computes for each method of the golden cases, one file per family.

A function reads a case's inputs and settings into rlent's records, runs rlent's own interventions and objective, and
returns outputs under the names that the file uses. Formulas live in the library; what is written here is only how the
released code names and normalises things. To cover a method, write its function and one line in its family's table.
"""

from rlent.conformance.methods.advantages import ADVANTAGE_METHODS
from rlent.conformance.methods.ares import ARES_METHODS
from rlent.conformance.methods.clipping import CLIPPING_METHODS
from rlent.conformance.methods.decoding import DECODING_METHODS
from rlent.conformance.methods.distributions import DISTRIBUTION_METHODS
from rlent.conformance.methods.given_answers import GIVEN_ANSWER_METHODS
from rlent.conformance.methods.method import Method, Outputs
from rlent.conformance.methods.penalties import PENALTY_METHODS
from rlent.conformance.methods.selection import SELECTION_METHODS
from rlent.conformance.methods.surrogates import SURROGATE_METHODS
from rlent.conformance.methods.weights import WEIGHT_METHODS

METHODS: dict[str, Method] = {
    **SELECTION_METHODS,
    **CLIPPING_METHODS,
    **ADVANTAGE_METHODS,
    **ARES_METHODS,
    **WEIGHT_METHODS,
    **PENALTY_METHODS,
    **GIVEN_ANSWER_METHODS,
    **SURROGATE_METHODS,
    **DECODING_METHODS,
    **DISTRIBUTION_METHODS,
}

KNOWN: dict[str, str] = {
    "trl_high_entropy_mask": "keeps all ties; rlent keeps exactly k",
}
"""Methods that are not compared because rlent differs on purpose, and how."""

__all__ = ["KNOWN", "METHODS", "Method", "Outputs"]
