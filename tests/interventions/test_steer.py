"""steer: the weight of every token by plain loops, by each estimator and over each scope."""

import json
import math
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from rlent.distributions import Statistic
from rlent.interventions import Steer, chain
from rlent.reduce import Reduce
from rlent.trainer.head_statistics import head_statistics
from rlent.types import Selection, Signal, Tokens
from tests.interventions.examples import make_rollouts, make_signal, make_tokens
from tests.laws.pipeline import number, rows

GOLDEN = Path(__file__).parents[1] / "golden" / "cases"


EXACT = Statistic("entropy_change")
SCOPES = ["micro_batch", "sequence", "group", "rank", "global"]
BEFORE = {"group", "rank", "global"}
"""Scopes whose largest change is that of the generating policy."""


def by_estimator(estimator: str, logp: float, entropy: float, exact: float) -> float:
    """``Omega / (r A)``."""
    pi = math.exp(logp)
    return {
        "product": pi * (1 - pi) * (logp + entropy),
        "released": (1 - pi) * (logp + entropy),
        "exact": exact,
    }[estimator]


def learns(config: Steer, tokens: Tokens, signal: Signal, row: int, place: int) -> bool:
    return config.estimator == "released" or bool(signal.select[row, place])


def changes_by_loops(config: Steer, tokens: Tokens, signal: Signal) -> dict[tuple[int, int], float]:
    """``|Omega|`` of the tokens that are weighted."""
    assert tokens.old_entropy is not None
    changes = {}
    for row, place in tokens.mask.nonzero().tolist():
        logp, entropy = tokens.logp[row, place].item(), tokens.old_entropy[row, place].item()
        advantage = signal.advantage[row, place].item()
        ratio = math.exp(logp - tokens.old_logp[row, place].item())
        clipped = ratio > 1.28 if advantage > 0 else ratio < 0.8
        if learns(config, tokens, signal, row, place) and (
            config.estimator == "released" or not clipped
        ):
            exact = tokens.statistics[EXACT][row, place].item()
            change = by_estimator(config.estimator, logp, entropy, exact)
            changes[row, place] = abs(ratio * advantage * change)
    return changes


def changes_before(config: Steer, tokens: Tokens, signal: Signal) -> dict[tuple[int, int], float]:
    """``|Omega|`` under the generating policy, where every ratio is 1 and nothing is clipped."""
    assert tokens.old_entropy is not None
    changes = {}
    for row, place in tokens.mask.nonzero().tolist():
        if learns(config, tokens, signal, row, place):
            logp, entropy = (
                tokens.old_logp[row, place].item(),
                tokens.old_entropy[row, place].item(),
            )
            exact = tokens.old_statistics[EXACT][row, place].item()
            change = by_estimator(config.estimator, logp, entropy, exact)
            changes[row, place] = abs(signal.advantage[row, place].item() * change)
    return changes


def compared(
    config: Steer, tokens: Tokens, changes: dict[tuple[int, int], float], row: int
) -> list[float]:
    """The changes that a token of this row is compared with."""

    def together(other: int) -> bool:
        match config.scope:
            case "sequence":
                return other == row
            case "group":
                return bool(tokens.group[other] == tokens.group[row])
            case _:
                return True

    return [change for (other, _), change in changes.items() if together(other)]


def weight_by_formula(config: Steer, change: float, changes: list[float]) -> float:
    most, least = max(changes), min(changes)
    if config.shape == "linear":
        share = min(max((change - least) / (most - least), 0.0), 1.0) if most > least else 0.5
        return config.max_weight - share * (config.max_weight - config.min_weight)
    most = max(most, 0.02) if config.estimator == "released" else most
    return config.min_weight ** min(change / most, 1.0)


def some_selected(tokens: Tokens, signal: Signal) -> Signal:
    """A third of the tokens does not learn."""
    drawn = torch.rand(tokens.mask.shape, generator=torch.Generator().manual_seed(5))
    return replace(signal, select=tokens.mask & (drawn > 0.33))


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("estimator", ["product", "exact", "released"])
@pytest.mark.parametrize("scale", [1.0, 1e-3])
@pytest.mark.parametrize(("shape", "most"), [("exponential", 1.0), ("linear", 1.2)])
def test_weights_fall_with_the_entropy_change(
    shape: Any, most: float, scale: float, estimator: Any, scope: Any
) -> None:
    tokens = make_tokens(rows=12, length=9, drift=0.5)
    before = some_selected(tokens, make_signal(tokens))
    before = replace(
        before, advantage=scale * before.advantage, weight=torch.full_like(before.weight, 0.5)
    )
    config = Steer(shape=shape, max_weight=most, estimator=estimator, scope=scope)
    links = chain([config])
    rollouts = make_rollouts(tokens)
    links.on_advantages(rollouts, before.advantage)
    links.on_select(rollouts, Selection(select=before.select, count=before.count))
    after, metrics = links.on_tokens(tokens, before)
    changes = changes_by_loops(config, tokens, before)
    assert len(changes) < int(tokens.mask.sum()) or estimator == "released"
    measured = changes_before(config, tokens, before) if scope in BEFORE else changes
    weights = []
    for row, place in tokens.mask.nonzero().tolist():
        expected = 1.0
        if (row, place) in changes:
            others = compared(config, tokens, measured, row)
            expected = weight_by_formula(config, changes[row, place], others)
        assert after.weight[row, place].item() == pytest.approx(0.5 * expected, rel=1e-9)
        weights.append(expected)
    assert len({round(weight, 6) for weight in weights}) > 9
    assert number(metrics["steer/weight"]) == pytest.approx(sum(weights) / len(weights))
    mean = sum(changes.values()) / len(changes)
    assert number(metrics["steer/entropy_change"]) == pytest.approx(mean)


@pytest.mark.parametrize("scope", sorted(BEFORE))
def test_a_change_beyond_the_largest_at_generation_has_the_smallest_weight(scope: Any) -> None:
    tokens = make_tokens(rows=12, length=9, drift=3.0)
    signal = make_signal(tokens, low=0.0, high=1e9)
    config = Steer(scope=scope)
    after = after_generation(config, tokens, signal)
    changes, measured = (
        changes_by_loops(config, tokens, signal),
        changes_before(config, tokens, signal),
    )
    beyond = [
        place
        for place, change in changes.items()
        if change > max(compared(config, tokens, measured, place[0]))
    ]
    assert beyond
    assert all(after.weight[place].item() == pytest.approx(0.7) for place in beyond)


def after_generation(config: Steer, tokens: Tokens, signal: Signal) -> Signal:
    """The signal after all stages, of a generation batch that is one micro-batch."""
    links, rollouts = chain([config]), make_rollouts(tokens)
    links.on_advantages(rollouts, signal.advantage)
    links.on_select(rollouts, Selection(select=signal.select, count=signal.count))
    return links.on_tokens(tokens, signal)[0]


def test_all_ranks_have_one_maximum_where_the_scope_is_global() -> None:
    tokens = make_tokens(rows=12, length=9, drift=0.0)
    signal = make_signal(tokens)
    whole = after_generation(Steer(), tokens, signal).weight
    found: dict[str, list[torch.Tensor]] = {"least": [], "most": []}

    def kept(name: str, value: torch.Tensor) -> torch.Tensor:
        found[name].append(value)
        return value

    halves = [slice(0, 5), slice(5, 12)]
    recording = Reduce(min=partial(kept, "least"), max=partial(kept, "most"))
    together = Reduce(min=lambda _: min(found["least"]), max=lambda _: max(found["most"]))
    weights: dict[str, list[torch.Tensor]] = {"global": [], "rank": []}
    for reduce in (recording, together):
        for scope, made in weights.items():
            made.clear()
            for half in halves:
                part, links = rows(tokens, half), chain([Steer(scope=scope)])  # pyright: ignore
                rollouts, own = make_rollouts(part, reduce=reduce), rows(signal, half)
                links.on_advantages(rollouts, own.advantage)
                links.on_select(rollouts, Selection(select=own.select, count=own.count))
                made.append(links.on_tokens(part, own)[0].weight)
    torch.testing.assert_close(torch.cat(weights["global"]), whole, rtol=1e-12, atol=0)
    for half, made in zip(halves, weights["rank"], strict=True):
        alone = after_generation(Steer(), rows(tokens, half), rows(signal, half)).weight
        assert torch.equal(made, alone)
    assert not torch.equal(torch.cat(weights["rank"]), whole)


def test_an_evaluation_between_two_updates_moves_nothing() -> None:
    tokens = make_tokens(rows=12, length=9)
    signal = make_signal(tokens)
    links = chain([Steer(scope="group")])

    def generated(tokens: Tokens, signal: Signal, train: bool) -> None:
        rollouts = replace(make_rollouts(tokens), train=train)
        links.on_advantages(rollouts, signal.advantage)
        links.on_select(rollouts, Selection(select=signal.select, count=signal.count))

    generated(tokens, signal, True)
    expected, _ = links.on_tokens(tokens, signal)
    other = make_tokens(rows=4, length=5, seed=9)
    generated(other, make_signal(other), False)
    links.on_tokens(replace(other, train=False), make_signal(other))
    again, _ = links.on_tokens(tokens, signal)
    assert torch.equal(again.weight, expected.weight)


def test_the_exact_term_is_the_heads() -> None:
    """From logits to weights: the statistic of the head, against the first-order term in plain loops."""
    g = torch.Generator().manual_seed(2)
    logits = 2 * torch.randn(3, 4, 11, generator=g, dtype=torch.float64)
    drawn = torch.randint(0, 11, (3, 4), generator=g)
    head = torch.nn.Linear(11, 11, bias=False).double()
    head.weight.data = torch.eye(11, dtype=torch.float64)
    asked = sorted(Steer(estimator="exact").statistics, key=str)
    transform = {"temperature": 0.7, "logit_scale": 1.0, "softcap": None}
    stats, (exact,) = head_statistics(
        head, logits, drawn, asked, behind=logits, impl="torch", **transform
    )
    tokens = make_tokens(3, 4, mask=torch.ones(3, 4, dtype=torch.bool))
    tokens = replace(
        tokens, logp=stats.log_probs, old_logp=stats.log_probs.detach(), statistics={EXACT: exact}
    )
    signal = make_signal(tokens)
    config = Steer(estimator="exact", scope="micro_batch")
    after, _ = chain([config]).on_tokens(tokens, signal)
    changes = {}
    for row in range(3):
        for place in range(4):
            z = [x / 0.7 for x in logits[row, place].tolist()]
            total = sum(math.exp(x) for x in z)
            p = [math.exp(x) / total for x in z]
            entropy = -sum(x * math.log(x) for x in p)
            of_each = [x * (math.log(x) + entropy) for x in p]
            # dz_j = A (1[j = a] - p_j), and dH / dz_j = -p_j (log p_j + H)
            moved = [(j == drawn[row, place].item()) - p[j] for j in range(11)]
            slope = -sum(each * move for each, move in zip(of_each, moved, strict=True))
            changes[row, place] = abs(signal.advantage[row, place].item() * slope)
    for place, change in changes.items():
        assert after.weight[place].item() == pytest.approx(0.7 ** (change / max(changes.values())))


@pytest.mark.parametrize("case", [0, 1, 2])
def test_the_papers_form_is_not_the_released_one_in_the_recorded_cases(case: int) -> None:
    """The weights of the paper's form were recorded beside the released ones, at the released ``w_min``."""
    entries = json.loads((GOLDEN / f"steer_exp_{case}.json").read_text())
    inputs = {
        name: torch.tensor(entries["inputs"][name]["data"]).double()
        for name in ("logp", "old_logp", "old_entropy", "advantages", "mask")
    }
    tokens = make_tokens(*inputs["mask"].shape)
    signal = make_signal(tokens)  # clip 0.2 / 0.28, as recorded
    advantage, mask = inputs.pop("advantages"), inputs.pop("mask").bool()
    tokens = replace(tokens, mask=mask, **inputs)
    signal = replace(signal, advantage=advantage, select=mask)
    config = Steer(min_weight=entries["hyperparameters"]["w_min"], scope="micro_batch")
    weight = config.build().on_tokens(tokens, signal)[0].weight[mask]
    paper = torch.tensor(entries["checks"][1]["independent_values"]["token_weights"]["data"])
    released = torch.tensor(entries["outputs"]["token_weights"]["data"])
    torch.testing.assert_close(weight, paper.double()[mask], rtol=1e-6, atol=1e-6)
    assert (released.double()[mask] - weight).abs().max() > 0.1


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("estimator", ["product", "exact", "released"])
def test_without_any_change_the_weights_are_equal(estimator: Any, scope: Any) -> None:
    tokens = make_tokens()
    nothing = replace(make_signal(tokens), advantage=torch.zeros_like(tokens.old_logp))
    after = after_generation(Steer(estimator=estimator, scope=scope), tokens, nothing)
    assert (after.weight == 1).all()
    linear = Steer(shape="linear", min_weight=0.8, max_weight=1.3, estimator=estimator, scope=scope)
    after = after_generation(linear, tokens, nothing)
    assert after.weight[tokens.mask].tolist() == pytest.approx([1.05] * int(tokens.mask.sum()))


def test_a_clipped_token_keeps_its_weight_and_sets_no_maximum() -> None:
    tokens = make_tokens(1, 3, mask=torch.ones(1, 3, dtype=torch.bool))
    logp = torch.tensor([[-1.0, -1.0, -1.0]], dtype=torch.float64)
    old = torch.tensor([[-4.0, -1.0, -1.1]], dtype=torch.float64)
    tokens = replace(tokens, logp=logp, old_logp=old, old_entropy=torch.full_like(old, 2.0))
    signal = replace(make_signal(tokens), advantage=torch.ones_like(old))
    after = after_generation(Steer(scope="micro_batch"), tokens, signal)
    first, second, third = after.weight[0].tolist()
    assert (first, third) == (1.0, pytest.approx(0.7))
    assert second == pytest.approx(0.7 ** math.exp(-0.1))


@pytest.mark.parametrize("shape", ["exponential", "linear"])
def test_as_released_is_the_scripts_settings(shape: Any) -> None:
    most = 1.2 if shape == "linear" else 1.0
    written_out = Steer(
        shape=shape,
        min_weight=0.8,
        max_weight=most,
        estimator="released",
        scope="micro_batch",
    )
    assert replace(Steer(shape=shape, as_released=True), as_released=False) == written_out
    assert replace(written_out, as_released=True) == Steer(shape=shape, as_released=True)


@pytest.mark.parametrize(
    "given",
    [
        {"min_weight": 0.6},
        {"scope": "sequence"},
        {"estimator": "exact"},
        {"max_weight": 1.3, "shape": "linear"},
    ],
)
def test_as_released_refuses_other_settings(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"as_released means {next(iter(given))}"):
        Steer(as_released=True, **given)


@pytest.mark.parametrize(
    "given",
    [
        {"min_weight": 0.0},
        {"min_weight": 1.1},
        {"max_weight": 0.5, "shape": "linear"},
        {"max_weight": math.inf, "shape": "linear"},
        {"max_weight": 1.2},
    ],
)
def test_steer_refuses(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(given))):
        Steer(**given)


def test_needs() -> None:
    assert Steer().needs == {"old_entropy", "old_logp"}
    assert Steer(estimator="released", scope="rank").needs == {"old_entropy", "old_logp"}
    assert Steer(scope="group").needs == {"old_entropy", "old_logp", "whole_groups"}
    assert Steer(scope="sequence").needs == Steer(as_released=True).needs == {"old_entropy"}
    exact = Steer(estimator="exact")
    assert exact.needs == {"statistics", "old_statistics"}
    assert exact.statistics == exact.old_statistics == {EXACT}
    narrow = Steer(estimator="exact", scope="micro_batch")
    assert narrow.needs == {"statistics"}
    assert (narrow.statistics, narrow.old_statistics) == ({EXACT}, frozenset())
    assert Steer().statistics == Steer().old_statistics == frozenset()
