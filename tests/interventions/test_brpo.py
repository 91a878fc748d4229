"""Advantages of thinking cut at budgets, against the formulas written with plain loops."""

import itertools
import math
import random
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from rlent.advantages import group_advantages
from rlent.interventions import BRPO
from rlent.interventions.brpo import budget_prior, summary_advantages, thinking_advantages
from rlent.types import BudgetTree, Rollouts
from tests.interventions.examples import make_rollouts, make_tokens

Scores = dict[tuple[int, int, int, int], float]
"""By prompt, trace, budget and summary."""


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def draw(shape: tuple[int, int, int, int], seed: int = 0) -> Scores:
    rng = random.Random(seed)
    prompts, traces, budgets, summaries = map(range, shape)
    places = itertools.product(prompts, traces, budgets, summaries)
    return {place: rng.choice([0.0, 0.25, 1.0]) for place in places}


def as_tensor(scores: Scores, shape: tuple[int, ...]) -> Tensor:
    tensor = torch.zeros(shape, dtype=torch.float64)
    for place, value in scores.items():
        tensor[place] = value
    return tensor


def plain_thinking(
    scores: Scores, shape: tuple[int, int, int, int], prior: list[float], kind: str
) -> Scores:
    """By prompt, trace and budget (the last place is 0)."""
    prompts, traces, budgets, summaries = shape
    q = {
        (b, g, s): mean([scores[b, g, s, a] for a in range(summaries)])
        for b in range(prompts)
        for g in range(traces)
        for s in range(budgets)
    }

    def returns(b: int, g: int, s: int) -> float:
        return sum(prior[j] * q[b, g, j] for j in range(s, budgets))

    result = {}
    for b, g, s in q:
        before = sum(2**j * q[b, g, j] for j in range(s)) / max(sum(2**j for j in range(s)), 1)
        own = before * sum(prior[s:])
        group = mean([returns(b, other, s) for other in range(traces)]) if traces > 1 else 0.0
        both = (s * own + (budgets - s) * group) / budgets
        baseline = {"both": both, "own": own, "group": group, "none": 0.0}[kind]
        result[b, g, s, 0] = returns(b, g, s) - baseline
    return result


PRIORS = {
    "uniform": [1 / 3, 1 / 3, 1 / 3],
    "linear": [2 / 12, 4 / 12, 6 / 12],
    "base": [0.0, 0.0, 1.0],
}


@pytest.mark.parametrize("name", PRIORS)
def test_priors(name: Any) -> None:
    assert budget_prior((2, 4, 6), name).tolist() == pytest.approx(PRIORS[name], abs=1e-15)


@pytest.mark.parametrize("traces", [1, 2, 5])
@pytest.mark.parametrize("kind", ["both", "own", "group", "none"])
@pytest.mark.parametrize("prior", PRIORS)
def test_thinking(prior: str, kind: Any, traces: int) -> None:
    shape = (2, traces, 3, 2)
    scores = draw(shape)
    expected = plain_thinking(scores, shape, PRIORS[prior], kind)
    given = torch.tensor(PRIORS[prior], dtype=torch.float64)
    found = thinking_advantages(as_tensor(scores, shape).mean(3), given, kind)
    for (b, g, s, _), value in expected.items():
        assert found[b, g, s].item() == pytest.approx(value, abs=1e-14)


def test_summaries_are_compared_with_those_of_their_cut() -> None:
    shape = (1, 2, 3, 2)
    scores = draw(shape, seed=4)
    reached = torch.tensor([[0, 1, 2], [0, 1, 1]]).view(1, 2, 3, 1).expand(shape)
    found = summary_advantages(as_tensor(scores, shape), reached)
    for (b, g, s, a), score in scores.items():
        cut = [
            other
            for (p, h, j, _), other in scores.items()
            if (p, h) == (b, g) and reached[p, h, j, 0] == reached[b, g, s, 0]
        ]
        assert len(cut) == (4 if g == 1 and s > 0 else 2)
        assert found[b, g, s, a].item() == pytest.approx(score - mean(cut), abs=1e-15)


def test_single_summaries_are_compared_over_the_traces() -> None:
    shape = (2, 3, 2, 1)
    scores = draw(shape, seed=1)
    found = summary_advantages(as_tensor(scores, shape), torch.zeros(shape, dtype=torch.long))
    for (b, g, s, a), score in scores.items():
        others = [scores[b, h, s, 0] for h in range(3)]
        assert found[b, g, s, a].item() == pytest.approx(score - mean(others), abs=1e-15)


def test_one_budget_and_one_summary_is_grpo_without_the_deviation() -> None:
    reward = torch.tensor([1.0, 0.0, 0.25, 1.0, 0.0, 0.0], dtype=torch.float64)
    rollouts = batch(reward, traces=3, levels=(4,), reached=[0] * 6)
    before = torch.full_like(rollouts.mask, 7.0, dtype=torch.float64)
    after, _ = BRPO(prior="base").on_advantages(rollouts, before)
    grpo = group_advantages(reward, 3, "none")
    segment = segments(rollouts)
    for row, column in itertools.product(range(6), range(rollouts.mask.size(1))):
        expected = 7.0 if segment[row, column] == -1 else grpo[row].item()
        assert after[row, column].item() == expected


def batch(
    reward: Tensor, *, traces: int, levels: tuple[int, ...], reached: list[int], summaries: int = 1
) -> Rollouts:
    """Rows by prompt, budget, summary and trace; a row is ``levels[-1]`` thinking tokens, a forced one, two more."""
    rows, last = len(reward), levels[-1]
    branches = len(levels) * summaries
    number = torch.arange(rows)
    branch = number // traces % branches
    segment = torch.full((rows, last + 3), -1)
    segment[:, last + 1 :] = len(levels)
    for row in range(rows):
        if branch[row] == branches - 1:
            segment[row, :last] = torch.tensor(
                [sum(place >= level for level in levels) for place in range(last)]
            )
    tokens = make_tokens(rows, last + 3, mask=segment >= 0)
    tree = BudgetTree(
        levels=levels,
        generations=traces,
        trace=number // (traces * branches) * traces + number % traces,
        level=branch // summaries,
        reached=torch.tensor(reached),
        segment=segment,
    )
    return replace(make_rollouts(tokens), reward=reward, budgets=tree)


def segments(rollouts: Rollouts) -> Tensor:
    assert rollouts.budgets is not None
    return rollouts.budgets.segment


def two_budgets() -> tuple[Rollouts, Scores]:
    """Two prompts, two traces, budgets of 2 and 4 tokens, two summaries each."""
    shape = (2, 2, 2, 2)
    scores = draw(shape, seed=2)
    rows = [(b, g, s, a) for b in range(2) for s in range(2) for a in range(2) for g in range(2)]
    reward = torch.tensor([scores[place] for place in rows], dtype=torch.float64)
    reached = [s for _, _, s, _ in rows]
    return batch(reward, traces=2, levels=(2, 4), reached=reached, summaries=2), scores


def test_every_token_has_the_number_of_its_part() -> None:
    rollouts, scores = two_budgets()
    after, metrics = BRPO(prior="linear").on_advantages(
        rollouts, torch.full_like(rollouts.mask, 7.0, dtype=torch.float64)
    )
    thinking = plain_thinking(scores, (2, 2, 2, 2), [1 / 3, 2 / 3], "both")
    rows = [(b, g, s, a) for b in range(2) for s in range(2) for a in range(2) for g in range(2)]
    for row, (b, g, s, a) in enumerate(rows):
        for column in range(7):
            if column > 4:
                pool = [scores[b, g, s, other] for other in range(2)]
                expected = scores[b, g, s, a] - mean(pool)
            elif column < 4 and (s, a) == (1, 1):
                expected = thinking[b, g, column // 2, 0]
            else:
                expected = 7.0
            assert after[row, column].item() == pytest.approx(expected, abs=1e-14)
    shown = {name: value.total / value.count for name, value in metrics.items()}  # type: ignore[union-attr]
    at = [mean([v for (_, _, s, _), v in scores.items() if s == budget]) for budget in range(2)]
    assert {name: float(value) for name, value in shown.items()} == pytest.approx(
        {"score/2": at[0], "score/4": at[1], "anytime_score": at[0] / 3 + 2 * at[1] / 3}
    )


def test_the_last_summary_alone() -> None:
    rollouts, _ = two_budgets()
    zero = torch.zeros_like(rollouts.mask, dtype=torch.float64)
    each, _ = BRPO().on_advantages(rollouts, zero)
    last, _ = BRPO(summaries="last").on_advantages(rollouts, zero)
    number = torch.arange(16)
    of_last = (number // 2 % 4 == 3).unsqueeze(1)
    summary = segments(rollouts) == 2
    assert torch.equal(last, torch.where(summary & ~of_last, 0.0, each))
    assert not torch.equal(last, each)


@pytest.mark.parametrize(
    ("config", "kept"),
    [(BRPO(baseline=None), (0, 1)), (BRPO(summaries=None), (2,))],
    ids=["thinking", "summaries"],
)
def test_null_leaves_a_part_as_it_is(config: BRPO, kept: tuple[int, ...]) -> None:
    rollouts, _ = two_budgets()
    seven = torch.full_like(rollouts.mask, 7.0, dtype=torch.float64)
    changed = BRPO().on_advantages(rollouts, seven)[0]
    of_kept = torch.isin(segments(rollouts), torch.tensor(kept))
    expected = torch.where(of_kept, seven, changed)
    assert torch.equal(config.on_advantages(rollouts, seven)[0], expected)
    assert (changed[of_kept] != 7.0).all()


def test_the_order_of_rows_does_not_matter() -> None:
    rollouts, _ = two_budgets()
    tree = rollouts.budgets
    assert tree is not None
    zero = torch.zeros_like(rollouts.mask, dtype=torch.float64)
    before, _ = BRPO().on_advantages(rollouts, zero)
    order = torch.randperm(16, generator=torch.Generator().manual_seed(0))
    # Summaries of one cut may change places among themselves, which changes who is the last of them and nothing else.
    moved = {name: getattr(tree, name)[order] for name in ("trace", "level", "reached", "segment")}
    shuffled = replace(rollouts, reward=rollouts.reward[order], budgets=replace(tree, **moved))
    after, _ = BRPO().on_advantages(shuffled, zero)
    torch.testing.assert_close(after, before[order], rtol=0, atol=1e-15)


def test_an_unscored_summary_counts_as_nothing_and_learns_nothing() -> None:
    rollouts, _ = two_budgets()
    zero = torch.zeros_like(rollouts.mask, dtype=torch.float64)
    reward = rollouts.reward.clone()
    reward[0], reward[2] = 0.0, 1.0  # the two summaries of one cut
    as_zero, _ = BRPO().on_advantages(replace(rollouts, reward=reward), zero)
    reward[0] = math.nan
    found, _ = BRPO().on_advantages(replace(rollouts, reward=reward), zero)
    assert torch.equal(found[1:], as_zero[1:])
    assert torch.equal(found[0], zero[0])
    assert (as_zero[0] != 0).any()
