"""A likelihood term on the tokens of prompts: next-token prediction beside reinforcement learning.

Reinforcement Mid-Training (RMT), arXiv 2509.24375, whose joint objective is given by accounts of it (neither the paper
nor code was read) as::

    L = L_RL + weight * L_NTP        L_NTP = - sum_{p not in C} log pi(token_p | tokens before p)        weight 0.1

over a document of which the tokens in ``C`` were drawn to be asked for. Here the prompt of a task holds the document up
to the token that is asked for (``rlent/data/next_tokens.py``), and with ``x_i`` the prompt of completion ``i``::

    L_NTP = mean_i ( - mean_p log pi(x_ip | x_i,<p) )

What is not known, or differs, and is this library's:

* The average. The accounts' sum has no normaliser. The mean over completions weighs prompts alike under every
  ``trainer.loss_type``, and does not depend on how a step is split into micro-batches of equally many rows.
* The tokens. The token that is asked for is in no prompt of its own, but may be in another task's; what stands behind
  it in the document is not learnt from. A template's words around the text are learnt from like the text.
* A prompt whose completion has no token that counts (given up, or masked as truncated) is left out.

The log-probabilities come from the forward pass of the completions. Their temperature is the trainer's, which must
be 1. Recipe::

    interventions:
      - next_token_loss: {weight: 0.1}
"""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

from rlent.interventions.stages import Intervention, Mean, Metrics
from rlent.numerics import fill
from rlent.types import Signal, Tokens


@dataclass(frozen=True, kw_only=True)
class NextTokenLoss(Intervention):
    """Add ``weight`` times the mean negative log-likelihood of the prompts, in nats per token."""

    name: ClassVar[str] = "next_token_loss"
    paper: ClassVar[str] = "Reinforcement Mid-Training, arXiv 2509.24375 (second-hand)"
    writes: ClassVar[frozenset[str]] = frozenset({"penalty"})

    weight: float = 0.1
    """Loss per nat (the paper's lambda)."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.weight < math.inf:
            raise ValueError(f"weight must be 0 or positive, got {self.weight}")

    @classmethod
    def neutral(cls) -> "NextTokenLoss":
        return cls(weight=0.0)

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"prompt_logp"})

    def on_tokens(self, tokens: Tokens, signal: Signal) -> tuple[Signal, Metrics]:
        assert tokens.prompt_logp is not None
        assert tokens.prompt_mask is not None
        assert tokens.per_completion is not None
        surprise = -fill(tokens.prompt_logp, tokens.prompt_mask)
        metrics = {"nll": Mean(surprise.detach().sum(), tokens.prompt_mask.sum())}
        if self.weight == 0.0:
            return signal, metrics
        count = tokens.prompt_mask.sum(-1, keepdim=True).clamp(min=1)
        mean = surprise.sum(-1, keepdim=True) / count
        term = self.weight * mean * fill(tokens.per_completion, tokens.mask)
        return replace(signal, penalty=signal.penalty + term), metrics
