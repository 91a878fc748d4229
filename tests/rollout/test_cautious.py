"""Trials up to the next punctuation mark, against plain loops over one sequence without a cache."""

import math
from typing import Any

import pytest
import torch

from rlent.errors import ConfigError
from rlent.rollout import Completion, Generation, RolloutEngine, Sampling
from rlent.rollout.branching import Branching, FixedStep
from rlent.rollout.decoding import Cautious
from rlent.rollout.streams import sequence_key, trial_key, uniform
from tests.rollout.examples import PROMPTS, entropy, full_logits, log_softmax, make_model

LENGTH, SEED, TEMPERATURE = 16, 3, 1.2
MARKS = range(0, 96, 5)
EOS = (3, 50)


class Tokenizer:
    def decode(self, tokens: list[int], **_: Any) -> str:
        (token,) = tokens
        return f"w{token}. " if token in MARKS else f".w{token}"


def generated(rule: Cautious | None, **options: Any) -> Generation:
    settings = {"eos_token_ids": EOS, "temperature": TEMPERATURE, **options.pop("sampling", {})}
    engine = RolloutEngine(
        model=options.pop("model", None) or make_model(),
        sampling=Sampling(max_new_tokens=LENGTH, **settings),
        tokenizer=Tokenizer(),
        decoding=rule,
        **options,
    )
    return engine.generate(PROMPTS, 2, seed=SEED)


class Plain:
    """One sequence, with the whole of it run through the model for every token."""

    def __init__(self, model: Any, prompt: list[int], top_k: int) -> None:
        self.model, self.prompt, self.top_k = model, prompt, top_k
        self.drawn = 0

    def law(self, tokens: list[int]) -> list[float]:
        """Log-probabilities that the next token is drawn from."""
        logits = full_logits(self.model, self.prompt, [*tokens, 0])[-1] / TEMPERATURE
        values = logits.tolist()
        if self.top_k:
            least = sorted(values, reverse=True)[self.top_k - 1]
            values = [value if value >= least else -math.inf for value in values]
        return log_softmax(values)

    def draw(self, tokens: list[int], number: float) -> tuple[int, float]:
        self.drawn += 1
        reached = 0.0
        log_probs = self.law(tokens)
        for token, value in enumerate(log_probs):
            reached += math.exp(value)
            if reached > number:
                return token, value
        raise AssertionError("the probabilities do not sum to 1")

    def trial(self, tokens: list[int], key: bytes) -> tuple[list[int], float]:
        made, values = list(tokens), []
        while True:
            token, value = self.draw(made, uniform(key, len(made)))
            made.append(token)
            values.append(value)
            if token in MARKS or token in EOS or len(made) == LENGTH:
                return made, math.exp(-sum(values) / len(values))

    def complete(self, key: bytes, rule: Cautious) -> tuple[list[int], int]:
        """The tokens, and how many contests there were."""
        tokens: list[int] = []
        contests = 0
        while not tokens or (tokens[-1] not in EOS and len(tokens) < LENGTH):
            h = entropy(self.law(tokens))
            share = (h - rule.min_entropy) / (rule.max_entropy - rule.min_entropy)
            trials = max(1, min(rule.max_trials, math.floor(share * rule.max_trials)))
            if trials == 1:
                tokens.append(self.draw(tokens, uniform(key, len(tokens)))[0])
                continue
            contests += 1
            step = len(tokens)
            made = [self.trial(tokens, trial_key(key, step, n)) for n in range(trials)]
            tokens = min(made, key=lambda trial: trial[1])[0]
        return tokens, contests


RULE = Cautious(min_entropy=1.0, max_entropy=4.2, max_trials=4)


@pytest.mark.parametrize(("max_live", "top_k"), [(None, 0), (1, 0), (3, 20)])
def test_the_most_probable_continuation_is_kept(max_live: int | None, top_k: int) -> None:
    model = make_model()
    generation = generated(RULE, model=model, max_live=max_live, sampling={"top_k": top_k})
    assert len(generation.completions) == 2 * len(PROMPTS)
    contests = drawn = kept = 0
    for one in generation.completions:
        plain = Plain(model, PROMPTS[one.prompt], top_k)
        tokens, number = plain.complete(sequence_key(SEED, one.prompt, one.index), RULE)
        assert one.token_ids.tolist() == tokens
        assert one.finish == ("eos" if tokens[-1] in EOS else "length")
        contests, drawn, kept = contests + number, drawn + plain.drawn, kept + len(tokens)
        check_noted(model, one, plain)
    assert contests > 10
    assert generation.statistics.sampled_tokens == kept
    assert generation.statistics.discarded_tokens == drawn - kept > 0


def check_noted(model: Any, one: Completion, plain: Plain) -> None:
    tokens = one.token_ids.tolist()
    logits = full_logits(model, PROMPTS[one.prompt], tokens) / TEMPERATURE
    for step, token in enumerate(tokens):
        log_probs = log_softmax(logits[step].tolist())
        assert one.log_probs[step].item() == pytest.approx(log_probs[token], abs=1e-4)
        assert one.entropies[step].item() == pytest.approx(entropy(log_probs), abs=1e-4)
        law = plain.law(tokens[:step])
        assert one.truncated_log_probs[step].item() == pytest.approx(law[token], abs=1e-4)


def test_one_trial_is_plain_sampling() -> None:
    cautious = generated(Cautious(max_trials=1))
    plain = generated(None)
    for one, other in zip(cautious.completions, plain.completions, strict=True):
        assert one.token_ids.tolist() == other.token_ids.tolist()
        assert torch.equal(one.truncated_log_probs, other.truncated_log_probs)
    assert cautious.statistics == plain.statistics


@pytest.mark.parametrize("released", [False, True])
def test_the_number_of_trials(released: bool) -> None:
    rule = Cautious(min_entropy=0.2, max_entropy=1.4, max_trials=7, as_released=released)
    entropies = [0.0, 0.2, 0.37, 0.4, 0.5429, 0.55, 0.9, 1.3999, 1.4, 5.0]
    expected = []
    for h in entropies:
        share = (h - 0.2) / 1.2
        if released:
            expected.append(int(1 + 6 * min(max(share, 0), 1)))
        else:
            expected.append(max(1, min(7, math.floor(share * 7))))
    assert rule.count(torch.tensor(entropies, dtype=torch.float64)).tolist() == expected
    assert len(set(expected)) > 4


def test_what_ends_a_continuation() -> None:
    rule = Cautious()
    assert all(map(rule.ends, [".", "x.", " ), ", "\n", "?\n", "a.  "]))
    assert not any(map(rule.ends, ["x", ".x", " ", ""]))


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"min_entropy": -0.1}, "min_entropy"),
        ({"min_entropy": 2.0}, "min_entropy"),
        ({"max_trials": 0}, "max_trials"),
        ({"punctuation": ()}, "punctuation"),
        ({"punctuation": ("",)}, "punctuation"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, Any], field: str) -> None:
    with pytest.raises(ValueError, match=field):
        Cautious(**options)


def test_what_it_does_not_go_with() -> None:
    with pytest.raises(ConfigError, match="fork"):
        generated(RULE, branching=Branching(hook=FixedStep(step=1), max_branches=1))
    with pytest.raises(ConfigError, match="greedy"):
        generated(RULE, sampling={"temperature": 0.0})
    with pytest.raises(ConfigError, match="tokenizer"):
        RolloutEngine(model=make_model(), sampling=Sampling(max_new_tokens=2), decoding=RULE)
