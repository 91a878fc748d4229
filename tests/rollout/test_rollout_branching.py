"""Forks: what they share, where they are made, and that budgets hold exactly."""

import math
from collections.abc import Sequence
from typing import Any

import pytest

from rlent.errors import ConfigError
from rlent.rollout import (
    Branching,
    Completion,
    EntropySpike,
    FixedStep,
    LiveSequence,
    MeanEntropy,
    RolloutEngine,
    Sampling,
)
from rlent.rollout.branching import Hook
from rlent.rollout.streams import fork_key, sequence_key, uniform
from tests.rollout.examples import PROMPTS, entropy, full_logits, log_softmax, make_model

PROMPT_COUNT, COMPLETIONS, LENGTH, SEED = len(PROMPTS), 2, 12, 5


def forked(
    hook: Hook, *, max_branches: int = 1000, max_tokens: int | None = None, **options: Any
) -> tuple[Completion, ...]:
    limits = options.pop("max_new_tokens", LENGTH)
    engine = RolloutEngine(
        model=options.pop("model", None) or make_model(),
        sampling=Sampling(max_new_tokens=limits, temperature=1.5),
        branching=Branching(hook=hook, max_branches=max_branches, max_tokens=max_tokens),
        max_live=options.pop("max_live", None),
    )
    return engine.generate(PROMPTS, COMPLETIONS, seed=SEED).completions


def everyone(live: Sequence[LiveSequence]) -> list[int]:
    return list(range(len(live)))


def own_tokens(completion: Completion) -> int:
    return len(completion.token_ids) - (completion.branch_step or 0)


def check_tree(completions: tuple[Completion, ...]) -> None:
    """Numbers are dense, parents exist, and forks share exactly what they say."""
    by_name = {(one.prompt, one.index): one for one in completions}
    assert list(by_name) == sorted(by_name)
    for prompt in range(PROMPT_COUNT):
        indices = [index for place, index in by_name if place == prompt]
        assert indices == list(range(len(indices)))
    for one in completions:
        assert (one.parent is None) == (one.branch_step is None) == (one.index < COMPLETIONS)
        if one.parent is None:
            continue
        assert one.branch_step is not None
        parent, shared = by_name[one.prompt, one.parent], slice(one.branch_step)
        assert parent.index < one.index
        assert len(parent.token_ids) > one.branch_step
        for name in ("token_ids", "log_probs", "entropies", "truncated_log_probs"):
            assert getattr(one, name)[shared].tolist() == getattr(parent, name)[shared].tolist()


def key_of(one: Completion, completions: tuple[Completion, ...]) -> bytes:
    if one.parent is None:
        return sequence_key(SEED, one.prompt, one.index)
    parent = next(o for o in completions if (o.prompt, o.index) == (one.prompt, one.parent))
    assert one.branch_step is not None
    return fork_key(key_of(parent, completions), one.branch_step)


@pytest.mark.parametrize("family", ["llama", "gemma3", "gpt2"])
@pytest.mark.parametrize("max_live", [None, 1, 4])
def test_forks_go_on_from_their_parents_state(family: str, max_live: int | None) -> None:
    """Scores, entropies and draws of every own token are those of the fork's own sequence and stream."""
    model = make_model(family)
    completions = forked(everyone, max_branches=7, model=model, max_live=max_live)
    assert len(completions) == PROMPT_COUNT * (COMPLETIONS + 7)
    check_tree(completions)
    for one in completions:
        tokens, key = one.token_ids.tolist(), key_of(one, completions)
        logits = full_logits(model, PROMPTS[one.prompt], tokens) / 1.5
        for step in range(one.branch_step or 0, len(tokens)):
            log_probs = log_softmax(logits[step].tolist())
            probs = [math.exp(value) for value in log_probs]
            token = tokens[step]
            assert one.log_probs[step].item() == pytest.approx(log_probs[token], abs=1e-4)
            assert one.entropies[step].item() == pytest.approx(entropy(log_probs), abs=1e-4)
            assert sum(probs[:token]) <= uniform(key, step) < sum(probs[: token + 1])


def test_forks_draw_again() -> None:
    completions = forked(FixedStep(step=4))
    by_name = {(one.prompt, one.index): one for one in completions}
    pairs = [
        (one.token_ids[4].item(), by_name[one.prompt, one.parent].token_ids[4].item())
        for one in completions
        if one.parent is not None
    ]
    assert len(pairs) == PROMPT_COUNT * COMPLETIONS
    assert any(own != parents for own, parents in pairs)


def test_forking_changes_no_parent() -> None:
    plain = forked(lambda live: [])
    completions = forked(everyone, max_branches=5)
    roots = [one for one in completions if one.parent is None]
    assert len(plain) == len(roots)
    for one, other in zip(plain, roots, strict=True):
        assert one.token_ids.tolist() == other.token_ids.tolist()


def test_fixed_step_forks_every_sequence_once_there() -> None:
    completions = forked(FixedStep(step=3))
    check_tree(completions)
    forks = [one for one in completions if one.parent is not None]
    assert len(forks) == PROMPT_COUNT * COMPLETIONS
    assert {one.branch_step for one in forks} == {3}
    assert not [one for one in forked(FixedStep(step=LENGTH)) if one.parent is not None]


def expected_forks(completions: tuple[Completion, ...], wanted: Any) -> list[tuple[int, int, int]]:
    """(prompt, parent, step) of every place where ``wanted(entropies, step)`` holds, in plain loops."""
    return sorted(
        (one.prompt, one.index, step)
        for one in completions
        for step in range(len(one.token_ids))
        if step >= (0 if one.branch_step is None else one.branch_step + 1)
        and wanted(one.entropies.tolist(), step)
    )


def actual_forks(completions: tuple[Completion, ...]) -> list[tuple[int, int, int]]:
    return sorted(
        (one.prompt, one.parent, one.branch_step)
        for one in completions
        if one.parent is not None and one.branch_step is not None
    )


def test_entropy_spikes_are_those_above_the_threshold() -> None:
    completions = forked(EntropySpike(threshold=4.1))
    check_tree(completions)
    expected = expected_forks(completions, lambda entropies, step: entropies[step] > 4.1)
    assert actual_forks(completions) == expected
    assert 3 <= len(expected) < 200


def test_mean_entropy_looks_at_whole_windows() -> None:
    window, threshold = 4, 3.6
    completions = forked(MeanEntropy(window=window, threshold=threshold))
    check_tree(completions)

    def wanted(entropies: list[float], step: int) -> bool:
        values = entropies[step - window + 1 : step + 1] if step % window == window - 1 else []
        return bool(values) and sum(values) / window > threshold

    expected = expected_forks(completions, wanted)
    assert actual_forks(completions) == expected
    assert 3 <= len(expected) < 200


def test_a_hook_sees_every_live_sequence_once_per_step() -> None:
    seen: list[list[LiveSequence]] = []

    def watch(live: Sequence[LiveSequence]) -> list[int]:
        entropies = [tuple(sequence.entropies) for sequence in live]
        assert [len(values) for values in entropies] == [sequence.step for sequence in live]
        seen.append(list(live))
        return [i for i, sequence in enumerate(live) if sequence.index == 0 and sequence.step == 2]

    limits = (3, 8, 5, 8, 2, 4, 8, 8, 1, 6)
    completions = forked(watch, max_new_tokens=limits)
    shown = {
        (one.prompt, one.index, one.step): (one.token, one.log_prob, one.entropy, one.parent)
        for live in seen
        for one in live
    }
    assert sum(map(len, seen)) == len(shown)
    assert all(
        [(one.prompt, one.index) for one in live] == sorted((one.prompt, one.index) for one in live)
        for live in seen
    )
    expected = {
        (one.prompt, one.index, step): (
            one.token_ids[step].item(),
            one.log_probs[step].item(),
            one.entropies[step].item(),
            one.parent,
        )
        for one in completions
        for step in range(len(one.token_ids))
        if one.branch_step is None or step > one.branch_step
    }
    assert shown == expected
    assert len(completions) == 10 + 3  # prompts 2 and 4 have a first completion that ends before


@pytest.mark.parametrize("budget", [0, 1, 3, 20])
@pytest.mark.parametrize("max_live", [None, 3])
def test_max_branches_is_met_exactly(budget: int, max_live: int | None) -> None:
    completions = forked(everyone, max_branches=budget, max_live=max_live)
    check_tree(completions)
    for prompt in range(PROMPT_COUNT):
        of_prompt = [one for one in completions if one.prompt == prompt]
        assert sum(one.parent is not None for one in of_prompt) == budget


def test_branches_go_to_the_first_sequences() -> None:
    forks = [one for one in forked(FixedStep(step=2), max_branches=1) if one.parent is not None]
    assert [(one.prompt, one.parent) for one in forks] == [(p, 0) for p in range(PROMPT_COUNT)]


@pytest.mark.parametrize("budget", [1, 2, 7, 23, 60, 61])
@pytest.mark.parametrize("max_live", [None, 1, 3])
def test_max_tokens_is_met_exactly(budget: int, max_live: int | None) -> None:
    completions = forked(FixedStep(step=5), max_tokens=budget, max_live=max_live)
    check_tree(completions)
    for prompt in range(PROMPT_COUNT):
        of_prompt = [one for one in completions if one.prompt == prompt]
        drawn = sum(map(own_tokens, of_prompt))
        everything = sum(LENGTH - (one.branch_step or 0) for one in of_prompt)
        assert drawn == min(budget, everything)
        for one in of_prompt:
            assert one.finish == ("length" if len(one.token_ids) == LENGTH else "budget")


def test_a_budget_is_cut_from_the_last_sequences() -> None:
    completions = forked(lambda live: [], max_tokens=2 * 4 + 1)
    assert [len(one.token_ids) for one in completions] == [5, 4] * PROMPT_COUNT
    assert {one.finish for one in completions} == {"budget"}


def test_nothing_is_forked_without_tokens_for_it() -> None:
    completions = forked(FixedStep(step=3), max_tokens=2 * 4)
    assert len(completions) == PROMPT_COUNT * COMPLETIONS


@pytest.mark.parametrize(
    ("key", "make"),
    [
        ("max_branches", lambda: Branching(hook=everyone, max_branches=-1)),
        ("max_tokens", lambda: Branching(hook=everyone, max_branches=1, max_tokens=0)),
        ("threshold", lambda: EntropySpike(threshold=-0.1)),
        ("threshold", lambda: MeanEntropy(window=2, threshold=-0.1)),
        ("window", lambda: MeanEntropy(window=0, threshold=0.1)),
        ("step", lambda: FixedStep(step=-1)),
    ],
)
def test_a_wrong_setting_is_named(key: str, make: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        make()
    assert caught.value.key == f"rollout.branching.{key}"
