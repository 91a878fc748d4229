"""adaptive_entropy: the weight step by step, what each released code measures, and when the bonus works."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from trl.trainer.grpo_trainer import GRPOTrainer

from rlent.aggregate import Step
from rlent.interventions import AdaptiveEntropy, Chain, ForkingTokens, StepStatistics, chain
from rlent.objective import build_objective
from rlent.reduce import Reduce
from rlent.trainer import EntropyGRPOTrainer
from rlent.types import Tokens
from tests.interventions.examples import make_rollouts, make_signal, make_tokens
from tests.laws.pipeline import number, rows
from tests.ranks import on_ranks
from tests.trainer.helpers import (
    loss_and_gradients,
    make_batch,
    make_trainer,
    relative_difference,
)

OPTIONS: dict[str, Any] = {
    "target": 0.5,
    "delta": 0.1,
    "smallest": 0.05,
    "largest": 0.3,
    "initial": 0.1,
}
ENTROPIES = [0.4, 0.5, 0.3, 0.2, 0.1, 0.9, 0.4, 0.5, 0.9, 0.9, 0.9, 0.5, 0.1]


def statistics(entropy: float) -> StepStatistics:
    return StepStatistics(step=0, tokens=10.0, entropy=entropy, selected=1.0)


def with_entropy(value: float, **options: Any) -> Tokens:
    """Every token's entropy is ``value``."""
    tokens = make_tokens(**options)
    return replace(tokens, entropy=torch.full_like(tokens.old_logp, value).requires_grad_())


def weights(form: str | None) -> list[tuple[float, float]]:
    """Weight that each step applies, and weight after it, by the rule of each form."""
    found = []
    weight, low = 0.1, form != "trl"
    for entropy in ENTROPIES:
        applied = weight if low else 0.0
        if form is None:
            low = entropy <= 0.5
            change = 0.0 if entropy == 0.5 else 0.1 if low else -0.1
        else:
            low = entropy < 0.5 if form == "skywork" else entropy <= 0.5
            change = 0.1 if low else -0.1
        weight = min(max(weight + change, 0.05), 0.3)
        found.append((applied, weight))
    return found


@pytest.mark.parametrize("form", [None, "skywork", "trl"])
def test_the_weight_follows_the_rule(form: Any) -> None:
    links = chain([AdaptiveEntropy(**OPTIONS, as_released=form)])
    for entropy, (applied, after) in zip(ENTROPIES, weights(form), strict=True):
        tokens = with_entropy(entropy if form == "trl" else 0.7)
        surprisal = torch.full_like(tokens.old_logp, -entropy)
        links.on_advantages(replace(make_rollouts(tokens), old_logp=surprisal), tokens.old_logp)
        signal, metrics = links.on_tokens(tokens, make_signal(tokens))
        assert number(metrics["adaptive_entropy/weight"]) == pytest.approx(applied)
        expected = -applied * tokens.entropy.detach()
        torch.testing.assert_close(signal.penalty.detach()[tokens.mask], expected[tokens.mask])
        links.on_step(statistics(entropy if form is None else 7.0))
        state = links.state_dict()["adaptive_entropy"]
        assert state["weight"] == pytest.approx(after)
        assert state["entropy"] == pytest.approx(entropy)


def test_the_forms_part_at_the_target() -> None:
    """There the rule rests, Skywork's weight falls and TRL's grows."""
    assert weights(None)[1][1] == pytest.approx(0.2)
    assert weights("skywork")[1][1] == pytest.approx(0.1)
    assert weights("trl")[1][1] == pytest.approx(0.3)
    assert [weights(form)[2][0] > 0 for form in (None, "skywork", "trl")] == [True, False, True]


def selected_half(tokens: Tokens) -> Tensor:
    """Every second place."""
    places = torch.arange(tokens.mask.shape[1]).expand_as(tokens.mask)
    return tokens.mask & (places % 2 == 0)


def test_trl_measures_the_step_of_tokens_that_learn() -> None:
    """Over the micro-batches of the step, not over those of an evaluation."""
    links = chain([AdaptiveEntropy(as_released="trl")])
    total, count = 0.0, 0
    for seed in range(3):
        tokens = make_tokens(seed=seed)
        select = selected_half(tokens)
        signal = replace(make_signal(tokens), select=select)
        links.on_tokens(replace(tokens, train=False), replace(signal, select=tokens.mask))
        links.on_tokens(tokens, signal)
        for row, place in select.nonzero().tolist():
            total += tokens.entropy[row, place].item()
            count += 1
    links.on_step(statistics(7.0))
    assert links.state_dict()["adaptive_entropy"]["entropy"] == pytest.approx(total / count)
    tokens = make_tokens()
    nothing = replace(make_signal(tokens), select=torch.zeros_like(tokens.mask))
    signal, _ = links.on_tokens(tokens, nothing)
    assert torch.equal(signal.penalty, nothing.penalty)
    links.on_step(statistics(7.0))
    assert links.state_dict()["adaptive_entropy"]["entropy"] == 0.0


@pytest.mark.parametrize("form", [None, "trl"])
def test_what_the_bonus_is_averaged_over(form: Any) -> None:
    """Where the loss is averaged over a micro-batch's tokens: those that learn in TRL's form, else all of them."""
    config = AdaptiveEntropy(initial=0.005, tokens="selected", as_released=form)
    links = chain([config])
    links.load_state_dict({"adaptive_entropy": {"weight": 0.005, "entropy": 0.0}})
    tokens = make_tokens()
    select = selected_half(tokens)
    plain = replace(make_signal(tokens), select=select, advantage=torch.zeros_like(tokens.old_logp))
    signal, _ = links.on_tokens(tokens, plain)
    step = Step(micro_batches=2, tokens=tokens.mask.sum(), max_length=12)
    loss = build_objective("bnpo")(tokens, signal, counted=step, everything=step)
    (gradient,) = torch.autograd.grad(loss, tokens.entropy)
    divisor = int(select.sum() if form == "trl" else tokens.mask.sum())
    assert select.sum() < tokens.mask.sum()
    expected = 0.0
    for row, place in tokens.mask.nonzero().tolist():
        share = 0.005 / divisor / 2 if select[row, place] else 0.0
        expected -= share * tokens.entropy[row, place].item()
        assert gradient[row, place].item() == pytest.approx(-share)
    assert loss.item() == pytest.approx(expected)


@pytest.mark.parametrize("entropy", [0.0, 5.0])
def test_the_released_form_is_what_trl_trains_with(
    tiny_folder: Path, tmp_path: Path, entropy: float
) -> None:
    """Loss and gradients of TRL's trainer on two micro-batches, and its weight and measurement after them."""
    options: dict[str, Any] = {"loss_type": "bnpo", "gradient_accumulation_steps": 2}
    theirs = make_trainer(
        GRPOTrainer,
        tiny_folder,
        tmp_path,
        use_adaptive_entropy=True,
        entropy_coef=0.3,
        entropy_target=1.0,
        entropy_coef_delta=0.1,
        top_entropy_quantile=0.5,
        **options,
    )
    half = ForkingTokens(fraction=0.5, scope="micro_batch", entropy="current", denominator="all")
    config = AdaptiveEntropy(initial=0.3, target=1.0, delta=0.1, largest=1.0, as_released="trl")
    ours = make_trainer(
        EntropyGRPOTrainer, tiny_folder, tmp_path, interventions=[half, config], **options
    )
    theirs._last_world_entropy = entropy
    ours.chain.load_state_dict({"adaptive_entropy": {"weight": 0.3, "entropy": entropy}})
    batches = [make_batch(ours, old=False, seed=seed) for seed in range(2)]
    (loss, gradients), (their_loss, their_gradients) = (
        loss_and_gradients(trainer, batches) for trainer in (ours, theirs)
    )
    assert loss.item() == pytest.approx(their_loss.item(), rel=1e-5)
    for name, gradient in their_gradients.items():
        assert relative_difference(gradients[name], gradient) < 1e-4
    state = ours.chain.state_dict()["adaptive_entropy"]
    assert state["weight"] == pytest.approx(theirs.entropy_coef)
    assert state["entropy"] == pytest.approx(theirs._last_world_entropy, rel=1e-5)


def test_skywork_measures_the_surprisal_of_the_whole_batch() -> None:
    """Once, whatever the optimiser steps are, for the next batch, and not in an evaluation."""
    links = chain([AdaptiveEntropy(as_released="skywork", target=9.0)])
    rollouts = make_rollouts(make_tokens())
    assert rollouts.old_logp is not None
    links.on_advantages(replace(rollouts, train=False), rollouts.old_logp)
    assert links.state_dict()["adaptive_entropy"]["entropy"] is None
    links.on_advantages(rollouts, rollouts.old_logp)
    places = rollouts.mask.nonzero().tolist()
    surprisal = sum(-rollouts.old_logp[row, place].item() for row, place in places) / len(places)
    for _ in range(3):
        links.on_step(statistics(7.0))
    state = links.state_dict()["adaptive_entropy"]
    assert state == {"weight": 1e-4, "entropy": pytest.approx(surprisal), "applied": 0.0}
    given_up = replace(rollouts, mask=torch.zeros_like(rollouts.mask))
    links.on_advantages(given_up, rollouts.old_logp)
    assert links.state_dict()["adaptive_entropy"] == {**state, "applied": 1e-4}


@pytest.mark.parametrize("form", ["skywork", "trl"])
def test_a_measurement_is_that_of_all_ranks(form: Any) -> None:
    tokens = make_tokens(rows=8)
    signal = make_signal(tokens)

    def measured(part: slice, reduce: Reduce) -> float:
        links = chain([AdaptiveEntropy(as_released=form)])
        mine = replace(rows(tokens, part), reduce=reduce)
        links.on_advantages(make_rollouts(mine, reduce=reduce), mine.old_logp)
        links.on_tokens(mine, rows(signal, part))
        links.on_step(statistics(7.0))
        return links.state_dict()["adaptive_entropy"]["entropy"]

    (whole,) = on_ranks([slice(None)], measured)
    assert on_ranks([slice(0, 5), slice(5, 8)], measured) == pytest.approx([whole] * 2)


def test_the_bonus_carries_gradient_only_while_it_works() -> None:
    tokens = make_tokens()
    links = chain([AdaptiveEntropy(initial=0.005)])
    signal, _ = links.on_tokens(tokens, make_signal(tokens))
    (gradient,) = torch.autograd.grad(signal.penalty.sum(), tokens.entropy)
    assert torch.allclose(gradient, -0.005 * tokens.mask.double())
    links.on_step(statistics(1.0))
    signal, _ = links.on_tokens(tokens, make_signal(tokens))
    assert not signal.penalty.requires_grad


@pytest.mark.parametrize("form", [None, "skywork", "trl"])
def test_a_resumed_run_goes_on_where_it_was(form: Any) -> None:
    config = AdaptiveEntropy(delta=0.002, target=1.5, as_released=form)

    def step(links: Chain, seed: int) -> float:
        tokens = make_tokens(seed=seed)
        links.on_advantages(make_rollouts(tokens), tokens.old_logp)
        _, metrics = links.on_tokens(tokens, make_signal(tokens))
        links.on_step(statistics(0.1))
        return number(metrics["adaptive_entropy/weight"])

    links = chain([config])
    for seed in range(3):
        step(links, seed)
    resumed = chain([config])
    resumed.load_state_dict(json.loads(json.dumps(links.state_dict())))
    assert resumed.state_dict() == links.state_dict()
    tokens = make_tokens()
    both = [part.on_tokens(tokens, make_signal(tokens))[1] for part in (links, resumed)]
    assert [number(metrics["adaptive_entropy/weight"]) > 0 for metrics in both] == [True] * 2
    for part in (links, resumed):
        part.on_step(statistics(0.1))
    assert [step(links, seed) for seed in (5, 6)] == [step(resumed, seed) for seed in (5, 6)]
    assert links.state_dict() == resumed.state_dict()


@pytest.mark.parametrize(
    "given",
    [
        {"target": -0.1},
        {"target": math.inf},
        {"delta": -1e-4},
        {"smallest": 0.1},
        {"largest": math.inf},
        {"initial": 0.1},
        {"smallest": -0.1},
        {"tokens": "selected", "as_released": "skywork"},
    ],
)
def test_adaptive_entropy_refuses(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(given))):
        AdaptiveEntropy(**given)


def test_released_settings() -> None:
    assert AdaptiveEntropy(as_released="trl").tokens == "selected"
    assert AdaptiveEntropy(as_released="skywork").tokens == "all"


def test_needs() -> None:
    assert AdaptiveEntropy().needs == {"entropy_grad"}
    assert AdaptiveEntropy(as_released="trl").needs == {"entropy_grad"}
    assert AdaptiveEntropy(as_released="skywork").needs == {"entropy_grad", "old_logp"}
