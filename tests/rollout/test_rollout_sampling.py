"""The draw: against transformers' processors, against the exact distribution, and at its edges."""

import math
from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)

from rlent.errors import ConfigError
from rlent.rollout import RolloutEngine, Sampling
from rlent.rollout.sampling import draw, penalise, pick, truncated
from tests.rollout.examples import full_logits, log_softmax, make_model

NONE_SEEN = torch.empty(3, 0, dtype=torch.long)


def random_logits(rows: int, vocabulary: int, scale: float, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(rows, vocabulary, generator=generator)
    logits[1, ::3] = -math.inf  # banned by the model
    return logits


def sampling(**options: Any) -> Sampling:
    return Sampling(max_new_tokens=1, **options)


WARPERS = {
    "temperature": TemperatureLogitsWarper,
    "top_k": TopKLogitsWarper,
    "top_p": TopPLogitsWarper,
    "min_p": MinPLogitsWarper,
    "typical_p": TypicalLogitsWarper,
}
SETTINGS: list[dict[str, Any]] = [
    {"temperature": 0.7},
    {"top_k": 1},
    {"top_k": 40},
    {"top_k": 10**6},
    {"top_p": 1e-6},
    {"top_p": 0.5},
    {"top_p": 0.999},
    {"min_p": 0.02},
    {"min_p": 1.0},
    {"typical_p": 0.2},
    {"typical_p": 0.95},
    {"temperature": 1.3, "top_k": 50, "top_p": 0.9, "min_p": 0.01, "typical_p": 0.8},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize(("vocabulary", "scale"), [(50, 2.0), (3000, 3.0), (3000, 0.1)])
def test_truncation_is_that_of_transformers(
    settings: dict[str, Any], vocabulary: int, scale: float
) -> None:
    """The last vocabulary is so flat that the most probable 1024 tokens are not enough."""
    logits = random_logits(8, vocabulary, scale)
    theirs = LogitsProcessorList([WARPERS[name](value) for name, value in settings.items()])
    expected = theirs(torch.zeros(8, 1, dtype=torch.long), logits.clone())
    assert torch.equal(truncated(logits, sampling(**settings)), expected)


@pytest.mark.parametrize("penalty", [0.5, 1.3])
def test_the_penalty_is_that_of_transformers(penalty: float) -> None:
    logits = random_logits(4, 50, 2.0)
    seen = torch.tensor([[1, 2, 3, 3], [0, 3, 9, 9], [7, 7, 7, 7], [4, 5, 6, 4]])
    expected = RepetitionPenaltyLogitsProcessor(penalty)(seen, logits.clone())  # pyright: ignore
    assert torch.equal(penalise(logits, seen, penalty), expected)


def test_settings_and_their_order_are_those_of_generate() -> None:
    """Raw and processed logits as generate itself gives them."""
    settings: dict[str, Any] = {
        "temperature": 1.4,
        "top_k": 60,
        "top_p": 0.95,
        "min_p": 0.001,
        "typical_p": 0.9,
        "repetition_penalty": 1.7,
    }
    torch.manual_seed(1)
    prompt = torch.tensor([[5, 6, 7, 8], [9, 10, 11, 12]])
    made = make_model().generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        max_new_tokens=6,
        do_sample=True,
        pad_token_id=0,
        return_dict_in_generate=True,
        output_logits=True,
        output_scores=True,
        **settings,
    )
    ours = sampling(**settings)
    for step in range(6):
        seen = made.sequences[:, : 4 + step]
        scores = penalise(made.logits[step], seen, ours.repetition_penalty)
        torch.testing.assert_close(truncated(scores, ours), made.scores[step])


def exact_distribution(logits: list[float], settings: dict[str, Any]) -> list[float]:
    """top_k, then top_p, in plain loops."""
    log_probs = log_softmax([value / settings.get("temperature", 1.0) for value in logits])
    order = sorted(range(len(logits)), key=lambda token: -log_probs[token])
    kept = order[: settings.get("top_k", len(order))]
    total = sum(math.exp(log_probs[token]) for token in kept)
    reached, nucleus = 0.0, []
    for token in kept:
        if reached < settings.get("top_p", 1.0):
            nucleus.append(token)
        reached += math.exp(log_probs[token]) / total
    total = sum(math.exp(log_probs[token]) for token in nucleus)
    return [
        math.exp(log_probs[token]) / total if token in nucleus else 0.0
        for token in range(len(logits))
    ]


def chi_square_p_value(counts: Counter[int], probabilities: list[float]) -> float:
    """Tokens expected less than five times are one bin."""
    total = sum(counts.values())
    bins = [(counts[i], total * p) for i, p in enumerate(probabilities) if total * p >= 5]
    rest = (total - sum(seen for seen, _ in bins), total - sum(mean for _, mean in bins))
    if rest[1] > 1e-6 * total:
        bins.append(rest)
    statistic = sum((seen - mean) ** 2 / mean for seen, mean in bins)
    half = torch.tensor([(len(bins) - 1) / 2, statistic / 2], dtype=torch.float64)
    return torch.special.gammaincc(half[0], half[1]).item()


@pytest.mark.parametrize(
    "settings",
    [{}, {"top_k": 7}, {"top_p": 0.6}, {"temperature": 1.5, "top_k": 20, "top_p": 0.8}],
    ids=str,
)
def test_tokens_follow_the_exact_distribution(settings: dict[str, Any]) -> None:
    """The first token, from the prefill, and the second, from a decoding step, given the first."""
    model, prompt = make_model(), [5, 6, 7]
    engine = RolloutEngine(model=model, sampling=Sampling(max_new_tokens=2, **settings))
    made = [one.token_ids.tolist() for one in engine.generate([prompt], 4000, seed=0).completions]
    first = exact_distribution(full_logits(model, prompt, [0])[0].tolist(), settings)
    counts = Counter(tokens[0] for tokens in made)
    assert all(first[token] > 0 for token in counts)
    assert chi_square_p_value(counts, first) > 1e-3
    likely = counts.most_common(1)[0][0]
    second = exact_distribution(full_logits(model, prompt, [likely, 0])[1].tolist(), settings)
    after = Counter(tokens[1] for tokens in made if tokens[0] == likely)
    assert all(second[token] > 0 for token in after)
    assert chi_square_p_value(after, second) > 1e-3


def test_the_chi_square_test_can_fail() -> None:
    model, prompt = make_model(), [5, 6, 7]
    engine = RolloutEngine(model=model, sampling=sampling(temperature=1.3))
    made = engine.generate([prompt], 4000, seed=0).completions
    exact = exact_distribution(full_logits(model, prompt, [0])[0].tolist(), {})
    assert chi_square_p_value(Counter(one.token_ids[0].item() for one in made), exact) < 1e-6


@pytest.mark.parametrize("vocabulary", [7, 1024, 1536, 50257])
def test_a_token_of_probability_zero_is_never_picked(vocabulary: int) -> None:
    """Also at both ends of the interval, and with zeros at both ends of the vocabulary and of its groups."""
    generator = torch.Generator().manual_seed(0)
    edges = [0.0, 5e-324, 2.0**-53, 0.5, 1 - 2.0**-53]
    for _ in range(20):
        probs = torch.rand(len(edges), vocabulary, generator=generator)
        probs[torch.rand(probs.shape, generator=generator) < 0.9] = 0.0
        probs[:, [0, -1]] = 0.0
        probs[:, vocabulary // 2] = 0.1
        probs /= probs.sum(-1, keepdim=True)
        tokens = pick(probs, torch.tensor(edges, dtype=torch.float64))
        assert (probs.gather(1, tokens.unsqueeze(1)) > 0).all()
        possible = [row.nonzero().flatten().tolist() for row in probs]
        assert tokens[0] == possible[0][0]
        assert tokens[4] == possible[4][-1]


@pytest.mark.parametrize("vocabulary", [7, 1024, 1536])
def test_pick_inverts_the_cumulative_distribution(vocabulary: int) -> None:
    generator = torch.Generator().manual_seed(0)
    probs = torch.randn(50, vocabulary, generator=generator).mul(3).softmax(-1)
    numbers = torch.rand(50, generator=generator, dtype=torch.float64)
    tokens = pick(probs, numbers).tolist()
    for row, (token, number) in enumerate(zip(tokens, numbers.tolist(), strict=True)):
        values = probs[row].double().tolist()
        assert sum(values[:token]) / sum(values) <= number + 1e-12
        assert sum(values[: token + 1]) / sum(values) > number - 1e-12


def test_a_lone_token_is_certain() -> None:
    logits = torch.full((3, 600), -math.inf)
    logits[:, 5] = 2.0
    numbers = torch.tensor([0.0, 0.5, 1 - 2.0**-53], dtype=torch.float64)
    drawn = draw(logits, sampling(top_p=0.9, min_p=0.1, typical_p=0.5), NONE_SEEN, numbers)
    assert drawn.tokens.tolist() == [5, 5, 5]
    for values in (drawn.log_probs, drawn.entropies, drawn.truncated_log_probs):
        assert values.tolist() == [0.0, 0.0, 0.0]


WRONG: list[tuple[str, Any]] = [
    ("max_new_tokens", 0),
    ("max_new_tokens", (3, 0)),
    ("max_new_tokens", True),
    ("temperature", -0.1),
    ("temperature", math.inf),
    ("temperature", math.nan),
    ("top_p", 0.0),
    ("top_p", 1.1),
    ("top_k", -1),
    ("min_p", -0.1),
    ("min_p", 1.5),
    ("typical_p", 0.0),
    ("typical_p", 2.0),
    ("repetition_penalty", 0.0),
    ("eos_token_ids", (3, -1)),
    ("stop_strings", ("so", "")),
]


@pytest.mark.parametrize(("name", "value"), WRONG, ids=str)
def test_a_wrong_setting_is_named(name: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        Sampling(**{"max_new_tokens": 4, name: value})
    assert caught.value.key == f"rollout.{name}"


def test_typical_p_means_nothing_to_greedy_decoding() -> None:
    with pytest.raises(ConfigError, match="typical_p may forbid"):
        sampling(temperature=0.0, typical_p=0.9)
