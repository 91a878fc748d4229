"""A plain text corpus as next-token tasks: which tokens are asked for at which step, and with how long a thought.

Reinforcement Mid-Training (RMT), arXiv 2509.24375. Neither the paper nor code was read, only accounts of it::

    B_t = max(B_min, floor(B_0 gamma^(t / T)))             tokens of thinking that the prompt asks for at step t of T
    tier ~ Categorical(p_t), token ~ Uniform(tier)         tiers easy, medium, hard by the entropy of the token

with ``B_0`` 800, ``B_min`` 1, ``gamma`` 0.2, and ``p_t`` linear in ``t`` between two knots at 30% and 70% of the steps.
The probabilities at the knots, constant before and behind them, and the entropies that part the tiers are not known:
thirds of the tokens by rank, and the probabilities below, are this library's. Tokens are drawn with replacement. The
paper's joint loss on tokens that are not drawn is the intervention ``next_token_loss``, which learns from prompts.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, isclose

TIERS = ("easy", "medium", "hard")

Probabilities = tuple[float, float, float]
"""Of the tiers, in their order."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Curriculum:
    """Settings of the two rules. Raises ValueError that names the field."""

    budget: int = 800
    """Tokens at the first step (B_0)."""
    least_budget: int = 1
    """B_min."""
    decay: float = 0.2
    """What is left of the budget at the last step (gamma)."""
    knots: tuple[float, float] = (0.3, 0.7)
    """Share of the steps before which ``first`` holds, and after which ``last`` holds."""
    first: Probabilities = (0.6, 0.3, 0.1)
    last: Probabilities = (0.1, 0.3, 0.6)

    def __post_init__(self) -> None:
        if not 1 <= self.least_budget <= self.budget:
            raise ValueError(
                f"least_budget must be from 1 to budget, {self.budget}, got {self.least_budget}"
            )
        if not 0 < self.decay <= 1:
            raise ValueError(f"decay must be in (0, 1], got {self.decay}")
        if not 0 <= self.knots[0] < self.knots[1] <= 1:
            raise ValueError(f"knots must be ascending in [0, 1], got {list(self.knots)}")
        for name in ("first", "last"):
            given = getattr(self, name)
            if min(given) < 0 or not isclose(sum(given), 1.0, abs_tol=1e-9):
                raise ValueError(f"{name} must be probabilities that sum to 1, got {list(given)}")

    def budget_at(self, progress: float) -> int:
        """``B_t`` in tokens; ``progress`` is t / T."""
        return max(self.least_budget, floor(self.budget * self.decay**progress))

    def probabilities_at(self, progress: float) -> Probabilities:
        """``p_t``; they sum to 1."""
        low, high = self.knots
        part = min(max((progress - low) / (high - low), 0.0), 1.0)
        easy, medium, hard = (
            (1 - part) * first + part * last
            for first, last in zip(self.first, self.last, strict=True)
        )
        return easy, medium, hard


@dataclass(frozen=True, kw_only=True, slots=True)
class Draw:
    """One task: ``token`` is a place in the entropies that it was drawn by."""

    step: int
    token: int
    tier: str
    budget: int


def tiers_of(entropies: Sequence[float]) -> tuple[list[int], list[int], list[int]]:
    """Places of the third with the lowest entropies, the middle one, and the highest; ties by place.

    Raises:
        ValueError: there are fewer than three, and a tier would be empty.
    """
    count = len(entropies)
    if count < len(TIERS):
        raise ValueError(f"a tier would be empty: {count} tokens can be asked for")
    order = sorted(range(count), key=entropies.__getitem__)
    first, second = (count * part // len(TIERS) for part in (1, 2))
    return order[:first], order[first:second], order[second:]


def draw_tasks(
    entropies: Sequence[float], curriculum: Curriculum, *, steps: int, prompts: int, seed: int
) -> list[Draw]:
    """``prompts`` tasks for each of ``steps`` steps, in the order in which they are to be trained on.

    Raises:
        ValueError: as ``tiers_of``.
    """
    tiers, rng = tiers_of(entropies), random.Random(f"next tokens {seed}")
    draws = []
    for step in range(steps):
        progress = step / steps
        weights = curriculum.probabilities_at(progress)
        for _ in range(prompts):
            (tier,) = rng.choices(range(len(TIERS)), weights)
            draws.append(
                Draw(
                    step=step,
                    token=rng.choice(tiers[tier]),
                    tier=TIERS[tier],
                    budget=curriculum.budget_at(progress),
                )
            )
    return draws
