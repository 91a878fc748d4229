"""Two models that take turns, against a plain loop over one sequence without a cache."""

import math
from functools import cache
from itertools import accumulate
from typing import Any

import pytest
import torch

from rlent.errors import ConfigError
from rlent.rollout import Generation, RolloutEngine, Sampling
from rlent.rollout.branching import Branching, FixedStep
from rlent.rollout.decoding import Cautious, TwoModels
from rlent.rollout.streams import sequence_key, uniform
from tests.rollout.examples import (
    PROMPTS,
    entropy,
    full_logits,
    log_softmax,
    make_model,
    tokens_of,
)

LENGTH, SEED, SAMPLES, TEMPERATURE = 14, 6, 2, 0.8
SMALL, LARGE = make_model(seed=1), make_model("qwen2", seed=2)


def two(threshold: float, **options: Any) -> TwoModels:
    return TwoModels(
        **({"large_model": "large", "threshold_bits": threshold, "min_dwell": 1} | options)
    )


def generated(rule: TwoModels | None, **options: Any) -> Generation:
    model, large = options.pop("model", SMALL), options.pop("large", LARGE)
    max_live = options.pop("max_live", None)
    engine = RolloutEngine(
        model=model,
        large_model=None if rule is None else large,
        sampling=Sampling(max_new_tokens=LENGTH, temperature=TEMPERATURE, **options),
        max_live=max_live,
        decoding=rule,
    )
    return engine.generate(PROMPTS, SAMPLES, seed=SEED)


@pytest.mark.parametrize("min_dwell", [1, 4])
@pytest.mark.parametrize("max_live", [None, 1, 3])
def test_infinite_thresholds_are_one_model_alone(max_live: int | None, min_dwell: int) -> None:
    for threshold, alone, large in ((math.inf, SMALL, 0), (-math.inf, LARGE, 1)):
        rule = two(threshold, min_dwell=min_dwell)
        made = generated(rule, max_live=max_live, top_k=20).completions
        plain = generated(None, model=alone, top_k=20).completions
        assert tokens_of(made) == tokens_of(plain)
        for one, other in zip(made, plain, strict=True):
            torch.testing.assert_close(one.log_probs, other.log_probs, rtol=1e-4, atol=1e-4)
            torch.testing.assert_close(
                one.truncated_log_probs, other.truncated_log_probs, rtol=1e-4, atol=1e-4
            )
            (tally,) = one.tallies
            assert (tally.name, tally.count, tally.of) == (
                "large_model_tokens",
                large * len(one.token_ids),
                len(one.token_ids),
            )


@cache
def by_hand(
    prompt: int, index: int, rule: TwoModels
) -> tuple[list[int], list[float], list[bool], int]:
    """Tokens, their log-probabilities, which are the large model's, and the number of changes."""
    key = sequence_key(SEED, prompt, index)
    tokens: list[int] = []
    noted, by_large, bits = [], [], []
    large, changed, changes = False, -math.inf, 0
    for t in range(LENGTH):
        logits = {
            which: full_logits(model, PROMPTS[prompt], [*tokens, 0])[-1].tolist()
            for which, model in ((False, SMALL), (True, LARGE))
        }
        bits.append(entropy(log_softmax(logits[large])) / math.log(2))
        last = bits[-rule.window :]
        wants = sum(last) / len(last) > rule.threshold_bits
        if wants != large and t - changed >= rule.min_dwell:
            large, changed, changes = wants, t, changes + 1
        log_probs = log_softmax([value / TEMPERATURE for value in logits[large]])
        reached = list(accumulate(map(math.exp, log_probs)))
        token = [total > uniform(key, t) for total in reached].index(True)
        tokens.append(token)
        noted.append(log_probs[token])
        by_large.append(large)
    return tokens, noted, by_large, changes


@pytest.mark.parametrize("max_live", [None, 1, 3])
@pytest.mark.parametrize(("window", "min_dwell"), [(1, 1), (3, 2), (5, 4)])
def test_the_mean_entropy_says_which_model_draws(
    window: int, min_dwell: int, max_live: int | None
) -> None:
    rule = two(4.85, window=window, min_dwell=min_dwell)
    generation = generated(rule, max_live=max_live)
    changes = shared = 0
    for one in generation.completions:
        tokens, noted, by_large, number = by_hand(one.prompt, one.index, rule)
        assert one.token_ids.tolist() == tokens
        assert one.log_probs.tolist() == pytest.approx(noted, abs=1e-3)
        assert one.tallies[0].count == sum(by_large)
        changes, shared = changes + number, shared + (0 < sum(by_large) < LENGTH)
    count = SAMPLES * len(PROMPTS)
    assert len(generation.completions) == count
    assert changes > count * (2 if min_dwell == 1 else 1)
    assert shared > count // 2
    assert generation.statistics.sampled_tokens == count * LENGTH
    assert generation.statistics.prefill_tokens > sum(map(len, PROMPTS))


def test_tokens_that_one_model_lacks_are_never_drawn() -> None:
    config = make_model().config
    config.vocab_size = 128
    torch.manual_seed(0)
    wide = type(make_model())(config).eval()
    assert max(max(each) for each in tokens_of(generated(None, model=wide).completions)) >= 96
    for models in ({"large": wide}, {"model": wide, "large": LARGE}):
        for threshold in (-math.inf, 4.85, math.inf):
            made = tokens_of(generated(two(threshold), **models).completions)
            assert max(max(each) for each in made) < 96


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"large_model": ""}, "large_model"),
        ({"threshold": math.nan}, "threshold_bits"),
        ({"min_dwell": 0}, "min_dwell"),
        ({"window": 0}, "window"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, Any], field: str) -> None:
    with pytest.raises(ValueError, match=field):
        two(**({"threshold": 1.0} | options))


def test_what_it_does_not_go_with() -> None:
    sampling, rule = Sampling(max_new_tokens=2), two(1.0)
    with pytest.raises(ConfigError, match="rlent eval"):
        RolloutEngine(model=SMALL, sampling=sampling, decoding=rule)
    with pytest.raises(ConfigError, match="no other rule"):
        RolloutEngine(model=SMALL, sampling=sampling, large_model=LARGE)
    with pytest.raises(ConfigError, match="no other rule"):
        RolloutEngine(
            model=SMALL, sampling=sampling, large_model=LARGE, decoding=Cautious(), tokenizer="some"
        )
    engine = RolloutEngine(
        model=SMALL,
        large_model=LARGE,
        sampling=sampling,
        decoding=rule,
        branching=Branching(hook=FixedStep(step=1), max_branches=1),
    )
    with pytest.raises(ConfigError, match="fork"):
        engine.generate(PROMPTS, 1, seed=0)
    with pytest.raises(ConfigError, match="greedy"):
        RolloutEngine(
            model=SMALL,
            large_model=LARGE,
            sampling=Sampling(max_new_tokens=2, temperature=0.0),
            decoding=rule,
        )
