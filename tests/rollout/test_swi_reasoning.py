"""Soft inputs, against a plain loop through ``inputs_embeds`` without a cache."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from rlent.errors import ConfigError
from rlent.rollout import Completion, RolloutEngine, Sampling
from rlent.rollout.branching import Branching, FixedStep
from rlent.rollout.decoding import SwiReasoning
from rlent.rollout.decoding.swi_reasoning import Change, Mode, is_mixed
from rlent.rollout.streams import sequence_key, uniform
from tests.rollout.examples import PROMPTS, VOCABULARY, entropy, log_softmax, make_model, tokens_of

LENGTH, SEED, SAMPLES, TEMPERATURE = 20, 5, 2, 0.7
BEGIN, END, FIRST = 80, 81, 82
DIGITS = tuple(f"<{token}>" for token in range(10))


class Tokenizer:
    """``<n>`` is token ``n``, any other character its code point less 32, and ``\\`` is unknown."""

    unk_token_id = VOCABULARY

    def decode(self, tokens: list[int], **_: Any) -> str:
        return "".join(f"<{token}>" for token in tokens)

    def __call__(self, text: str, **_: Any) -> Any:
        if text.startswith("<") and text.endswith(">") and len(text) > 1:
            return SimpleNamespace(input_ids=[int(each) for each in text.strip("<>").split("><")])
        known = [VOCABULARY if each == "\\" else ord(each) - 32 for each in text]
        return SimpleNamespace(input_ids=known)


def swi(**options: Any) -> SwiReasoning:
    names: dict[str, Any] = {"begin": f"<{BEGIN}>", "end": f"<{END}>", "first": f"<{FIRST}>"}
    return SwiReasoning(**({"window": 3, "alpha": 0.4, "own_input": DIGITS} | names | options))


def generated(rule: SwiReasoning | None, **options: Any) -> tuple[Completion, ...]:
    model, max_live = options.pop("model", None) or make_model(), options.pop("max_live", None)
    settings = {"max_new_tokens": LENGTH, "temperature": TEMPERATURE} | options
    engine = RolloutEngine(
        model=model,
        sampling=Sampling(**settings),
        tokenizer=Tokenizer(),
        max_live=max_live,
        decoding=rule,
    )
    return engine.generate(PROMPTS, SAMPLES, seed=SEED).completions


class Plain:
    """One sequence under the rule, everything run through the model for every token."""

    def __init__(self, model: Any, prompt: int, index: int, rule: SwiReasoning) -> None:
        self.model, self.rule = model, rule
        self.matrix: Tensor = model.get_input_embeddings().weight.detach()
        self.key = sequence_key(SEED, prompt, index)
        self.inputs = [self.matrix[token] for token in PROMPTS[prompt]]
        self.tokens: list[int] = []
        self.log_probs: list[float] = []
        self.soft_inputs = 0
        self.changes: list[str] = []
        text = rule.end
        self.end = None if text is None else int(text.strip("<>"))
        self.own = {int(each.strip("<>")) for each in rule.own_input or ()}

    def complete(self) -> None:
        rule, soft, locked, reference, last = self.rule, True, False, 0.0, 0
        for t in range(LENGTH):
            with torch.no_grad():
                output = self.model(inputs_embeds=torch.stack(self.inputs)[None], use_cache=False)
            logits = output.logits[0, -1].double().tolist()
            token = self.draw([value / TEMPERATURE for value in logits], t)
            log_probs = log_softmax(logits)
            h = entropy(log_probs)
            locked = locked or token == self.end
            change = None
            if t == 0:
                reference = h
            elif soft and h < reference:
                change, soft, reference, last = "explicit", False, h, t
            elif not soft and h > reference and t - last >= rule.window and not locked:
                change, soft, reference, last = "soft", True, h, t
            mixture = torch.tensor(log_probs, dtype=torch.float64).exp() @ self.matrix
            if change == "soft":
                a = rule.alpha + (1 - rule.alpha) * t / LENGTH
                mixture = a * mixture + (1 - a) * self.matrix[BEGIN]
            elif change == "explicit":
                b = rule.beta + (1 - rule.beta) * t / LENGTH
                mixture = b * mixture + (1 - b) * self.matrix[self.end]
            elif t == 0:
                share = rule.first_share
                mixture = (1 - share) * mixture + share * self.matrix[FIRST]
            mixes = soft and not locked and token not in self.own
            if change == "explicit":
                mixes = True
            self.soft_inputs += mixes and t < LENGTH - 1
            self.changes += [change] if change and t < LENGTH - 1 else []
            self.inputs.append(mixture if mixes else self.matrix[token])

    def draw(self, logits: list[float], t: int) -> int:
        reached, log_probs = 0.0, log_softmax(logits)
        for token, value in enumerate(log_probs):
            reached += math.exp(value)
            if reached > uniform(self.key, t):
                self.tokens.append(token)
                self.log_probs.append(value)
                return token
        raise AssertionError("the probabilities do not sum to 1")


def compared(rule: SwiReasoning, max_live: int | None = None) -> list[Plain]:
    """Every completion by hand, after the engine's was found to be the same."""
    model, plains = make_model().double(), []
    for one in generated(rule, model=model, max_live=max_live):
        plain = Plain(model, one.prompt, one.index, rule)
        plain.complete()
        assert one.token_ids.tolist() == plain.tokens
        # The model's norms and attention are in float32, and their rounding grows from mixture to mixture.
        assert one.log_probs.tolist() == pytest.approx(plain.log_probs, abs=5e-3)
        (tally,) = one.tallies
        assert (tally.name, tally.count, tally.of) == ("soft_inputs", plain.soft_inputs, LENGTH)
        plains.append(plain)
    return plains


@pytest.mark.parametrize("max_live", [None, 1, 4])
def test_inputs_are_mixed_as_by_hand(max_live: int | None) -> None:
    plains = compared(swi(), max_live)
    assert sum(len(plain.changes) for plain in plains) > 4 * SAMPLES * len(PROMPTS)
    assert sum(plain.soft_inputs for plain in plains) > SAMPLES * len(PROMPTS)


def test_the_mixture_that_ends_soft_thinking_grows() -> None:
    plains = compared(swi(beta=0.0, alpha=0.0))
    assert {change for plain in plains for change in plain.changes} == {"soft", "explicit"}


def test_after_the_end_inputs_are_tokens_but_for_one() -> None:
    """The end is drawn at once: soft thinking stops, and ends with one mixture where the entropy first falls."""
    (first, *_) = generated(None)
    plain, *_ = compared(swi(end=f"<{first.token_ids[0]}>"))
    assert plain.tokens[0] == first.token_ids[0]
    assert plain.changes == ["explicit"]
    assert plain.soft_inputs == 1


def test_what_is_its_own_input_is_mixed_where_soft_thinking_ends() -> None:
    plains = compared(swi(own_input=tuple(f"<{token}>" for token in range(VOCABULARY))))
    for plain in plains:
        assert plain.soft_inputs == plain.changes.count("explicit")
    assert any("soft" in plain.changes for plain in plains)


def test_which_tokens_are_their_own_input() -> None:
    """By default whatever writes a symbol, of which ``\\frac`` has the letters too; never the unknown token."""
    written = {ord(each) - 32 for each in r"\frac{sqrt}[](|)_^<>=+-*/0123456789"}
    found = swi(own_input=None).own_inputs(Tokenizer())
    assert written - {ord("\\") - 32} <= found
    letters = {ord(each) - 32 for each in "abcxyzABCXYZ"}
    assert letters <= found
    assert not {VOCABULARY, *(ord(each) - 32 for each in " ,.;:!?'$%&#@~`")} & found
    assert swi(own_input=()).own_inputs(Tokenizer()) == frozenset()
    assert swi(own_input=("ab", "<5>")).own_inputs(Tokenizer()) == {65, 66, 5}


def test_one_soft_step() -> None:
    """The second token after a prompt, given the mixture of all first tokens and nothing else."""
    model = make_model()
    rule = swi(alpha=1.0, begin=None, beta=1.0, end=None, first_share=0.0, own_input=())
    matrix = model.get_input_embeddings().weight
    for one in generated(rule, model=model, max_new_tokens=2, temperature=1.0):
        with torch.no_grad():
            begun = matrix[torch.tensor(PROMPTS[one.prompt])]
            probs = model(inputs_embeds=begun[None]).logits[0, -1].softmax(-1)
            soft = (probs.unsqueeze(1) * matrix).sum(0)
            logits = model(inputs_embeds=torch.cat([begun, soft[None]])[None]).logits[0, -1]
        log_probs = log_softmax(logits.tolist())
        assert one.log_probs[1].item() == pytest.approx(log_probs[one.token_ids[1]], abs=1e-4)
        assert one.entropies[1].item() == pytest.approx(entropy(log_probs), abs=1e-4)


def test_what_never_becomes_soft_is_plain_sampling() -> None:
    rule = swi(start="explicit", first_share=0.0, window=LENGTH)
    made, plain = generated(rule, top_p=0.9), generated(None, top_p=0.9)
    assert tokens_of(made) == tokens_of(plain)
    for one, other in zip(made, plain, strict=True):
        torch.testing.assert_close(one.log_probs, other.log_probs)
        assert one.tallies[0].count == 0
    assert tokens_of(generated(swi())) != tokens_of(generated(None))


def test_the_mode_follows_the_entropy() -> None:
    rule = swi(window=2)
    mode, seen = None, []
    for h in [2.0, 2.5, 2.0, 1.9, 3.0, 1.0, 1.9, 1.95, 1.9]:
        mode, change = rule.advance(mode, h, ended=False)
        seen.append((mode.soft, change, mode.reference))
    assert seen == [
        (True, None, 2.0),
        (True, None, 2.0),
        (True, None, 2.0),
        (False, "explicit", 1.9),
        (False, None, 1.9),
        (False, None, 1.9),
        (False, None, 1.9),
        (True, "soft", 1.95),
        (False, "explicit", 1.9),
    ]


@pytest.mark.parametrize(
    ("soft", "locked", "change", "own", "mixed"),
    [
        (True, False, None, False, True),
        (True, False, "soft", False, True),
        (True, False, None, True, False),
        (True, False, "soft", True, False),
        (True, True, None, False, False),
        (False, False, None, False, False),
        (False, True, None, False, False),
        (False, False, "explicit", False, True),
        (False, False, "explicit", True, True),
        (False, True, "explicit", False, True),
    ],
)
def test_which_inputs_are_mixed(
    soft: bool, locked: bool, change: Change | None, own: bool, mixed: bool
) -> None:
    mode = Mode(soft=soft, reference=1.0, locked=locked)
    assert is_mixed(mode, change, own=own) is mixed


def test_no_soft_thinking_begins_after_its_end() -> None:
    mode = Mode(soft=False, reference=1.0, steps=5)
    rule = swi(window=2)
    assert rule.advance(mode, 2.0, ended=False)[1] == "soft"
    locked, change = rule.advance(mode, 2.0, ended=True)
    assert change is None
    assert rule.advance(locked, 2.0, ended=False)[1] is None


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"window": 0}, "window"),
        ({"alpha": 1.5}, "alpha"),
        ({"alpha": 1.0}, "begin"),
        ({"begin": None}, "begin"),
        ({"beta": -0.1}, "beta"),
        ({"end": None}, "beta"),
        ({"first_share": 2.0}, "first_share"),
        ({"start": "explicit"}, "first_share"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, Any], field: str) -> None:
    with pytest.raises(ValueError, match=field):
        swi(**options)


def test_what_it_does_not_go_with() -> None:
    sampling = Sampling(max_new_tokens=2)
    with pytest.raises(ConfigError, match="greedy"):
        generated(swi(), temperature=0.0)
    with pytest.raises(ConfigError, match="one token"):
        generated(swi(end="<1><2>"))
    with pytest.raises(ConfigError, match="no token"):
        generated(swi(own_input=("<1>", "\\")))
    with pytest.raises(ConfigError, match="no plain matrix"):
        generated(swi(), model=make_model("gemma3"))
    with pytest.raises(ConfigError, match="tokenizer"):
        RolloutEngine(model=make_model(), sampling=sampling, decoding=swi())
    engine = RolloutEngine(
        model=make_model(),
        sampling=sampling,
        tokenizer=Tokenizer(),
        decoding=swi(),
        branching=Branching(hook=FixedStep(step=1), max_branches=1),
    )
    with pytest.raises(ConfigError, match="fork"):
        engine.generate(PROMPTS, 1, seed=0)
