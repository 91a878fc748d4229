"""A generation batch whose rows are summaries of thinking that was cut at token budgets.

TRL's batch has a row per prompt and completion. Here each prompt stands in it once for every budget, summary and trace,
in this order, so that ``num_generations`` consecutive rows, which TRL takes for a group, are the traces of a prompt at
one budget.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from rlent.errors import ConfigError
from rlent.rollout import Budgets, Completion
from rlent.rollout.budgets import ELSEWHERE, ForcedTokens, Summary, summarise
from rlent.trainer.native_rollout import Captured, NativeRollout
from rlent.types import BudgetTree


@dataclass(slots=True)
class BudgetRollout:
    """Thinks and summarises for one trainer, and remembers the rows of the last generation batch.

    Raises:
        ConfigError: a forced text is not in the vocabulary, or thinking, forced tokens and summary are longer than a
            completion may be.
    """

    budgets: Budgets
    native: NativeRollout
    generations: int
    rows: list[Summary] = field(default_factory=list)
    forced: ForcedTokens = field(init=False)

    def __post_init__(self) -> None:
        self.forced = ForcedTokens.of(self.budgets, self.native.tokenizer)
        longest = self.budgets.levels[-1] + self.forced.most + self.budgets.summary_length
        given = self.native.args.max_completion_length
        if longest > given:
            raise ConfigError(
                "thinking, forced tokens and summary are longer than a completion may be",
                key="trainer.max_completion_length",
                given=given,
                expected=f"at least {longest}",
            )

    def repeated(self, inputs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """The rows of whole groups, each group once for every branch."""
        return [
            inputs[first + trace]
            for first in range(0, len(inputs), self.generations)
            for _ in range(self.budgets.branches)
            for trace in range(self.generations)
        ]

    def generate(self, model: Any, prompts: Sequence[list[int]], step: int) -> list[list[int]]:
        """Token ids of every row, whose prompts ``repeated`` has laid out."""
        size = self.generations * self.budgets.branches
        asked = [
            prompts[first + trace]
            for first in range(0, len(prompts), size)
            for trace in range(self.generations)
        ]
        native, budgets = self.native, self.budgets
        thinking, summarising = (
            budgets.thinking(native.sampling),
            budgets.summarising(native.sampling),
        )

        def write(prompts: list[list[int]]) -> Sequence[Completion]:
            return native.generate(model, prompts, step, summarising).completions

        traces = native.generate(model, asked, step, thinking).completions
        rows = summarise(asked, traces, budgets, self.forced, write)
        self.rows = [
            of_trace[branch]
            for first in range(0, len(rows), self.generations)
            for branch in range(budgets.branches)
            for of_trace in rows[first : first + self.generations]
        ]
        return [row.token_ids.tolist() for row in self.rows]

    def captured(self) -> Captured:
        return Captured(
            completion_ids=[row.token_ids.tolist() for row in self.rows],
            logp=[row.log_probs for row in self.rows],
            entropy=[row.entropies for row in self.rows],
        )

    def judged(self, completions: Sequence[Any]) -> tuple[list[Any], list[list[int]]]:
        """What rewards see of every row, in the form of ``completions``: the answer prefix and the summary."""
        ids = [row.judged for row in self.rows]
        texts = self.native.tokenizer.batch_decode(ids, skip_special_tokens=True)
        return [
            text if isinstance(completion, str) else [{**completion[0], "content": text}]
            for completion, text in zip(completions, texts, strict=True)
        ], ids

    def tree(self, width: int, device: torch.device) -> BudgetTree:
        """The rows as interventions see them, ``width`` tokens wide."""
        levels, last = self.budgets.levels, (self.budgets.branches - 1) * self.generations
        size = self.generations * self.budgets.branches

        def segments(place: int, row: Summary) -> Tensor:
            own = row.segments(levels, learns_thinking=place % size >= last)
            return torch.nn.functional.pad(own, (0, width - len(own)), value=ELSEWHERE)

        def numbers(name: str) -> Tensor:
            return torch.tensor([getattr(row, name) for row in self.rows], device=device)

        return BudgetTree(
            levels=levels,
            generations=self.generations,
            trace=numbers("trace"),
            level=numbers("level"),
            reached=numbers("reached"),
            segment=torch.stack([segments(*each) for each in enumerate(self.rows)]).to(device),
        )
