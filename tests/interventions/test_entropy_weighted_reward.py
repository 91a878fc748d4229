"""Entropy-weighted rewards against the equations of GTPO and GRPO-S, written a second time as plain loops."""

import itertools
import math
import statistics
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from rlent.interventions.entropy_weighted_reward import EntropyWeightedReward
from rlent.types import Rollouts
from tests.interventions.examples import make_rollouts, make_tokens
from tests.laws.pipeline import number, rows
from tests.ranks import on_ranks

NAN = math.nan
LEVELS = ("token", "sequence")
NORMALISE = ("each_over_all", "sum_over_all", "each_over_own")
MEANS = ("arithmetic", "geometric")
SCOPES = ("group", "batch")
GROUPS = (5, 2, 5, 9, 2, 5, 2, 9, 5, 2, 9, 4)
REWARDS = (1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 1.0, NAN, 0.6, 1.0, 0.5)
"""Groups in no order: both outcomes in 5 (with one unscored) and 2, only correct in 9, one wrong completion in 4."""


def make(
    groups: tuple[int, ...] = GROUPS,
    rewards: tuple[float, ...] = REWARDS,
    *,
    lengths: tuple[int, ...] | None = None,
    width: int = 6,
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
) -> Rollouts:
    """Rollouts with these groups and rewards, and lengths if they matter."""
    mask = None
    if lengths is not None:
        mask = torch.arange(width) < torch.tensor(lengths).unsqueeze(1)
    tokens = make_tokens(len(groups), width, seed=seed, dtype=dtype, mask=mask)
    group = torch.tensor(groups, dtype=torch.long)
    reward = torch.tensor(rewards, dtype=dtype)
    return make_rollouts(replace(tokens, group=group, reward=reward))


def advantages(config: EntropyWeightedReward, rollouts: Rollouts) -> Tensor:
    """What replaces an advantage that must not shine through."""
    old = torch.full(rollouts.mask.shape, 7.0, dtype=rollouts.reward.dtype)
    return config.on_advantages(rollouts, old)[0]


def metrics(config: EntropyWeightedReward, rollouts: Rollouts) -> dict[str, Any]:
    old = torch.full(rollouts.mask.shape, 7.0, dtype=rollouts.reward.dtype)
    return dict(config.on_advantages(rollouts, old)[1])


# The equations, a second time -------------------------------------------------------------------------------------


def compared_with(values: list[float], mean: str) -> float:
    """What an entropy is divided by: sum / count, or the root of the product."""
    if mean == "geometric":
        return math.prod(values) ** (1 / len(values))
    return sum(values) / len(values)


def z_score(value: float, population: list[float]) -> float:
    deviation = statistics.stdev(population) if len(population) > 1 else 0.0
    return (value - statistics.fmean(population)) / (deviation + 1e-4)


def of_one_scope(
    entropy: dict[tuple[int, int], float],
    outcome: dict[int, int],
    config: EntropyWeightedReward,
    lost: dict[int, float],
) -> dict[tuple[int, int], float]:
    """Advantages of the units (completion, position) of one scope; ``outcome`` is +1 or -1."""
    correct = [unit for unit in entropy if outcome[unit[0]] > 0]
    wrong = [unit for unit in entropy if outcome[unit[0]] < 0]
    plus = dict.fromkeys(entropy, 0.0)
    minus = dict.fromkeys(entropy, 0.0)
    for i, t in correct:
        column = [entropy[k] for k in correct if k[1] == t]
        ratio = entropy[i, t] / compared_with(column, config.mean)
        plus[i, t] = config.base * (1 - lost.get(i, 0.0)) + config.bonus * ratio
    for j, t in wrong:
        column = [1 / entropy[k] for k in wrong if k[1] == t]
        ratio = (1 / entropy[j, t]) / compared_with(column, config.mean)
        minus[j, t] = -config.base - config.bonus * ratio
    if config.normalise == "sum_over_all":
        both = {unit: plus[unit] + minus[unit] for unit in entropy}
        return {unit: z_score(both[unit], list(both.values())) for unit in entropy}
    own = config.normalise == "each_over_own"
    of_plus = [plus[unit] for unit in (correct if own else entropy)]
    of_minus = [minus[unit] for unit in (wrong if own else entropy)]
    return {u: z_score(plus[u], of_plus) for u in correct} | {
        u: z_score(minus[u], of_minus) for u in wrong
    }


def by_definition(
    config: EntropyWeightedReward, rollouts: Rollouts, lost: dict[int, float] | None = None
) -> Tensor:
    """Advantages of every token, scope by scope; ``lost`` is the share of base that completions lose."""
    assert rollouts.old_entropy is not None
    rows, width = rollouts.mask.shape
    result = [[0.0] * width for _ in range(rows)]
    groups = [0] * rows if config.scope == "batch" else rollouts.group.tolist()
    for group in set(groups):
        outcome, entropy = {}, {}
        for i in range(rows):
            reward = float(rollouts.reward[i])
            places = [t for t in range(width) if rollouts.mask[i, t]]
            if groups[i] != group or math.isnan(reward) or not places:
                continue
            outcome[i] = 1 if reward > config.correct else -1
            here = {t: float(rollouts.old_entropy[i, t]) for t in places}
            if config.level == "sequence":
                here = {0: compared_with(list(here.values()), config.mean)}
            entropy |= {(i, t): value for t, value in here.items()}
        units = of_one_scope(entropy, outcome, config, lost or {})
        for i, t in itertools.product(outcome, range(width)):
            if rollouts.mask[i, t]:
                result[i][t] = units[i, t if config.level == "token" else 0]
    return torch.tensor(result, dtype=torch.float64)


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("mean", MEANS)
@pytest.mark.parametrize("normalise", NORMALISE)
@pytest.mark.parametrize("level", LEVELS)
def test_follows_the_equations(level: Any, normalise: Any, mean: Any, scope: Any) -> None:
    config = EntropyWeightedReward(
        level=level, normalise=normalise, mean=mean, scope=scope, base=0.9, bonus=0.3
    )
    rollouts = make()
    rollouts.mask[3, 1] = False  # a hole, as tool tokens leave it
    rollouts.mask[1] = False  # a completion without a token
    torch.testing.assert_close(
        advantages(config, rollouts), by_definition(config, rollouts), rtol=1e-10, atol=1e-10
    )


def test_defaults_are_the_papers() -> None:
    config = EntropyWeightedReward()
    assert (config.base, config.bonus, config.level, config.scope) == (1.0, 0.1, "token", "group")
    rollouts = make()
    torch.testing.assert_close(
        advantages(config, rollouts), by_definition(config, rollouts), rtol=1e-10, atol=1e-10
    )


def test_hand_computed_group() -> None:
    """Two correct tokens of entropy 1 and 3 give 1.05 and 1.15, wrong ones of 1 and 1/3 give -1.05 and -1.15."""
    rollouts = make((0, 0, 0, 0), (1.0, 1.0, 0.0, 0.0), lengths=(1, 1, 1, 1), width=1)
    entropy = torch.tensor([[1.0], [3.0], [1.0], [1 / 3]], dtype=torch.float64)
    result = advantages(
        EntropyWeightedReward(normalise="sum_over_all"), replace(rollouts, old_entropy=entropy)
    )
    shaped = [1.05, 1.15, -1.05, -1.15]
    deviation = math.sqrt(sum(x * x for x in shaped) / 3) + 1e-4
    assert result.flatten().tolist() == pytest.approx([x / deviation for x in shaped])


# What the readings mean ---------------------------------------------------------------------------------------------


def shaped_rewards(config: EntropyWeightedReward, rollouts: Rollouts) -> tuple[Tensor, Tensor]:
    units = config._tokens(rollouts, torch.float64)
    return config._shape(units, torch.zeros(len(rollouts.mask), 1, dtype=torch.float64))


@pytest.mark.parametrize("floor", [None, 0.0, 1e-12])
def test_mean_reward_of_a_position_is_base_plus_bonus(floor: float | None) -> None:
    rollouts = make((0,) * 8, (1.0, 0.0) * 4)
    if floor is not None:
        rollouts = replace(rollouts, old_entropy=torch.full_like(rollouts.old_entropy, floor))
    plus, minus = shaped_rewards(EntropyWeightedReward(base=0.8, bonus=0.4), rollouts)
    for rewards, part, mean in ((plus, slice(0, 8, 2), 1.2), (minus, slice(1, 8, 2), -1.2)):
        for t in range(rollouts.mask.shape[1]):
            active = rollouts.mask[part, t]
            if active.any():
                assert rewards[part, t][active].mean().item() == pytest.approx(mean, rel=1e-12)
            assert (rewards[part, t][~active] == 0).all()


def test_geometric_mean_of_two_and_eight_is_four() -> None:
    rollouts = make((0, 0, 0), (1.0, 1.0, 1.0), lengths=(1, 1, 2), width=2)
    entropy = torch.tensor([[2.0, NAN], [8.0, NAN], [4.0, 0.3]], dtype=torch.float64)
    config = EntropyWeightedReward(mean="geometric", base=0.0, bonus=1.0)
    plus, _ = shaped_rewards(config, replace(rollouts, old_entropy=entropy))
    torch.testing.assert_close(
        plus, torch.tensor([[0.5, 0], [2, 0], [1, 1]], dtype=torch.float64), rtol=1e-12, atol=0
    )


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("seed", range(5))
def test_default_reading_keeps_the_sign_of_the_outcome(level: Any, seed: int) -> None:
    rewards = (1.0, 0.0) * 8
    rollouts = make((0,) * 8 + (1,) * 8, rewards, width=9, seed=seed)
    result = advantages(EntropyWeightedReward(level=level), rollouts)
    correct = torch.tensor(rewards).bool().unsqueeze(1)
    assert (result[rollouts.mask & correct] > 0).all()
    assert (result[rollouts.mask & ~correct] < 0).all()


def test_sign_of_the_default_reading_turns_where_the_docs_say() -> None:
    """91% is the share of correct tokens at which the smallest reward, ``base``, falls below the mean of r+."""
    for wrong, sign in ((3, 1), (1, -1)):
        correct = 20
        rewards = (1.0,) * correct + (0.0,) * wrong
        rollouts = make((0,) * len(rewards), rewards, lengths=(1,) * len(rewards), width=1)
        assert rollouts.old_entropy is not None
        rollouts.old_entropy[0] = 0.0
        result = advantages(EntropyWeightedReward(), rollouts)
        assert math.copysign(1, float(result[0, 0])) == sign
        assert (correct / len(rewards) < 1 / 1.1) == (sign > 0)


@pytest.mark.parametrize("level", LEVELS)
def test_own_reading_cancels_base_and_bonus(level: Any) -> None:
    """The weights are seen only through the 1e-4 that is added to the deviation, so they are made large."""
    rollouts = make((0,) * 8, (1.0, 0.0) * 4)
    results = [
        advantages(
            EntropyWeightedReward(level=level, normalise="each_over_own", base=base, bonus=bonus),
            rollouts,
        )
        for base, bonus in ((1e7, 1e6), (0.9e7, 1e6), (5e7, 1e5), (0.0, 1e6))
    ]
    for result in results[1:]:
        torch.testing.assert_close(result, results[0], rtol=1e-6, atol=1e-6)
    if level == "token":
        for rows in (slice(0, 8, 2), slice(1, 8, 2)):
            assert results[0][rows][rollouts.mask[rows]].mean().item() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("normalise", ["each_over_all", "sum_over_all"])
def test_other_readings_do_not_cancel_them(normalise: Any) -> None:
    rollouts = make((0,) * 8, (1.0, 0.0) * 4)
    first, second = (
        advantages(EntropyWeightedReward(normalise=normalise, base=base), rollouts)
        for base in (1.0, 0.5)
    )
    assert (first - second).abs().max() > 0.01


def test_high_entropy_is_rewarded_when_correct_and_certainty_punished_when_wrong() -> None:
    rollouts = make((0,) * 4, (1.0, 1.0, 0.0, 0.0), lengths=(1,) * 4, width=1)
    entropy = torch.tensor([[2.0], [0.5], [2.0], [0.5]], dtype=torch.float64)
    open_right, sure_right, open_wrong, sure_wrong = (
        advantages(EntropyWeightedReward(), replace(rollouts, old_entropy=entropy))
        .flatten()
        .tolist()
    )
    assert open_right > sure_right > 0 > open_wrong > sure_wrong


def test_every_token_of_a_completion_has_one_number_at_level_sequence() -> None:
    rollouts = make()
    result = advantages(EntropyWeightedReward(level="sequence"), rollouts)
    for row, mask in zip(result, rollouts.mask, strict=True):
        assert row[mask].unique().numel() == 1
    assert (result[~rollouts.mask] == 0).all()


# What is correct ----------------------------------------------------------------------------------------------------


def test_threshold_and_named_reward_say_what_is_correct() -> None:
    rollouts = make((0,) * 4, (9.0, 9.0, 9.0, 9.0))
    parts = torch.tensor([[0.2, 1.0], [0.4, 0.0], [0.3, 1.0], [NAN, 0.0]], dtype=torch.float64)
    rollouts = replace(rollouts, reward_parts=parts, reward_names=("score", "format"))
    config = EntropyWeightedReward(reward="score", correct=0.3)
    assert config.named_rewards == {"score"}
    assert EntropyWeightedReward().named_rewards == frozenset()
    signs = [
        float(r[m].sum().sign())
        for r, m in zip(advantages(config, rollouts), rollouts.mask, strict=True)
    ]
    assert signs == [-1.0, 1.0, -1.0, 0.0]


def test_unscored_completions_influence_nothing() -> None:
    rollouts = make()
    assert rollouts.old_entropy is not None
    unscored = rollouts.reward.isnan()
    for level, scope in itertools.product(LEVELS, SCOPES):
        config = EntropyWeightedReward(level=level, scope=scope)
        result = advantages(config, rollouts)
        assert (result[unscored] == 0).all()
        other = torch.where(unscored.unsqueeze(1), 50.0, rollouts.old_entropy)
        assert torch.equal(result, advantages(config, replace(rollouts, old_entropy=other)))


# Overlong completions -----------------------------------------------------------------------------------------------

WIDTH = 16


def check_punished(lengths: tuple[int, ...], correct: int, lost: dict[int, float]) -> None:
    """In one group, of which the first ``correct`` are correct, these completions lose this share of base."""
    rewards = (1.0,) * correct + (0.0,) * (len(lengths) - correct)
    rollouts = make((3,) * len(lengths), rewards, lengths=lengths, width=WIDTH)
    for level in LEVELS:
        config = EntropyWeightedReward(overlong_easy=0.75, level=level, base=2.0)
        expected = by_definition(config, rollouts, lost)
        torch.testing.assert_close(advantages(config, rollouts), expected, rtol=1e-10, atol=1e-10)
        share = number(metrics(config, rollouts)["overlong_share"])
        assert share == pytest.approx(len(lost) / max(correct, 1))


def test_easy_prompts_punish_long_correct_completions() -> None:
    """Correct lengths 2, 4, 12: L+ = max(7, 6) = 7, so 12 loses 0.5 * 5 / 7. The wrong one of 16 counts nowhere."""
    check_punished((2, 4, 12, 16), 3, {2: 0.5 * 5 / 7})


def test_punishment_starts_at_the_larger_of_middle_and_mean() -> None:
    check_punished((1, 1, 1, 1, 16), 5, {4: 0.5 * 7.5 / 8.5})  # middle 8.5, mean 4
    check_punished((1, 9, 9, 9), 4, dict.fromkeys((1, 2, 3), 0.5 * 2 / 7))  # middle 5, mean 7
    check_punished((5, 5, 5, 5), 4, {})  # at L itself there is none


def test_medium_prompts_take_the_lengths_of_all() -> None:
    """3 of 5 correct. All lengths 2, 12, 4, 14, 8: L- = max(8, 8) = 8, so 12 loses 0.5 * 4 / 8."""
    check_punished((2, 12, 4, 14, 8), 3, {1: 0.25})


def test_medium_prompts_without_a_majority_and_hard_prompts_punish_nobody() -> None:
    check_punished((2, 16, 2, 2), 2, {})
    check_punished((16, 2, 9, 1, 1), 2, {})
    check_punished((2, 16, 1, 1, 1, 1, 1, 1), 2, {})
    check_punished((16, 1, 1, 1), 0, {})


def test_lengths_count_tokens_of_the_mask_and_scored_completions_only() -> None:
    """Lengths 2, 4, 12 with a hole of one token, next to an unscored one of 16: L+ = max(6.5, 17 / 3) = 6.5."""
    rollouts = make((0,) * 4, (1.0, 1.0, 1.0, NAN), lengths=(2, 4, 12, 16), width=WIDTH)
    rollouts.mask[2, 5] = False
    config = EntropyWeightedReward(overlong_easy=0.75)
    expected = by_definition(config, rollouts, {2: 0.5 * 4.5 / 6.5})
    torch.testing.assert_close(advantages(config, rollouts), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("total", [3, 5, 7, 10, 12])
def test_a_share_of_exactly_gamma_is_easy(total: int) -> None:
    """The last correct completion is long among the correct ones; a wrong one that is longer hides that if counted."""
    correct = total - 1
    rewards = (1.0,) * correct + (0.0,)
    lengths = (2,) * (correct - 1) + (8, WIDTH)
    rollouts = make((0,) * total, rewards, lengths=lengths, width=WIDTH)
    share = correct / total
    for gamma, punished in ((share, 1), (math.nextafter(share, 1.0), 0)):
        config = EntropyWeightedReward(overlong_easy=gamma)
        assert metrics(config, rollouts)["overlong_share"].total == punished


@pytest.mark.parametrize("scope", SCOPES)
def test_punishment_is_that_of_the_group_and_lowers_the_advantage(scope: Any) -> None:
    """Group 0 is easy with a long completion; group 1 has only one correct, as long, and is left alone."""
    groups, rewards = (0, 1) * 4, (1.0, 1.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0)
    lengths = (12, 12, 2, 2, 2, 2, 2, 2)
    rollouts = make(groups, rewards, lengths=lengths, width=WIDTH)
    rollouts = replace(rollouts, old_entropy=torch.ones_like(rollouts.old_entropy))
    for level in LEVELS:
        config = EntropyWeightedReward(overlong_easy=0.75, scope=scope, level=level)
        result = advantages(config, rollouts)[:, 0]
        unpunished = advantages(replace(config, overlong_easy=None), rollouts)[:, 0]
        assert result[0] < result[2] == result[4]
        assert unpunished[0] == unpunished[2]
        assert number(metrics(config, rollouts)["overlong_share"]) == 0.25


# Edges --------------------------------------------------------------------------------------------------------------

ALL_SETTINGS = [
    EntropyWeightedReward(
        level=level, normalise=normalise, mean=mean, scope=scope, overlong_easy=overlong
    )
    for level, normalise, mean, scope, overlong in itertools.product(
        LEVELS, NORMALISE, MEANS, SCOPES, (None, 0.75)
    )
]

EDGES: dict[str, Callable[[torch.dtype], Rollouts]] = {
    "only correct": lambda d: make((0,) * 4, (1.0,) * 4, dtype=d),
    "only wrong": lambda d: make((0,) * 4, (0.0,) * 4, dtype=d),
    "nothing scored": lambda d: make((0,) * 4, (NAN,) * 4, dtype=d),
    "one completion": lambda d: make((7,), (1.0,), dtype=d),
    "one token": lambda d: make((7, 7), (1.0, 0.0), lengths=(1, 0), width=1, dtype=d),
    "all padded": lambda d: make((0,) * 4, (1.0, 0.0) * 2, lengths=(0,) * 4, dtype=d),
    "no positions": lambda d: make((0,) * 4, (1.0, 0.0) * 2, lengths=(0,) * 4, width=0, dtype=d),
    "no rows": lambda d: make((), (), dtype=d),
}


def check_finite(config: EntropyWeightedReward, rollouts: Rollouts) -> None:
    old = torch.full(rollouts.mask.shape, 7.0, dtype=rollouts.reward.dtype)
    result, reported = config.on_advantages(rollouts, old)
    assert result.shape == old.shape
    assert result.dtype == old.dtype
    assert result.isfinite().all()
    assert (result[~rollouts.mask] == 0).all()
    assert all(math.isfinite(number(value)) for value in reported.values())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("edge", EDGES)
def test_edges_stay_finite_in_their_dtype(edge: str, dtype: torch.dtype) -> None:
    for config in ALL_SETTINGS:
        check_finite(config, EDGES[edge](dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("values", [(0.0,), (1e-12,), (0.0, 1e-12, 12.0), (-1e-6, 0.5)])
def test_vanishing_entropies_stay_finite(values: tuple[float, ...], dtype: torch.dtype) -> None:
    rollouts = make(dtype=dtype)
    size = rollouts.mask.numel()
    entropy = torch.tensor(values, dtype=dtype).repeat(size)[:size].view_as(rollouts.mask)
    for config in ALL_SETTINGS:
        check_finite(config, replace(rollouts, old_entropy=entropy))


@pytest.mark.parametrize("reward", [0.0, 1.0])
def test_equal_entropies_without_contrast_give_exactly_zero(reward: float) -> None:
    """Summed row by row in float32, 23 * 61 times 1.1 rounds: the error over 1e-4 would be a signal of 2e-3."""
    count, width = 23, 61
    rollouts = make(
        (0,) * count, (reward,) * count, lengths=(width,) * count, width=width, dtype=torch.float32
    )
    rollouts = replace(rollouts, old_entropy=torch.ones_like(rollouts.old_entropy))
    for level, normalise in itertools.product(LEVELS, NORMALISE):
        config = EntropyWeightedReward(level=level, normalise=normalise)
        assert (advantages(config, rollouts) == 0).all()


@pytest.mark.parametrize("junk", [NAN, math.inf, -math.inf])
def test_masked_junk_never_leaks(junk: float) -> None:
    rollouts = make()
    assert rollouts.old_entropy is not None
    spoiled = replace(rollouts, old_entropy=torch.where(rollouts.mask, rollouts.old_entropy, junk))
    for config in ALL_SETTINGS:
        assert torch.equal(advantages(config, rollouts), advantages(config, spoiled))
        clean, other = metrics(config, rollouts), metrics(config, spoiled)
        assert {k: number(v) for k, v in clean.items()} == {k: number(v) for k, v in other.items()}


def test_float32_agrees_with_float64() -> None:
    single = make(dtype=torch.float32)
    assert single.old_entropy is not None
    double = replace(single, old_entropy=single.old_entropy.double(), reward=single.reward.double())
    for config in ALL_SETTINGS:
        torch.testing.assert_close(
            advantages(config, single).double(), advantages(config, double), rtol=1e-4, atol=1e-4
        )


def test_groups_may_come_in_any_order_of_rows() -> None:
    rollouts = make()
    order = torch.randperm(len(GROUPS), generator=torch.Generator().manual_seed(1))
    shuffled = rows(rollouts, order)
    for config in ALL_SETTINGS:
        torch.testing.assert_close(
            advantages(config, shuffled), advantages(config, rollouts)[order], rtol=1e-9, atol=1e-9
        )


# Over ranks ---------------------------------------------------------------------------------------------------------


def over_ranks(
    work: Callable[[EntropyWeightedReward, Rollouts], Any],
    config: EntropyWeightedReward,
    parts: list[Rollouts],
) -> list[Any]:
    return on_ranks(parts, lambda part, reduce: work(config, replace(part, reduce=reduce)))


def cut(rollouts: Rollouts, part: slice) -> Rollouts:
    """The rows of one rank, padded no further than its own longest completion."""
    mine = rows(rollouts, part)
    width = max(mine.mask.sum(1).tolist(), default=0)
    names = ("completion_ids", "mask", "old_logp", "old_entropy", "ref_logp")
    return replace(mine, **{name: getattr(mine, name)[:, :width] for name in names})


RANKS = (slice(0, 6), slice(6, 6), slice(6, 12))


def on_three_ranks() -> tuple[Rollouts, list[Rollouts]]:
    """One process, and ranks of unequal width with whole groups each, one of them without rows."""
    groups = (0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 3, 3)
    rollouts = make(groups, REWARDS, lengths=(2, 1, 3, 2, 1, 3, 6, 2, 5, 1, 4, 6))
    parts = [cut(rollouts, part) for part in RANKS]
    assert [part.mask.shape for part in parts] == [(6, 3), (0, 0), (6, 6)]
    return rollouts, parts


def test_ranks_together_equal_one_process() -> None:
    rollouts, parts = on_three_ranks()
    for config in ALL_SETTINGS:
        together = over_ranks(advantages, config, parts)
        whole = advantages(config, rollouts)
        for part, result in zip(RANKS, together, strict=True):
            expected = whole[part, : result.shape[1]]
            torch.testing.assert_close(result, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("scope", SCOPES)
def test_metrics_of_ranks_add_up_to_those_of_one_process(scope: Any) -> None:
    config = EntropyWeightedReward(scope=scope, overlong_easy=0.75)
    rollouts, parts = on_three_ranks()
    together = over_ranks(metrics, config, parts)
    for name, mean in metrics(config, rollouts).items():
        assert sum(int(part[name].count) for part in together) == mean.count
        total = sum(float(part[name].total) for part in together)
        assert total == pytest.approx(float(mean.total))


# Metrics ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", SCOPES)
def test_metrics_are_means_by_outcome_and_by_entropy(scope: Any) -> None:
    rollouts = make()
    assert rollouts.old_entropy is not None
    config = EntropyWeightedReward(scope=scope)
    result, reported = advantages(config, rollouts), metrics(config, rollouts)
    segments = [0] * len(GROUPS) if scope == "batch" else list(GROUPS)
    expected: dict[str, list[float]] = {
        "advantage_correct": [],
        "advantage_wrong": [],
        "advantage_correct_high_entropy": [],
        "advantage_correct_low_entropy": [],
    }
    right = [
        (i, t)
        for i, t in itertools.product(range(len(GROUPS)), range(rollouts.mask.shape[1]))
        if rollouts.mask[i, t] and rollouts.reward[i] > 0.5
    ]
    for i, t in right:
        own = [float(rollouts.old_entropy[k]) for k in right if segments[k[0]] == segments[i]]
        side = "high" if rollouts.old_entropy[i, t] > statistics.fmean(own) else "low"
        expected["advantage_correct"].append(float(result[i, t]))
        expected[f"advantage_correct_{side}_entropy"].append(float(result[i, t]))
    wrong = rollouts.mask & (rollouts.reward <= 0.5).unsqueeze(1)
    expected["advantage_wrong"] = result[wrong].tolist()
    assert reported.keys() == expected.keys()
    for name, values in expected.items():
        assert values
        assert reported[name].count == len(values)
        assert number(reported[name]) == pytest.approx(statistics.fmean(values)), name


def test_names_of_metrics_depend_on_the_settings_only() -> None:
    for config in ALL_SETTINGS:
        names = {frozenset(metrics(config, edge(torch.float64))) for edge in EDGES.values()}
        assert len(names) == 1
        assert ("overlong_share" in names.pop()) == (config.overlong_easy is not None)


# Settings -----------------------------------------------------------------------------------------------------------


def test_neutral_leaves_the_advantage_as_it_is() -> None:
    rollouts = make()
    advantage = torch.randn(rollouts.mask.shape, dtype=torch.float64)
    after, reported = EntropyWeightedReward.neutral().on_advantages(rollouts, advantage)
    assert after is advantage
    correct = rollouts.mask & (rollouts.reward > 0.5).unsqueeze(1)
    assert number(reported["advantage_correct"]) == pytest.approx(float(advantage[correct].mean()))


@pytest.mark.parametrize("settings", [{"base": 0.0}, {"bonus": 0.0}])
def test_one_weight_alone_is_not_neutral(settings: dict[str, float]) -> None:
    rollouts = make()
    config = EntropyWeightedReward(**settings)
    torch.testing.assert_close(
        advantages(config, rollouts), by_definition(config, rollouts), rtol=1e-10, atol=1e-10
    )


def test_needs_follow_the_settings() -> None:
    assert EntropyWeightedReward().needs == {"old_entropy", "whole_groups"}
    assert EntropyWeightedReward(scope="batch").needs == {"old_entropy"}
    assert EntropyWeightedReward(scope="batch", overlong_easy=0.8).needs == {
        "old_entropy",
        "whole_groups",
    }


@pytest.mark.parametrize("field", ["base", "bonus"])
@pytest.mark.parametrize("value", [-0.1, NAN, math.inf])
def test_weights_out_of_range(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{field} must be finite and >= 0"):
        EntropyWeightedReward(**{field: value})


@pytest.mark.parametrize("value", [NAN, math.inf])
def test_threshold_out_of_range(value: float) -> None:
    with pytest.raises(ValueError, match="correct must be finite"):
        EntropyWeightedReward(correct=value)


@pytest.mark.parametrize("value", [0.5, 1.0, 0.2, NAN])
def test_overlong_easy_out_of_range(value: float) -> None:
    with pytest.raises(ValueError, match=r"overlong_easy must be in \(0\.5, 1\)"):
        EntropyWeightedReward(overlong_easy=value)
