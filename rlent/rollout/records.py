"""What a call of the engine returns."""

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float, Int
from torch import Tensor

FinishReason = Literal["eos", "stop", "length", "budget"]
"""An end-of-sequence token, a stop string, the length limit, or the token budget of the prompt."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tally:
    """What a decoding rule counted in one completion, such as the tokens that a second model drew."""

    name: str
    count: int
    of: int
    """What it is a share of."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Completion:
    """One completion and what was known about each of its tokens when it was drawn; tensors on the CPU.

    A fork holds the whole completion: its first ``branch_step`` tokens and their numbers are its parent's.
    """

    prompt: int
    """Place of the prompt in the call."""
    index: int
    """Number among the prompt's completions; forks are numbered on in the order in which they were made."""
    token_ids: Int[Tensor, " t"]
    """With the end-of-sequence token, or with the token that completes the stop string."""
    log_probs: Float[Tensor, " t"]
    """Nats, of the full distribution: at the sampling temperature (1 if greedy), before penalty and truncation."""
    entropies: Float[Tensor, " t"]
    """Nats, of the same distribution."""
    truncated_log_probs: Float[Tensor, " t"]
    """Nats, of the distribution that the token was drawn from; 0 if greedy."""
    finish: FinishReason
    parent: int | None
    """``index`` of the completion that this one was forked from."""
    branch_step: int | None
    """Number of tokens shared with the parent: the first own token took the place of the parent's next one."""
    tallies: tuple[Tally, ...] = ()
    """What the decoding rule counted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Statistics:
    sampled_tokens: int
    """Tokens drawn and kept; what forks share is counted once."""
    decode_steps: int
    """Forward passes of one token per live sequence."""
    prefill_tokens: int
    """Tokens of the distinct prompts, without padding."""
    discarded_tokens: int = 0
    """Tokens drawn and not kept: those of continuations that a rule tried."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Generation:
    completions: tuple[Completion, ...]
    """By prompt, then by index."""
    statistics: Statistics
