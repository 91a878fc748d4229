"""Two updates on every generation batch: first on unlikely tokens, then on the others.

Yang et al., "Do Not Let Low-Probability Tokens Over-Dominate in RL for LLMs", arXiv 2505.12929 (low-probability token
isolation, Lopti)::

    first pass over the batch:   tokens with pi_old(t) < eta
    second pass:                 tokens with pi_old(t) >= eta                                         eta 0.5

The large gradients of unlikely tokens no longer share an update with those of the others, and the second update sees
what the first has done to them: ``pi_old`` stays the generating policy's. Both updates are divided by the number of all
tokens. Checked against the released code (``rlent conformance``); of the paper, only second-hand accounts were read. In
the released code a negative ``eta`` turns the order round, which is ``first: likely`` here.

Needs exactly two passes over a generation batch, each of whole optimiser steps. An evaluation sees all tokens.

Recipe, with the paper's other half::

    trainer: {num_iterations: 2}
    interventions:
      - advantage_reweighting: {alpha: 0.3}
      - lopti: {threshold: 0.5}
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from rlent.interventions.stages import Intervention, Mean, Metrics
from rlent.numerics import fill
from rlent.types import Signal, Tokens


@dataclass(frozen=True, kw_only=True)
class Lopti(Intervention):
    """Learn from unlikely tokens in the first of two passes over a batch, and from the others in the second."""

    name: ClassVar[str] = "lopti"
    paper: ClassVar[str] = "Low-Probability Tokens, arXiv 2505.12929"
    writes: ClassVar[frozenset[str]] = frozenset({"select"})

    threshold: float | None = 0.5
    """Probability under the generating policy below which a token is unlikely, in (0, 1]; null parts nothing."""
    first: Literal["unlikely", "likely"] = "unlikely"
    """The tokens of the first pass."""

    def __post_init__(self) -> None:
        if self.threshold is not None and not 0.0 < self.threshold <= 1.0:
            raise ValueError(f"threshold must be in (0, 1], got {self.threshold}")

    @classmethod
    def neutral(cls) -> "Lopti":
        return cls(threshold=None)

    @property
    def needs(self) -> frozenset[str]:
        return frozenset() if self.threshold is None else frozenset({"two_passes"})

    def on_tokens(self, tokens: Tokens, signal: Signal) -> tuple[Signal, Metrics]:
        if self.threshold is None or not tokens.train:
            return signal, {}
        unlikely = fill(tokens.old_logp, tokens.mask).exp() < self.threshold
        wanted = (tokens.iteration == 0) == (self.first == "unlikely")
        select = signal.select & (unlikely if wanted else ~unlikely)
        share = Mean((unlikely & tokens.mask).sum(), tokens.mask.sum())
        return replace(signal, select=select), {"unlikely_share": share}
