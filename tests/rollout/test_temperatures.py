"""A temperature and a limit of its own for every completion, against plain loops."""

import math
from typing import Any

import pytest
import torch

from rlent.errors import ConfigError
from rlent.rollout import Branching, Completion, DecodingRule, FixedStep, RolloutEngine, Sampling
from rlent.rollout.decoding import Cautious, EntropyAware, Typical
from rlent.rollout.streams import fork_key, sequence_key, uniform
from tests.rollout.examples import entropy, full_logits, log_softmax, make_model, tokens_of

PROMPTS = [[5, 6, 7], [8, 9, 10, 11, 12], [5, 6, 7]]
TEMPERATURES = (0.3, 1.7, 0.5, 1.0, 2.5, 0.8)
LIMITS = (7, 3, 1, 9, 5, 7)
"""Of two completions of every prompt; rows change places in the batch as others end."""
TOP_P = 0.9


def generate(max_live: int | None = None, **settings: Any) -> tuple[Completion, ...]:
    given = {"max_new_tokens": LIMITS, "temperatures": TEMPERATURES, "top_p": TOP_P} | settings
    engine = RolloutEngine(model=make_model(), sampling=Sampling(**given), max_live=max_live)
    return engine.generate(PROMPTS, 2, seed=4).completions


def nucleus(log_probs: list[float]) -> list[float]:
    """Log-probabilities of the fewest most probable tokens that hold ``TOP_P``."""
    kept, held = [], 0.0
    for token in sorted(range(len(log_probs)), key=lambda token: -log_probs[token]):
        if held < TOP_P:
            kept.append(token)
        held += math.exp(log_probs[token])
    return log_softmax([log_probs[t] if t in kept else -math.inf for t in range(len(log_probs))])


def drawn(log_probs: list[float], number: float) -> int:
    total = 0.0
    for token, value in enumerate(log_probs):
        total += math.exp(value)
        if total > number:
            return token
    raise AssertionError


@pytest.mark.parametrize("max_live", [None, 2])
def test_every_completion_has_its_own(max_live: int | None) -> None:
    model = make_model()
    for place, one in enumerate(generate(max_live)):
        tokens: list[int] = []
        noted: list[tuple[float, float, float]] = []
        key = sequence_key(4, one.prompt, one.index)
        for step in range(LIMITS[place]):
            logits = full_logits(model, PROMPTS[one.prompt], [*tokens, 0])[-1].tolist()
            full = log_softmax([value / TEMPERATURES[place] for value in logits])
            cut = nucleus(full)
            token = drawn(cut, uniform(key, step))
            tokens.append(token)
            noted.append((full[token], entropy(full), cut[token]))
        assert one.token_ids.tolist() == tokens
        found = torch.stack([one.log_probs, one.entropies, one.truncated_log_probs], dim=1)
        torch.testing.assert_close(found, torch.tensor(noted), rtol=0, atol=2e-5)


def test_equal_ones_are_one_for_all() -> None:
    own = generate(temperatures=(0.7,) * 6)
    assert tokens_of(own) == tokens_of(generate(temperatures=None, temperature=0.7))


def test_a_fork_keeps_its_parents() -> None:
    """At 0.01 the most probable token is drawn, whatever the random number: all forks are their parent again."""
    sampling = Sampling(max_new_tokens=(6, 4), temperatures=(0.01, 50.0))
    branching = Branching(hook=FixedStep(step=2), max_branches=2)
    engine = RolloutEngine(model=make_model(), sampling=sampling, branching=branching)
    cold, hot, cold_fork, hot_fork = engine.generate([[5, 6, 7]], 2, seed=0).completions
    assert (cold_fork.parent, hot_fork.parent) == (cold.index, hot.index)
    assert cold_fork.token_ids.tolist() == cold.token_ids.tolist()
    assert len(cold_fork.token_ids) == 6
    assert len(hot_fork.token_ids) == 4
    logits = full_logits(make_model(), [5, 6, 7], hot_fork.token_ids.tolist())
    full = log_softmax([value / 50.0 for value in logits[2].tolist()])
    key = fork_key(sequence_key(0, 0, hot.index), 2)
    assert hot_fork.token_ids[2].item() == drawn(full, uniform(key, 2))


@pytest.mark.parametrize(
    "value", [0.0, -0.5, math.inf, math.nan], ids=["zero", "negative", "inf", "nan"]
)
def test_a_wrong_one_is_named(value: float) -> None:
    with pytest.raises(ConfigError) as caught:
        Sampling(max_new_tokens=4, temperatures=(1.0, value))
    assert caught.value.key == "rollout.temperatures"


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_not_beside_one_for_all(temperature: float) -> None:
    with pytest.raises(ConfigError, match="cannot be had together"):
        Sampling(max_new_tokens=4, temperature=temperature, temperatures=(1.0,))


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("temperatures", {"temperatures": TEMPERATURES[:5]}),
        ("max_new_tokens", {"max_new_tokens": LIMITS[:5]}),
    ],
)
def test_one_per_completion(name: str, given: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="one number per completion") as caught:
        generate(**given)
    assert caught.value.key == f"rollout.{name}"
    assert (caught.value.expected, caught.value.given) == ("6 numbers", 5)


@pytest.mark.parametrize(
    "rule", [Typical(), EntropyAware(mean=1.0, std=1.0), Cautious()], ids=lambda rule: rule.name
)
def test_rules_draw_at_one_temperature(rule: DecodingRule) -> None:
    sampling = Sampling(max_new_tokens=4, temperatures=(1.0, 0.5))
    with pytest.raises(ConfigError, match="one temperature for all") as caught:
        RolloutEngine(model=make_model(), sampling=sampling, decoding=rule)
    assert caught.value.key == f"decoding.{rule.name}"
