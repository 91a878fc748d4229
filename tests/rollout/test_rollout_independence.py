"""A completion depends on its prompt, its place and the seed, on nothing else; and work is not done twice."""

from typing import Any

import pytest
import torch

from rlent.rollout import Branching, EntropySpike, Generation, RolloutEngine, Sampling, cache
from rlent.rollout.streams import fork_key, sequence_key, uniform
from tests.rollout.examples import PROMPTS, make_model, tokens_of

LIMITS = (16, 3, 9, 12, 1, 16, 7, 5, 14, 2)


def generate(
    model: Any, prompts: list[list[int]] = PROMPTS, seed: int = 0, **options: Any
) -> Generation:
    sampling = Sampling(max_new_tokens=LIMITS, temperature=1.2, top_p=0.95)
    return RolloutEngine(model=model, sampling=sampling, **options).generate(prompts, 2, seed=seed)


@pytest.mark.parametrize("family", ["llama", "gemma3", "gpt2"])
@pytest.mark.parametrize("max_live", [1, 3, 100])
def test_max_live_changes_nothing(
    family: str, max_live: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "_BLOCK", 3)
    model = make_model(family)
    together, apart = generate(model), generate(model, max_live=max_live)
    assert tokens_of(together.completions) == tokens_of(apart.completions)
    for one, other in zip(together.completions, apart.completions, strict=True):
        torch.testing.assert_close(one.log_probs, other.log_probs, rtol=0, atol=1e-5)
        torch.testing.assert_close(one.entropies, other.entropies, rtol=0, atol=1e-5)


@pytest.mark.parametrize("max_live", [1, 3])
def test_forks_do_not_depend_on_max_live_either(max_live: int) -> None:
    """But for their numbers, which follow the order in which they were made."""
    branching = Branching(hook=EntropySpike(threshold=3.9), max_branches=1000)
    model = make_model()
    together = generate(model, branching=branching)
    apart = generate(model, branching=branching, max_live=max_live)
    assert 20 < len(together.completions) < 100

    def unnumbered(generation: Generation) -> list[tuple[int, list[int], int | None]]:
        return sorted(
            (one.prompt, one.token_ids.tolist(), one.branch_step or 0)
            for one in generation.completions
        )

    assert unnumbered(together) == unnumbered(apart)


def test_neighbours_change_nothing() -> None:
    model = make_model()
    others = [[30] * 12, PROMPTS[1], [31, 32], [33], [34] * 5]
    mine = tokens_of(generate(model).completions)[2:4]
    assert tokens_of(generate(model, others).completions)[2:4] == mine


def test_seed_place_and_index_change_everything() -> None:
    model = make_model()
    sampling = Sampling(max_new_tokens=8)
    engine = RolloutEngine(model=model, sampling=sampling)
    first, again, other = (
        tokens_of(engine.generate([PROMPTS[0]] * 2, 2, seed=seed).completions) for seed in (0, 0, 1)
    )
    assert first == again
    assert len({tuple(tokens) for tokens in [*first, *other]}) == 8


def test_random_numbers_are_spread_over_the_interval() -> None:
    numbers = [
        uniform(sequence_key(7, p, c), t) for p in range(20) for c in range(20) for t in (0, 1)
    ]
    numbers += [
        uniform(fork_key(sequence_key(7, p, 0), t), t) for p in range(20) for t in range(20)
    ]
    assert len(set(numbers)) == len(numbers) == 1200
    assert all(0 <= number < 1 for number in numbers)
    tenths = [sum(int(number * 10) == tenth for number in numbers) for tenth in range(10)]
    assert all(80 < count < 160 for count in tenths)  # 120 +- 4 standard deviations


class Calls:
    """Shapes of everything that a model is given."""

    def __init__(self, model: Any) -> None:
        self.shapes: list[tuple[int, int, int]] = []
        model.register_forward_pre_hook(self._note, with_kwargs=True)

    def _note(self, _: Any, __: Any, arguments: dict[str, Any]) -> None:
        rows, new = arguments["input_ids"].shape
        self.shapes.append((rows, new, arguments["attention_mask"].shape[1]))


def test_equal_prompts_are_run_once_and_finished_sequences_leave_with_their_columns() -> None:
    model = make_model()
    calls = Calls(model)
    statistics = generate(model).statistics
    distinct = {tuple(prompt) for prompt in PROMPTS}
    assert statistics.prefill_tokens == sum(map(len, distinct))
    assert calls.shapes[0] == (4, 9, 9)
    expected = []
    for step in range(1, max(LIMITS)):
        live = [i for i, limit in enumerate(LIMITS) if limit > step]
        expected.append((len(live), 1, step + max(len(PROMPTS[i // 2]) for i in live)))
    assert calls.shapes[1:] == expected
    assert statistics.decode_steps == len(expected)
    assert statistics.sampled_tokens == sum(LIMITS)


def test_a_waiting_sequence_takes_a_place_at_once() -> None:
    model = make_model()
    calls = Calls(model)
    generate(model, max_live=3)
    waiting, live, expected = list(LIMITS), [], []
    while waiting or live:
        while waiting and len(live) < 3:
            live.append(waiting.pop(0))
        live = [left - 1 for left in live if left > 1]
        if live:
            expected.append(len(live))
    caches = [width for _, new, width in calls.shapes if new == 1]
    prefills = [shape for shape in calls.shapes if shape[1] == shape[2]]
    assert [rows for rows, new, width in calls.shapes if new < width] == expected
    assert len(prefills) == 4 - 1  # two of the four distinct prompts came together
    assert caches
