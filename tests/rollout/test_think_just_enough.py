"""Completions that stop after a sure first step, against plain sampling with the same random numbers."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from rlent.errors import ConfigError
from rlent.rollout import Completion, RolloutEngine, Sampling, Tally
from rlent.rollout.branching import Branching, FixedStep
from rlent.rollout.decoding import ThinkJustEnough
from tests.rollout.examples import PROMPTS, entropy, full_logits, log_softmax, make_model, tokens_of

LENGTH, SEED, SAMPLES = 14, 3, 3
END = (90, 91)


class Tokenizer:
    """Token ``n`` is the text ``<n>``."""

    unk_token_id = None

    def decode(self, tokens: list[int], **_: Any) -> str:
        return "".join(f"<{token}>" for token in tokens)

    def __call__(self, text: str, **_: Any) -> Any:
        return SimpleNamespace(input_ids=[int(each) for each in text.strip("<>").split("><")])


def generated(rule: ThinkJustEnough | None, **options: Any) -> tuple[Completion, ...]:
    max_live = options.pop("max_live", None)
    engine = RolloutEngine(
        model=options.pop("model", None) or make_model(),
        sampling=Sampling(max_new_tokens=LENGTH, **options),
        tokenizer=Tokenizer(),
        max_live=max_live,
        decoding=rule,
    )
    return engine.generate(PROMPTS, SAMPLES, seed=SEED).completions


def middle(values: list[float]) -> float:
    ordered = sorted(values)
    return (ordered[len(ordered) // 2 - 1] + ordered[len(ordered) // 2]) / 2


def test_nothing_stops_below_any_entropy() -> None:
    rule = ThinkJustEnough(threshold=-math.inf, step_tokens=2, end="<90>")
    for one, other in zip(generated(rule, top_p=0.9), generated(None, top_p=0.9), strict=True):
        assert one.token_ids.tolist() == other.token_ids.tolist()
        assert torch.equal(one.truncated_log_probs, other.truncated_log_probs)
        assert one.tallies == (Tally(name="stopped", count=0, of=1),)


@pytest.mark.parametrize("max_live", [None, 1, 4])
def test_a_completion_ends_after_a_sure_step_of_tokens(max_live: int | None) -> None:
    plain = generated(None, temperature=0.8)
    means = [sum(one.entropies[:4].tolist()) / 4 for one in plain]
    threshold = middle(means)
    rule = ThinkJustEnough(threshold=threshold, step_tokens=4)
    stopped = [mean <= threshold for mean in means]
    assert 0 < sum(stopped) < len(stopped)
    made = generated(rule, temperature=0.8, max_live=max_live)
    for one, other, stops in zip(made, plain, stopped, strict=True):
        tokens = other.token_ids.tolist()
        assert one.token_ids.tolist() == (tokens[:4] if stops else tokens)
        assert one.finish == ("stop" if stops else other.finish)
        assert one.tallies == (Tally(name="stopped", count=int(stops), of=1),)


def test_the_end_is_forced_and_the_model_goes_on() -> None:
    """Text ends the step; forced tokens are noted as the policy's, drawn with probability 1."""
    model, plain = make_model(), generated(None)
    first = {
        place: [str(token)[-1] == "7" for token in one.token_ids.tolist()].index(True) + 1
        for place, one in enumerate(plain)
        if any(str(token)[-1] == "7" for token in one.token_ids.tolist()[:-1])
    }
    means = {place: float(plain[place].entropies[:n].double().mean()) for place, n in first.items()}
    threshold = middle(list(means.values()))
    rule = ThinkJustEnough(threshold=threshold, step_text="7>", end="<90><91>")
    forced = 0
    for place, one in enumerate(generated(rule, model=model)):
        tokens, drawn = one.token_ids.tolist(), plain[place].token_ids.tolist()
        if means.get(place, math.inf) > threshold:
            assert tokens == drawn
            continue
        n = first[place]
        assert tokens[:n] == drawn[:n]
        assert tuple(tokens[n : n + 2]) == END[: LENGTH - n]
        assert len(tokens) == LENGTH
        assert (one.truncated_log_probs[n : n + 2] == 0).all()
        logits = full_logits(model, PROMPTS[one.prompt], tokens)
        for step in range(LENGTH):
            log_probs = log_softmax(logits[step].tolist())
            assert one.log_probs[step].item() == pytest.approx(log_probs[tokens[step]], abs=1e-4)
            assert one.entropies[step].item() == pytest.approx(entropy(log_probs), abs=1e-4)
        forced += 1
    assert 2 <= forced < len(plain)


def test_what_has_ended_thinking_itself_is_left_alone() -> None:
    plain = generated(None)
    own = plain[4].token_ids.tolist()[1]
    rule = ThinkJustEnough(threshold=math.inf, step_tokens=3, end=f"<{own}>")
    made = generated(rule)
    assert made[4].token_ids.tolist() == plain[4].token_ids.tolist()
    for one, other in zip(made, plain, strict=True):
        drawn = other.token_ids.tolist()
        assert (one.tallies[0].count == 0) == (own in drawn[:3])
        assert one.token_ids[3] == own or one.tallies[0].count == 0
    assert tokens_of(made) != tokens_of(plain)


def test_a_completion_that_ends_in_its_first_step_is_not_stopped() -> None:
    plain = generated(None)
    eos = plain[0].token_ids.tolist()[1]
    rule = ThinkJustEnough(threshold=math.inf, step_tokens=3)
    first = generated(rule, eos_token_ids=(eos,))[0]
    assert (first.finish, len(first.token_ids), first.tallies[0].count) == ("eos", 2, 0)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"threshold": math.nan, "step_tokens": 1}, "threshold"),
        ({"threshold": 1.0}, "step_text or step_tokens"),
        ({"threshold": 1.0, "step_tokens": 1, "step_text": "x"}, "step_text or step_tokens"),
        ({"threshold": 1.0, "step_text": ""}, "step_text"),
        ({"threshold": 1.0, "step_tokens": 0}, "step_tokens"),
        ({"threshold": 1.0, "step_tokens": 1, "end": " "}, "end"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, Any], field: str) -> None:
    with pytest.raises(ValueError, match=field):
        ThinkJustEnough(**options)


def test_what_it_does_not_go_with() -> None:
    rule = ThinkJustEnough(threshold=1.0, step_tokens=2)
    sampling = Sampling(max_new_tokens=2)
    with pytest.raises(ConfigError, match="greedy"):
        generated(rule, temperature=0.0)
    with pytest.raises(ConfigError, match="tokenizer"):
        RolloutEngine(model=make_model(), sampling=sampling, decoding=rule)
    branching = Branching(hook=FixedStep(step=1), max_branches=1)
    engine = RolloutEngine(
        model=make_model(),
        sampling=sampling,
        tokenizer=Tokenizer(),
        decoding=rule,
        branching=branching,
    )
    with pytest.raises(ConfigError, match="fork"):
        engine.generate(PROMPTS, 1, seed=0)
