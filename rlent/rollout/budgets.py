"""Thinking cut at token budgets, and a summary written from each cut.

AnytimeReasoner (arXiv 2505.13438): the policy thinks once, up to the largest budget. At every budget the thinking is
cut, its end is forced, and the policy writes summaries from there::

    prompt | thinking[:b] | cut | answer_prefix | summary          the trace is longer than b, or never ended
    prompt | thinking           | answer_prefix | summary          it ended by itself within b

The texts and lengths are those of the released code. A trace that has ended is not thought on: its summaries at larger
budgets begin alike and differ in their random numbers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from rlent.errors import ConfigError
from rlent.rollout.records import Completion, FinishReason
from rlent.rollout.sampling import Sampling

ELSEWHERE = -1
"""Segment of tokens that are not learnt from in a row."""

Generate = Callable[[list[list[int]]], Sequence[Completion]]
"""One completion of every prompt, in order."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Budgets:
    """Where thinking is cut, and how a summary is asked for. Raises ValueError that names the field."""

    levels: tuple[int, ...]
    """Tokens of thinking at which it is cut, ascending; the last is where thinking ends at the latest."""
    summaries: int = 1
    """Summaries of every trace at each budget; 4 in the released runs."""
    summary_length: int = 118
    """Most tokens of a summary, without what is forced."""
    thinking_end: str | None = "</think>"
    """Text with which the policy ends its thinking; null is the end-of-sequence token."""
    cut: str = "...\n\n...\n\n</think>"
    """Text forced where thinking did not end by itself."""
    answer_prefix: str = "\n\n**Final Answer**\n"
    """Text forced before every summary; rewards see it in front of the summary."""

    def __post_init__(self) -> None:
        levels = list(self.levels)
        if not levels or levels != sorted(set(levels)) or levels[0] < 1:
            raise ValueError(f"levels must be ascending numbers of at least 1, got {levels}")
        for name in ("summaries", "summary_length"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.thinking_end == "":
            raise ValueError("thinking_end must not be empty; null is the end-of-sequence token")

    @property
    def branches(self) -> int:
        """Rows of every trace."""
        return len(self.levels) * self.summaries

    def thinking(self, sampling: Sampling) -> Sampling:
        stops = () if self.thinking_end is None else (self.thinking_end,)
        return replace(sampling, max_new_tokens=self.levels[-1], stop_strings=stops)

    def summarising(self, sampling: Sampling) -> Sampling:
        return replace(sampling, max_new_tokens=self.summary_length)

    def ended(self, trace: Completion) -> bool:
        """Whether the policy ended its thinking itself."""
        return trace.finish == ("eos" if self.thinking_end is None else "stop")


@dataclass(frozen=True, kw_only=True, slots=True)
class ForcedTokens:
    """The forced texts, each tokenised alone."""

    cut: tuple[int, ...]
    answer_prefix: tuple[int, ...]

    @classmethod
    def of(cls, budgets: Budgets, tokenizer: Any, key: str = "rollout.budgets") -> "ForcedTokens":
        """Raises ConfigError for a text that the vocabulary cannot write; ``key`` is where the budgets stand."""
        return cls(
            cut=text_tokens(tokenizer, f"{key}.cut", budgets.cut),
            answer_prefix=text_tokens(tokenizer, f"{key}.answer_prefix", budgets.answer_prefix),
        )

    @property
    def most(self) -> int:
        """Forced tokens of a row at most."""
        return len(self.cut) + len(self.answer_prefix)


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """One summary and the thinking that it was written from; tensors on the CPU."""

    trace: int
    level: int
    reached: int
    thinking: int
    """Tokens of the trace that stand before it."""
    forced: int
    prefixed: int
    """How many of the forced tokens are the answer prefix's."""
    token_ids: Tensor
    """Int [t]: thinking, forced tokens, summary."""
    log_probs: Tensor
    """[t] nats, as in ``Completion``; 0 at forced tokens."""
    entropies: Tensor
    finish: FinishReason
    """Why the summary ended."""

    @property
    def judged(self) -> list[int]:
        """What rewards see: the answer prefix and the summary."""
        return self.token_ids[self.thinking + self.forced - self.prefixed :].tolist()

    @property
    def sampled(self) -> Tensor:
        """Bool [t]: tokens that the policy drew."""
        place = torch.arange(len(self.token_ids))
        return (place < self.thinking) | (place >= self.thinking + self.forced)

    def segments(self, levels: Sequence[int], *, learns_thinking: bool) -> Tensor:
        """Int [t]: the budget that each thinking token falls under, ``len(levels)`` in the summary, else -1."""
        place = torch.arange(len(self.token_ids))
        under = torch.searchsorted(torch.tensor(levels), place, right=True)
        thinking = under if learns_thinking else torch.full_like(under, ELSEWHERE)
        behind = torch.where(self.sampled, len(levels), ELSEWHERE)
        return torch.where(place < self.thinking, thinking, behind)


def summarise(
    prompts: Sequence[Sequence[int]],
    traces: Sequence[Completion],
    budgets: Budgets,
    forced: ForcedTokens,
    generate: Generate,
) -> list[list[Summary]]:
    """The summaries of one trace of every prompt, by budget and then by number.

    ``traces`` were sampled under ``budgets.thinking``; ``generate`` samples under ``budgets.summarising``, with other
    random numbers. Equal prompts of it are the summaries of one cut.
    """
    cuts = [
        _Cut.of(number, trace, level, budgets, forced)
        for number, trace in enumerate(traces)
        for level in range(len(budgets.levels))
        for _ in range(budgets.summaries)
    ]
    written = generate([[*prompts[cut.number], *cut.begins] for cut in cuts])
    rows = [cut.followed_by(summary) for cut, summary in zip(cuts, written, strict=True)]
    size = budgets.branches
    return [rows[first : first + size] for first in range(0, len(rows), size)]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Cut:
    """Where a summary begins."""

    number: int
    trace: Completion
    level: int
    reached: int
    kept: int
    forced: tuple[int, ...]
    prefixed: int

    @classmethod
    def of(
        cls, number: int, trace: Completion, level: int, budgets: Budgets, forced: ForcedTokens
    ) -> "_Cut":
        length, budget = len(trace.token_ids), budgets.levels[level]
        whole = length <= budget and budgets.ended(trace)
        return cls(
            number=number,
            trace=trace,
            level=level,
            reached=min(level, sum(length > each for each in budgets.levels)),
            kept=min(length, budget),
            forced=(*(() if whole else forced.cut), *forced.answer_prefix),
            prefixed=len(forced.answer_prefix),
        )

    @property
    def begins(self) -> list[int]:
        return [*self.trace.token_ids[: self.kept].tolist(), *self.forced]

    def followed_by(self, summary: Completion) -> Summary:
        trace, nothing = self.trace, torch.zeros(len(self.forced))
        return Summary(
            trace=self.number,
            level=self.level,
            reached=self.reached,
            thinking=self.kept,
            forced=len(self.forced),
            prefixed=self.prefixed,
            token_ids=torch.cat([torch.tensor(self.begins, dtype=torch.long), summary.token_ids]),
            log_probs=torch.cat([trace.log_probs[: self.kept], nothing, summary.log_probs]),
            entropies=torch.cat([trace.entropies[: self.kept], nothing, summary.entropies]),
            finish=summary.finish,
        )


def text_tokens(tokenizer: Any, key: str, text: str) -> tuple[int, ...]:
    """A text that is forced, tokenised alone. Raises ConfigError with ``key`` if the vocabulary cannot write it."""
    ids = tokenizer(text, add_special_tokens=False).input_ids
    if tokenizer.unk_token_id is not None and tokenizer.unk_token_id in ids:
        raise ConfigError(
            "the tokenizer has no token for a part of this text",
            key=key,
            given=text,
        )
    return tuple(ids)
