"""What each rule draws from, against plain loops in float64, and what stays as it is under every rule."""

import math
import random
from typing import Any

import pytest
import torch
from torch import Tensor

from rlent.errors import ConfigError
from rlent.reduce import Reduce
from rlent.rollout import Completion, Decoding, RolloutEngine, Sampling
from rlent.rollout.decoding import (
    TABLE,
    DecodingRule,
    EntropyAware,
    EntropyTemperature,
    TemperatureSwitch,
    Typical,
)
from rlent.rollout.decoding.entropy_temperature import LogEntropies, Temperatures
from rlent.rollout.sampling import Step
from tests.rollout.examples import (
    PROMPTS,
    entropy,
    full_logits,
    greedy_tokens,
    log_softmax,
    make_model,
    tokens_of,
)

LENGTH = 10


def step_of(logits: Tensor, sampling: Sampling, positions: list[int] | None = None) -> Step:
    tempered = (logits / sampling.temperature).tolist()
    return Step(
        scores=logits,
        entropies=torch.tensor([entropy(log_softmax(row)) for row in tempered]),
        positions=torch.tensor(positions or [9] * len(logits)),
        sampling=sampling,
    )


def random_logits(rows: int, scale: float = 2.0, vocabulary: int = 23) -> Tensor:
    return torch.randn(rows, vocabulary, generator=torch.Generator().manual_seed(0)) * scale


def typical(log_probs: list[float], mass: float) -> list[float]:
    """Probabilities after typical truncation, ties at the last distance kept."""
    h = entropy(log_probs)
    distances = [abs(-value - h) for value in log_probs]
    order = sorted(range(len(log_probs)), key=lambda token: distances[token])
    held, last = 0.0, distances[order[-1]]
    for token in order:
        held += math.exp(log_probs[token])
        if held >= mass:
            last = distances[token]
            break
    kept = [
        math.exp(value) if distances[token] <= last else 0.0
        for token, value in enumerate(log_probs)
    ]
    return [value / sum(kept) for value in kept]


def assert_drawn_from(given: Tensor, expected: list[list[float]]) -> None:
    torch.testing.assert_close(
        given.exp().double(), torch.tensor(expected, dtype=torch.float64), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("temperature", [0.7, 1.0])
@pytest.mark.parametrize("mass", [0.2, 0.9, 1.0])
def test_typical(mass: float, temperature: float) -> None:
    logits = random_logits(6)
    given = Typical(mass=mass)(step_of(logits, Sampling(max_new_tokens=1, temperature=temperature)))
    rows = [log_softmax(row) for row in (logits / temperature).tolist()]
    assert_drawn_from(given, [typical(row, mass) for row in rows])
    if mass == 1:
        assert (given > -math.inf).all()


def generated(decoding: DecodingRule | None, **options: Any) -> tuple[Completion, ...]:
    max_live, length = options.pop("max_live", None), options.pop("max_new_tokens", LENGTH)
    engine = RolloutEngine(
        model=options.pop("model", None) or make_model(),
        sampling=Sampling(max_new_tokens=length, **options),
        max_live=max_live,
        decoding=decoding,
    )
    return engine.generate(PROMPTS, 3, seed=4).completions


def test_typical_of_mass_one_is_plain_sampling() -> None:
    assert tokens_of(generated(Typical(mass=1.0))) == tokens_of(generated(None))


def test_typical_is_the_sampling_setting_of_that_name() -> None:
    rule, setting = generated(Typical(mass=0.4)), generated(None, typical_p=0.4)
    for one, other in zip(rule, setting, strict=True):
        assert one.token_ids.tolist() == other.token_ids.tolist()
        assert torch.equal(one.truncated_log_probs, other.truncated_log_probs)
        assert torch.equal(one.log_probs, other.log_probs)


def test_entropy_aware_draws_above_the_zone_and_after_the_first_tokens() -> None:
    logits = torch.cat([random_logits(4, 0.1), random_logits(4, 4.0)])
    sampling = Sampling(max_new_tokens=1, temperature=0.8)
    rule = EntropyAware(mean=1.0, std=0.5, alpha=2.0, greedy_steps=3)
    step = step_of(logits, sampling, [0, 2, 3, 9, 3, 9, 20, 2])
    expected = []
    for place, row in enumerate((logits / 0.8).tolist()):
        log_probs = log_softmax(row)
        if entropy(log_probs) > 1.0 + 2.0 * 0.5 and int(step.positions[place]) + 1 > 3:
            expected.append(typical(log_probs, 0.2))
        else:
            expected.append([float(value == max(row)) for value in row])
    assert rule.draws(step).tolist() == [False, False, True, True, *[False] * 4]
    assert_drawn_from(rule(step), expected)


def test_entropy_aware_at_infinity_is_greedy() -> None:
    model = make_model()
    made = generated(EntropyAware(mean=0.0, std=1.0, alpha=math.inf), model=model)
    assert tokens_of(made) == [
        greedy_tokens(model, prompt, LENGTH) for prompt in PROMPTS for _ in range(3)
    ]
    assert all((one.truncated_log_probs == 0).all() for one in made)


@pytest.mark.parametrize("own", [{"typical_p": 0.3}, {"typical_p": 1.0, "top_k": 4}], ids=str)
def test_entropy_aware_at_minus_infinity_is_its_sampler(own: dict[str, Any]) -> None:
    rule = EntropyAware(mean=1.0, std=1.0, alpha=-math.inf, greedy_steps=0, **own)
    for one, other in zip(
        generated(rule, top_p=0.9), generated(None, top_p=0.9, **own), strict=True
    ):
        assert one.token_ids.tolist() == other.token_ids.tolist()
        assert torch.equal(one.truncated_log_probs, other.truncated_log_probs)


def quantile_statistics(entropies: list[float], pivot: float) -> tuple[float, float, float, float]:
    logs = sorted(math.log(max(value, 1e-8)) for value in entropies)
    centre = logs[round(pivot * (len(logs) - 1))]
    scale = math.sqrt(max(sum((v - centre) ** 2 for v in logs) / len(logs), 1e-8))
    standard = [(value - centre) / scale for value in logs]
    return centre, scale, max(*standard, 1e-8), min(*standard, -1e-8)


NOTED = [0.0, 0.1, 0.5, 0.5, 1.7, 2.2, 0.9, 1.1, 0.3]


@pytest.mark.parametrize("pivot", [0.0, 0.5, 0.8, 1.0])
def test_statistics_of_log_entropies(pivot: float) -> None:
    found = LogEntropies.of(torch.tensor(NOTED), pivot)
    assert found is not None
    given = (found.centre, found.scale, found.highest, found.lowest)
    assert given == pytest.approx(quantile_statistics(NOTED, pivot), rel=1e-6)


def test_no_token_gives_no_statistics() -> None:
    assert LogEntropies.of(torch.empty(0), 0.8) is None


@pytest.mark.parametrize("released", [False, True])
def test_entropy_temperature_is_hot_above_the_pivot_and_cold_below(released: bool) -> None:
    config = EntropyTemperature(tau=0.5, as_released=released)
    rule = config.build()
    rule.observe(torch.tensor(NOTED), Reduce())
    centre, scale, highest, lowest = quantile_statistics(NOTED, 0.8)
    logits = torch.cat([random_logits(3, 0.2), random_logits(3, 2.0), random_logits(3, 9.0)])
    step = step_of(logits, Sampling(max_new_tokens=1, temperature=0.9))
    expected, heights = [], []
    for row, h in zip(logits.tolist(), step.entropies.tolist(), strict=True):
        z = (math.log(max(h, 1e-8)) - centre) / scale
        height = z / highest if z > 0 else z / (lowest if released else -lowest)
        heights.append(min(max(height, -1), 1))
        temperature = 0.9 * (1 + 0.5 * heights[-1])
        expected.append([math.exp(v) for v in log_softmax([value / temperature for value in row])])
    assert_drawn_from(rule(step), expected)
    assert any(height > 0 for height in heights)
    assert any(height < 0 for height in heights) == (not released)


def test_entropy_temperature_begins_with_the_trainers() -> None:
    rule = EntropyTemperature(tau=0.9).build()
    assert tokens_of(generated(rule)) == tokens_of(generated(None))
    rule.observe(torch.tensor(NOTED), Reduce())
    assert tokens_of(generated(rule)) != tokens_of(generated(None))


@pytest.mark.parametrize("name", ["entropy_temperature", "temperature_switch"])
def test_what_a_rule_remembers_goes_into_a_checkpoint(name: str) -> None:
    rule, resumed = TABLE[name]().build(), TABLE[name]().build()
    rule.observe(torch.tensor(NOTED), Reduce())
    assert tokens_of(generated(rule)) != tokens_of(generated(resumed))
    resumed.load_state_dict(rule.state_dict())
    assert tokens_of(generated(rule)) == tokens_of(generated(resumed))
    fresh = TABLE[name]().build()
    resumed.load_state_dict(fresh.state_dict())
    assert tokens_of(generated(resumed)) == tokens_of(generated(fresh))


def test_temperature_switch() -> None:
    rule = TemperatureSwitch(target=0.625, high=1.5, low=0.4).build()
    logits, sampling = random_logits(5), Sampling(max_new_tokens=1, temperature=1.0)

    def temperature() -> float:
        expected = {
            value: [[math.exp(v) for v in log_softmax(row)] for row in (logits / value).tolist()]
            for value in (1.5, 0.4)
        }
        given = rule(step_of(logits, sampling)).exp().double()
        (found,) = [
            value
            for value, rows in expected.items()
            if torch.allclose(given, torch.tensor(rows, dtype=torch.float64), atol=1e-6)
        ]
        return found

    assert temperature() == 1.5
    for noted, expected in (
        ([0.75, 0.625], 0.4),
        ([0.625, 0.625], 1.5),
        ([], 1.5),
        ([3.0], 0.4),
        ([], 0.4),
    ):
        rule.observe(torch.tensor(noted), Reduce())
        assert temperature() == expected


RULES: list[DecodingRule] = [
    Typical(mass=0.3),
    EntropyAware(mean=2.0, std=0.5),
    TemperatureSwitch(),
    EntropyTemperature(tau=0.6),
]


def remembering(rule: DecodingRule) -> DecodingRule:
    rule = rule.build()
    rule.observe(torch.tensor(NOTED), Reduce())
    return rule


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_the_full_distribution_is_noted_as_ever(rule: DecodingRule) -> None:
    """Log-probabilities and entropies are those of the sampling temperature, whatever the token was drawn from."""
    model = make_model()
    for one in generated(remembering(rule), model=model, temperature=1.3):
        tokens = one.token_ids.tolist()
        logits = full_logits(model, PROMPTS[one.prompt], tokens) / 1.3
        for place, token in enumerate(tokens):
            log_probs = log_softmax(logits[place].tolist())
            assert one.log_probs[place].item() == pytest.approx(log_probs[token], abs=1e-4)
            assert one.entropies[place].item() == pytest.approx(entropy(log_probs), abs=1e-4)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_completion_does_not_depend_on_its_neighbours(rule: DecodingRule) -> None:
    limits = tuple(random.Random(0).choices(range(1, 9), k=15))
    alone = generated(remembering(rule), max_new_tokens=limits, max_live=1)
    for max_live in (None, 4):
        together = generated(remembering(rule), max_new_tokens=limits, max_live=max_live)
        assert tokens_of(together) == tokens_of(alone)


@pytest.mark.parametrize(
    ("name", "options", "field"),
    [
        ("typical", {"mass": 0.0}, "mass"),
        ("typical", {"mass": 1.1}, "mass"),
        ("entropy_aware", {"mean": 1.0, "std": 0.0}, "std"),
        ("entropy_aware", {"mean": 1.0, "std": 1.0, "greedy_steps": -1}, "greedy_steps"),
        ("entropy_aware", {"mean": 1.0, "std": 1.0, "typical_p": 0.0}, "typical_p"),
        ("entropy_aware", {"mean": 1.0, "std": 1.0, "top_k": -1}, "top_k"),
        ("entropy_temperature", {"tau": 1.0}, "tau"),
        ("entropy_temperature", {"tau": -0.1}, "tau"),
        ("entropy_temperature", {"pivot": 1.5}, "pivot"),
        ("temperature_switch", {"target": -1.0}, "target"),
        ("temperature_switch", {"high": 0.0}, "high"),
        ("temperature_switch", {"low": math.inf}, "low"),
        ("temperature_switch", {"low": 2.0}, "low"),
    ],
)
def test_a_wrong_option_is_named(name: str, options: dict[str, Any], field: str) -> None:
    with pytest.raises(ValueError, match=field):
        TABLE[name](**options)


@pytest.mark.parametrize(
    "rule", [*RULES, Temperatures(EntropyTemperature())], ids=lambda rule: rule.name
)
def test_greedy_decoding_has_no_rule(rule: DecodingRule) -> None:
    with pytest.raises(ConfigError, match="greedy"):
        generated(rule, temperature=0.0)


@pytest.mark.parametrize(
    ("rule", "settings"),
    [
        (Typical(), {"typical_p": 0.5}),
        (EntropyAware(mean=1.0, std=1.0), {"typical_p": 0.5}),
        (EntropyAware(mean=1.0, std=1.0), {"top_k": 5}),
    ],
)
def test_nothing_is_truncated_twice(rule: DecodingRule, settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="itself"):
        generated(rule, **settings)


def test_a_recipes_choice_is_one_rule() -> None:
    assert Decoding(typical=Typical(mass=0.5)).rule == Typical(mass=0.5)
    for wrong in ({}, {"typical": Typical(), "temperature_switch": TemperatureSwitch()}):
        with pytest.raises(ValueError, match="must name one rule"):
            Decoding(**wrong)
    assert set(TABLE) == set(Decoding.__dataclass_fields__)
