"""Estimators of a token's effect on entropy, on random softmax policies: who foresees the true change, and the log."""

import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from rlent.distributions import Statistic
from rlent.interventions import Steer
from scripts.entropy_change_study import (
    States,
    correlations,
    entropy,
    estimates,
    random_states,
    true_change,
)
from tests.interventions.examples import make_signal, make_tokens

ORDER = ["exact first order", "STEER, paper", "STEER, released", "covariance"]
LOG = Path(__file__).parents[1] / "docs" / "log.md"


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("step", [0.01, 0.1])
def test_the_exact_term_foresees_a_small_step_and_the_others_follow_in_order(
    step: float, seed: int
) -> None:
    found = correlations(random_states(4000, 64, seed=seed), step)
    assert list(found) == ORDER
    assert found["exact first order"].pearson > 0.99
    assert found["exact first order"].spearman > 0.99
    for measure in ("pearson", "spearman", "sizes"):
        values = [getattr(found[name], measure) for name in ORDER]
        assert values == sorted(values, reverse=True)
        assert values[1] < 0.9
        assert 0.2 < values[3] < values[2] - 0.05


def test_after_a_large_step_no_estimator_is_exact() -> None:
    found = correlations(random_states(4000, 64, seed=1), 1.0)
    assert 0.7 < found["exact first order"].pearson < 0.9
    assert max(found, key=lambda name: found[name].pearson) == "exact first order"


def test_the_truth_and_the_exact_term_by_hand() -> None:
    """One state of three tokens, in plain Python; the ratio of truth and estimate is the step."""
    logits, token, advantage, step = [0.5, -1.0, 2.0], 1, -0.7, 1e-5

    def policy(z: list[float]) -> list[float]:
        total = sum(math.exp(x) for x in z)
        return [math.exp(x) / total for x in z]

    def nats(p: list[float]) -> float:
        return -sum(x * math.log(x) for x in p)

    p = policy(logits)
    moved = [z + step * advantage * ((j == token) - p[j]) for j, z in enumerate(logits)]
    change = nats(policy(moved)) - nats(p)
    surprise = [x * (math.log(x) + nats(p)) for x in p]
    exact = -advantage * (surprise[token] - sum(x * s for x, s in zip(p, surprise, strict=True)))
    states = States(
        logits=torch.tensor([logits], dtype=torch.float64),
        token=torch.tensor([token]),
        advantage=torch.tensor([advantage], dtype=torch.float64),
    )
    assert float(entropy(states.logits)) == pytest.approx(nats(p), rel=1e-12)
    assert float(true_change(states, step)) == pytest.approx(change, rel=1e-6)
    assert float(estimates(states)["exact first order"]) == pytest.approx(exact, rel=1e-9)
    assert change / exact == pytest.approx(step, rel=1e-3)


@pytest.mark.parametrize(
    ("estimator", "name"),
    [
        ("product", "STEER, paper"),
        ("released", "STEER, released"),
        ("exact", "exact first order"),
    ],
)
def test_the_sizes_of_steers_estimates_order_tokens_as_its_weights_do(
    estimator: Any, name: str
) -> None:
    """The larger the estimate, the smaller the weight of rlent's intervention on the same tokens."""
    states = random_states(30, 8, seed=4)
    logp = states.logits.log_softmax(-1).gather(1, states.token.unsqueeze(1))
    tokens = make_tokens(rows=30, length=1, mask=torch.ones(30, 1, dtype=torch.bool))
    record = {
        name: getattr(tokens, name) for name in tokens.__dataclass_fields__ if name != "reduce"
    }
    record |= {"logp": logp, "old_logp": logp, "old_entropy": entropy(states.logits).unsqueeze(1)}
    chosen = torch.nn.functional.one_hot(states.token, 8).double()
    logits = states.logits.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(entropy(logits).sum(), logits)
    slope = (gradient * (chosen - states.logits.softmax(1))).sum(1, keepdim=True)
    record["statistics"] = {Statistic("entropy_change"): -slope}
    signal = make_signal(tokens)
    changed = {name: getattr(signal, name) for name in signal.__dataclass_fields__}
    changed["advantage"] = states.advantage.unsqueeze(1)
    steer = Steer(estimator=estimator, scope="micro_batch").build()
    after, _ = steer.on_tokens(type(tokens)(**record), type(signal)(**changed))
    sizes = estimates(states)[name].abs()
    assert torch.equal(after.weight.squeeze(1).argsort(stable=True), sizes.argsort(descending=True))


def test_the_log_has_the_studys_numbers() -> None:
    rows = re.findall(r"^\| 0\.01 \| (.+?) \| (.+?) \| (.+?) \| (.+?) \|$", LOG.read_text(), re.M)
    found = correlations(random_states(20_000, 64, seed=0), 0.01)
    assert [name for name, *_ in rows] == ORDER
    for name, *numbers in rows:
        each = found[name]
        assert numbers == [f"{value:.3f}" for value in (each.pearson, each.spearman, each.sizes)]
