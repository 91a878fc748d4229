"""Does rlent give the numbers of the methods' released code?

``cases`` reads recorded inputs and outputs, ``methods`` is the table of what rlent computes for each method, ``run``
compares them.
"""

from rlent.conformance.run import run_conformance

__all__ = ["run_conformance"]
