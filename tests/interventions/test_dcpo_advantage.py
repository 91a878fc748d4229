"""dcpo_advantage: the two mixtures and the running statistics by plain loops, over visits, ranks and checkpoints."""

import copy
import math
from dataclasses import replace
from statistics import mean, stdev
from typing import Any

import pytest
import torch
from torch import Tensor

from rlent.interventions import DCPOAdvantage, chain
from rlent.interventions.dcpo_advantage import Visits, fingerprint
from rlent.reduce import Reduce
from rlent.types import Rollouts
from tests.interventions.examples import make_rollouts, make_tokens
from tests.laws.pipeline import number
from tests.ranks import on_ranks

PROMPTS = {"a": [1, 2, 3], "b": [2, 3]}


def rollouts_of(batch: dict[str, list[float]], *, pad: int = 0, width: int = 4) -> Rollouts:
    """One group for every prompt, prompts padded on the left."""
    names = [name for name, rewards in batch.items() for _ in rewards]
    made = make_rollouts(make_tokens(rows=len(names), length=3))
    prompts = [PROMPTS[name] for name in names]
    return replace(
        made,
        prompt_ids=torch.tensor([[pad] * (width - len(p)) + p for p in prompts]),
        prompt_mask=torch.tensor(
            [[False] * (width - len(p)) + [True] * len(p) for p in prompts], dtype=torch.bool
        ),
        group=torch.tensor([list(batch).index(name) for name in names]),
        reward=torch.tensor([r for rs in batch.values() for r in rs], dtype=torch.float64),
    )


class ByLoops:
    """The rule, written once more."""

    def __init__(self, *, scale: bool) -> None:
        self._scale = scale
        self._seen: dict[str, tuple[int, float, float]] = {}

    def visit(self, name: str, rewards: list[float]) -> list[float]:
        m, s = mean(rewards), stdev(rewards)
        times, old_m, old_v = self._seen.get(name, (0, 0.0, 0.0))
        i = times + 1
        total_m = (times * old_m + m) / i
        total_v = (times * old_v + s**2 + times / i * (m - old_m) ** 2) / i if times else s**2
        self._seen[name] = (i, total_m, total_v)
        found = []
        for r in rewards:
            if self._scale:
                new = (r - m) / s if s > 0 else 0.0
                total = (r - total_m) / math.sqrt(total_v) if total_v > 0 else 0.0
            else:
                new, total = r - m, r - total_m
            first = (i - 1) / i * new + total / i
            second = new / i + (i - 1) / i * total
            found.append(first if abs(first) < abs(second) else second)
        return found


@pytest.mark.parametrize("scale", ["group", "none"])
def test_advantages_over_several_visits(scale: Any) -> None:
    batches = [
        {"a": [1.0, 0.0, 0.0, 1.0], "b": [0.0, 0.0, 0.0]},
        {"a": [1.0, 1.0, 1.0, 1.0], "b": [0.3, -0.2, 0.7]},
        {"b": [0.0, 0.0, 0.0]},
        {"a": [0.0, 1.0, 0.0, 0.0], "b": [1.0, 0.5, 1.0]},
    ]
    links, loops = chain([DCPOAdvantage(scale=scale)]), ByLoops(scale=scale == "group")
    for index, batch in enumerate(batches):
        given = torch.full((sum(map(len, batch.values())), 3), 9.0, dtype=torch.float64)
        after, metrics = links.on_advantages(rollouts_of(batch, pad=index, width=4 + index), given)
        expected = [a for name, rewards in batch.items() for a in loops.visit(name, rewards)]
        for row, value in enumerate(expected):
            assert after[row].tolist() == pytest.approx([value] * 3, abs=1e-9), index
        assert number(metrics["dcpo_advantage/known"]) == (index > 0)
        if scale == "group":
            revived = {0: 0.0, 1: 0.5, 2: 1.0, 3: 0.0}[index]
            assert number(metrics["dcpo_advantage/revived"]) == revived


def test_equal_rewards_at_the_first_visit_teach_nothing() -> None:
    rollouts = rollouts_of({"a": [0.7, 0.7, 0.7]})
    rollouts = replace(rollouts, reward=rollouts.reward.float())
    after, _ = chain([DCPOAdvantage()]).on_advantages(rollouts, torch.ones(3, 3))
    assert after.tolist() == [[0.0] * 3] * 3


def test_prompts_are_known_by_their_tokens_alone() -> None:
    assert fingerprint([1, 2, 3]) == fingerprint((1, 2, 3)) == -2146746904608826326
    assert len({fingerprint(p) for p in ([], [1], [1, 1], [11], [1, 2], [12], [2, 1])}) == 7


def test_completions_without_a_score_do_not_count() -> None:
    rollouts = rollouts_of({"a": [1.0, math.nan, 0.0], "b": [math.nan, 1.0]})
    links = chain([DCPOAdvantage()])
    after, _ = links.on_advantages(rollouts, torch.ones(5, 3).double())
    half = math.sqrt(0.5)
    assert after[:, 0].tolist() == pytest.approx([half, 0.0, -half, 0.0, 0.0])
    (state,) = links.state_dict().values()
    assert state == {"prompts": {fingerprint(PROMPTS["a"]): [1, 0.5, pytest.approx(half)]}}


def test_an_evaluation_moves_no_state() -> None:
    links = chain([DCPOAdvantage()])
    rollouts = replace(rollouts_of({"a": [1.0, 0.0]}), train=False)
    links.on_advantages(rollouts, torch.ones(2, 3).double())
    assert links.state_dict() == {"dcpo_advantage": {"prompts": {}}}


def test_a_resumed_run_remembers() -> None:
    first, second = rollouts_of({"a": [1.0, 0.0]}), rollouts_of({"a": [1.0, 1.0]})
    one = torch.ones(2, 3, dtype=torch.float64)
    links = chain([DCPOAdvantage()])
    links.on_advantages(first, one)
    state = copy.deepcopy(links.state_dict())
    again = chain([DCPOAdvantage()])
    again.load_state_dict(state)
    expected, _ = links.on_advantages(second, one)
    assert expected[0, 0] > 0
    assert torch.equal(again.on_advantages(second, one)[0], expected)
    assert again.state_dict() == links.state_dict()


def test_ranks_remember_each_others_prompts() -> None:
    """What one rank has seen is known on the other, which next has the same prompt."""
    today = [rollouts_of({"a": [1.0, 0.0]}), rollouts_of({"b": [1.0, 0.0, 0.0]})]
    tomorrow = [rollouts_of({"b": [1.0, 1.0]}), rollouts_of({"a": [0.0, 0.0]})]

    def work(rank: int, reduce: Reduce) -> tuple[Tensor, dict[str, Any]]:
        links = chain([DCPOAdvantage()])
        for batch in (today, tomorrow):
            rollouts = replace(batch[rank], reduce=reduce)
            given = torch.ones(rollouts.mask.shape, dtype=torch.float64)
            after, _ = links.on_advantages(rollouts, given)
        return after, links.state_dict()

    (first, state), (second, other) = on_ranks([0, 1], work)
    assert state == other
    loops = ByLoops(scale=True)
    loops.visit("a", [1.0, 0.0])
    loops.visit("b", [1.0, 0.0, 0.0])
    assert first[:, 0].tolist() == pytest.approx(loops.visit("b", [1.0, 1.0]))
    assert second[:, 0].tolist() == pytest.approx(loops.visit("a", [0.0, 0.0]))


def test_a_rank_without_a_visit_takes_part() -> None:
    def work(rewards: list[float], reduce: Reduce) -> dict[str, Any]:
        links = chain([DCPOAdvantage()])
        rollouts = replace(rollouts_of({"a": rewards}), reduce=reduce)
        links.on_advantages(rollouts, torch.ones(2, 3).double())
        return links.state_dict()

    first, second = on_ranks([[1.0, 0.0], [math.nan, math.nan]], work)
    assert first == second != {"dcpo_advantage": {"prompts": {}}}


def test_without_replacing_advantages_stay() -> None:
    given = torch.full((2, 3), 4.0)
    after, _ = chain([DCPOAdvantage(replace=False)]).on_advantages(
        rollouts_of({"a": [1.0, 0.0]}), given
    )
    assert torch.equal(after, given)


def test_visits_and_needs() -> None:
    assert Visits().and_then(0.3, 0.2) == Visits(1, 0.3, 0.2)
    assert DCPOAdvantage().needs == {"whole_groups", "prompts"}
    assert DCPOAdvantage().smallest_group == 2
