"""Reward for completions as long as the budget of their row, whatever they say."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rlent_rewards.protocol import Completion, column, token_ids


@dataclass(frozen=True, kw_only=True, slots=True)
class BudgetLength:
    """A triangle over the number of tokens: 1.0 at the row's budget, 0.0 for none and from twice the budget on.

    With L the number of a completion's tokens and B the budget::

        max(0, 1 - |L - B| / B)

    The length reward of Reinforcement Mid-Training (arXiv:2509.24375; only accounts of it were read), whose peak is the
    weight of this reward. The tokens are those of ``completion_ids``, which TRL passes, all of the completion: whether
    the paper counts the thinking alone is not known.

    Raises:
        ValueError: the column is missing or holds something that is no positive number.
    """

    budget_column: str = "budget"
    """The dataset column of budgets, in tokens."""

    @property
    def __name__(self) -> str:
        return "budget_length"

    def __call__(self, completions: Sequence[Completion], **columns: Any) -> list[float]:
        """A number in [0, 1] per completion.

        Raises:
            ValueError: ``completion_ids`` is missing or has another number of rows, or a budget is no positive number.
        """
        ids = token_ids(columns, rows=len(completions), reward="budget_length")
        budgets = column(columns, self.budget_column, rows=len(completions))
        for row, budget in enumerate(budgets):
            number = isinstance(budget, int | float) and not isinstance(budget, bool)
            if not number or not 0 < budget < math.inf:
                raise ValueError(
                    f"budget_length: row {row} of column {self.budget_column!r} must hold a positive number of "
                    f"tokens; given: {budget!r:.200}"
                )
        return [
            max(0.0, 1 - abs(len(tokens) - budget) / budget)
            for tokens, budget in zip(ids, budgets, strict=True)
        ]
