"""Greedy completions are those of transformers' generate, token by token."""

from typing import Any

import pytest

from rlent.rollout import RolloutEngine, Sampling, cache
from tests.rollout.examples import FAMILIES, PROMPTS, WINDOW, greedy_tokens, make_model, tokens_of

LENGTH = 24
LIMITS = (24, 3, 9, 17, 1, 24, 12, 5, 20, 2)
"""Two completions per prompt, so that sequences end at different steps."""


def greedy(model: Any, max_live: int | None, **options: Any) -> list[list[int]]:
    sampling = Sampling(temperature=0.0, **options)
    engine = RolloutEngine(model=model, sampling=sampling, max_live=max_live)
    return tokens_of(engine.generate(PROMPTS, 2, seed=0).completions)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("max_live", [None, 3])
def test_every_family_gives_the_tokens_of_generate(
    family: str, max_live: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "_BLOCK", 4)  # the cache grows several times
    model = make_model(family)
    reference = [greedy_tokens(model, prompt, LENGTH) for prompt in PROMPTS]
    assert any(len(set(tokens)) > 2 for tokens in reference)
    assert min(map(len, PROMPTS)) + LENGTH > 3 * WINDOW
    expected = [reference[i // 2][:limit] for i, limit in enumerate(LIMITS)]
    assert greedy(model, max_live, max_new_tokens=LIMITS) == expected


def test_the_greedy_test_can_fail() -> None:
    model, other = make_model(), make_model(seed=1)
    reference = [greedy_tokens(other, prompt, LENGTH) for prompt in PROMPTS]
    assert greedy(model, None, max_new_tokens=LENGTH)[::2] != reference


@pytest.mark.parametrize("max_live", [None, 1, 4])
def test_several_ends_of_sequence_at_different_steps(max_live: int | None) -> None:
    model = make_model()
    reference = [greedy_tokens(model, prompt, LENGTH) for prompt in PROMPTS]
    ends = {reference[0][2], reference[1][10], reference[4][5]}
    expected = []
    for tokens in reference:
        until = next((i + 1 for i, token in enumerate(tokens) if token in ends), LENGTH)
        expected += [tokens[:until]] * 2
    assert len({len(tokens) for tokens in expected}) >= 3
    sampling = Sampling(max_new_tokens=LENGTH, temperature=0.0, eos_token_ids=tuple(ends))
    made = RolloutEngine(model=model, sampling=sampling, max_live=max_live).generate(
        PROMPTS, 2, seed=0
    )
    assert tokens_of(made.completions) == expected
    for completion in made.completions:
        ended = completion.token_ids[-1].item() in ends
        assert completion.finish == ("eos" if ended else "length")


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_the_models_own_attention_is_used(implementation: str) -> None:
    model = make_model()
    model.set_attn_implementation(implementation)
    reference = [greedy_tokens(model, prompt, LENGTH) for prompt in PROMPTS]
    assert greedy(model, 3, max_new_tokens=LENGTH)[::2] == reference
    assert model.config._attn_implementation == implementation
