"""Where completions end: length limits, stop strings, and what comes first."""

import pytest
from transformers import PreTrainedTokenizerFast

from rlent.errors import ConfigError
from rlent.rollout import RolloutEngine, Sampling
from rlent.rollout.stopping import Stopping
from tests.rollout.examples import PROMPTS, make_model, tokens_of
from tests.tiny import tiny_model, tiny_tokenizer

LENGTH = 30


def text(tokenizer: PreTrainedTokenizerFast, tokens: list[int]) -> str:
    return str(tokenizer.decode(tokens, clean_up_tokenization_spaces=False))


@pytest.mark.parametrize("max_live", [None, 2])
def test_a_completion_ends_with_the_token_that_completes_a_stop_string(
    max_live: int | None,
) -> None:
    model, tokenizer = tiny_model(), tiny_tokenizer()
    prompts = [[5, 6, 7], [8]]
    free = Sampling(max_new_tokens=LENGTH, temperature=2.0)
    unstopped = tokens_of(
        RolloutEngine(model=model, sampling=free).generate(prompts, 6, seed=0).completions
    )
    stops = (text(tokenizer, unstopped[0][6:9]), text(tokenizer, unstopped[5][2:4]), "<eos>")
    sampling = Sampling(max_new_tokens=LENGTH, temperature=2.0, stop_strings=stops)
    engine = RolloutEngine(model=model, sampling=sampling, tokenizer=tokenizer, max_live=max_live)
    made = engine.generate(prompts, 6, seed=0).completions
    for tokens, completion in zip(unstopped, made, strict=True):
        lengths = [
            n for n in range(1, LENGTH + 1) if any(s in text(tokenizer, tokens[:n]) for s in stops)
        ]
        assert completion.token_ids.tolist() == tokens[: min(lengths, default=LENGTH)]
        assert completion.finish == ("stop" if lengths else "length")
    assert made[0].finish == made[5].finish == "stop"
    assert {completion.finish for completion in made} == {"stop", "length"}


class Pieces:
    """A tokenizer whose tokens are any text, and which drops the space that a text begins with."""

    def __init__(self, pieces: list[str]) -> None:
        self._pieces = pieces

    def decode(self, tokens: list[int], **options: bool) -> str:
        assert options == {"skip_special_tokens": False, "clean_up_tokenization_spaces": False}
        return "".join(self._pieces[token] for token in tokens).removeprefix(" ")


@pytest.mark.parametrize(
    ("pieces", "stop"),
    [
        (["he", "l", "lo w", "orld"], "lo"),
        (["a"] * 40 + ["b", "c"], "ab"),
        ([*"0123456789" * 3, " e", "n", "d", "."], "9 end"),
        (["x ", "é", "t", "é"], "été"),
        ([" a", " b"], "a b"),
        (["so", "<|im_end|>"], "<|im_end|>"),
    ],
)
def test_stop_strings_over_any_number_of_tokens(pieces: list[str], stop: str) -> None:
    tokenizer = Pieces(pieces)
    stopping = Stopping(eos=frozenset(), strings=(stop,), tokenizer=tokenizer)
    for length in range(1, len(pieces) + 1):
        whole = tokenizer.decode(
            list(range(length)), skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        reason = stopping.reason(list(range(length)), 1000)
        assert reason == ("stop" if stop in whole else None)
        if reason:
            return
    raise AssertionError("the stop string never came")


def test_what_holds_at_once_has_an_order() -> None:
    stopping = Stopping(eos=frozenset({1}), strings=("b",), tokenizer=Pieces(["a", "b"]))
    assert stopping.reason([0, 1], 2) == "eos"
    assert Stopping(eos=frozenset(), strings=("b",), tokenizer=Pieces(["a", "b"])).reason(
        [0, 1], 2
    ) == ("stop")
    assert stopping.reason([0, 0], 2) == "length"
    assert stopping.reason([0], 2) is None


def test_length_limits_are_exact() -> None:
    model = make_model()
    for limit in (1, 2, 7):
        made = RolloutEngine(model=model, sampling=Sampling(max_new_tokens=limit)).generate(
            PROMPTS, 3, seed=0
        )
        assert [len(tokens) for tokens in tokens_of(made.completions)] == [limit] * 15
        assert {completion.finish for completion in made.completions} == {"length"}
    own = tuple(range(1, 11))
    made = RolloutEngine(model=model, sampling=Sampling(max_new_tokens=own)).generate(
        PROMPTS, 2, seed=0
    )
    assert [len(tokens) for tokens in tokens_of(made.completions)] == list(own)


def test_no_prompts_no_completions() -> None:
    engine = RolloutEngine(model=make_model(), sampling=Sampling(max_new_tokens=3))
    assert engine.generate([], 4, seed=0).completions == ()


def test_settings_that_do_not_fit_together() -> None:
    model = make_model()
    cases = [
        ("rollout.max_live", {"max_live": 0}, Sampling(max_new_tokens=2)),
        ("rollout.stop_strings", {}, Sampling(max_new_tokens=2, stop_strings=("x",))),
    ]
    for key, options, sampling in cases:
        with pytest.raises(ConfigError) as caught:
            RolloutEngine(model=model, sampling=sampling, **options)
        assert caught.value.key == key


@pytest.mark.parametrize(
    ("key", "prompts", "completions"),
    [
        ("rollout.completions", PROMPTS, 0),
        ("rollout.prompts", [[5], []], 1),
        ("rollout.max_new_tokens", [[5], [6]], 2),
    ],
)
def test_calls_that_make_no_sense(key: str, prompts: list[list[int]], completions: int) -> None:
    engine = RolloutEngine(model=make_model(), sampling=Sampling(max_new_tokens=(2, 3)))
    with pytest.raises(ConfigError) as caught:
        engine.generate(prompts, completions, seed=0)
    assert caught.value.key == key
