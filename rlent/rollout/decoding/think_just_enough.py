"""Thinking ends after its first step where that step was sure of itself.

"Think Just Enough", arXiv 2510.08146 (read in an account and the abstract). After the first reasoning step of ``n``
tokens, and only there::

    mean(H_1 .. H_n) <= threshold    thinking ends: `end` is forced and the model answers, or the completion ends there
    otherwise                        the completion goes on as if there were no rule

``rlent calibrate`` gives thresholds ``tau_mean`` and ``tau_info``. ``H`` is not the paper's: here it is the entropy of
the full distribution at the sampling temperature in nats, there that of the 20 most probable tokens, renormalised, in
bits. A paper's threshold ``tau`` in bits is not ``tau * ln 2`` here, since renormalising leaves out the tail's entropy:
the two agree only where 20 tokens hold almost all mass. ``rlent calibrate`` looks at whole greedy completions (at
temperature 1): a threshold for a first step is best read from an evaluation whose completions are as long as one.

In the paper the steps are four requests one after the other, each of which has an answer; here they are parts of one
completion. Where a step ends is therefore an option, and unverified. A completion that has written `end` by itself, or
has ended, before the step does is left alone. ``threshold: -.inf`` is plain sampling.

A forced token is noted as any other, with probability 1 in what it was drawn from. The law of a completion is that of
no policy, so such completions cannot be trained on.

``rlent eval`` reports ``stopped``, the share of completions that were stopped, and ``saved_tokens``, the share of
tokens that stopping saved: every stopped completion is written a second time without the rule, with the same random
numbers.

Recipe::

    evaluation:
      samples: 8
      decoding: {think_just_enough: {threshold: 0.35, step_text: "\\n\\n", end: "</think>\\n\\n"}}
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from jaxtyping import Float
from torch import Tensor

from rlent.errors import ConfigError
from rlent.rollout.budgets import text_tokens
from rlent.rollout.decoding.rule import DecodingRule
from rlent.rollout.sampling import Step, truncated


@dataclass(frozen=True, kw_only=True)
class ThinkJustEnough(DecodingRule):
    """End thinking after the first step if its mean entropy is low."""

    name: ClassVar[str] = "think_just_enough"
    paper: ClassVar[str] = "Think Just Enough, arXiv 2510.08146, after an account"
    trains: ClassVar[bool] = False
    summarises: ClassVar[bool] = False

    threshold: float
    """Mean entropy of the first step, in nats, up to which thinking ends."""
    step_text: str | None = None
    """Text that ends the first step."""
    step_tokens: int | None = None
    """Or its number of tokens."""
    end: str | None = None
    """Text that is forced to end thinking; null ends the completion there."""
    count_saved: bool = True
    """Write stopped completions without the rule as well, to count the tokens saved."""

    def __post_init__(self) -> None:
        if math.isnan(self.threshold):
            raise ValueError("threshold must be a number")
        if (self.step_text is None) == (self.step_tokens is None):
            raise ValueError(
                "step_text or step_tokens must say where the first step ends, not both"
            )
        if self.step_text == "":
            raise ValueError("step_text must not be empty")
        if self.step_tokens is not None and self.step_tokens < 1:
            raise ValueError(f"step_tokens must be at least 1, got {self.step_tokens}")
        if self.end is not None and not self.end.strip():
            raise ValueError("end must be a text; null ends the completion")

    def check_tokenizer(self, tokenizer: Any | None) -> None:
        if tokenizer is None:
            raise ConfigError(
                "texts end a reasoning step, which needs the tokenizer", key=f"decoding.{self.name}"
            )
        self.forced(tokenizer)

    def forced(self, tokenizer: Any) -> tuple[int, ...]:
        """The tokens of `end`."""
        key = f"decoding.{self.name}.end"
        return () if self.end is None else text_tokens(tokenizer, key, self.end)

    def __call__(self, step: Step) -> Float[Tensor, "b v"]:
        return truncated(step.scores, step.sampling).log_softmax(-1)
