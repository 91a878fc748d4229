"""Groups that fork: exactly so many completions, forks where the rule says, each its parent's continuation."""

import math
from typing import Any

import pytest
import torch

from rlent.errors import ConfigError
from rlent.rollout import Completion, Forking, RolloutEngine, Sampling
from rlent.rollout.branching import Branching, FixedStep
from rlent.rollout.forking import (
    TABLE,
    CriticalToken,
    EntropyChange,
    Fork,
    ForkingRule,
    Tree,
    UncertainTokens,
    WindowEntropy,
)
from rlent.rollout.forking.grow import Grower
from rlent.rollout.streams import chance, sequence_key, uniform
from tests.rollout.examples import PROMPTS, entropy, full_logits, log_softmax, make_model

GENERATIONS, LENGTH, SEED = 8, 14, 5
TEXTS = {token: f"w{token}" for token in range(96)} | {
    20: "x",
    21: " y ",
    22: "the Answer",
    7: "<s>",
}
SPECIAL = 7


class Tokenizer:
    all_special_ids = (SPECIAL,)

    def decode(self, tokens: list[int], **_: Any) -> str:
        return "".join(TEXTS[token] for token in tokens)


def engine(**options: Any) -> RolloutEngine:
    length = options.pop("max_new_tokens", LENGTH)
    settings = {name: options.pop(name) for name in ("eos_token_ids",) if name in options}
    return RolloutEngine(
        model=options.pop("model", None) or make_model(),
        sampling=Sampling(max_new_tokens=length, temperature=1.5, **settings),
        tokenizer=Tokenizer(),
        **options,
    )


def grown(
    rule: ForkingRule, prompts: list[list[int]] = PROMPTS, first: int = 0, **options: Any
) -> list[Completion]:
    grower = Grower(engine=engine(**options), rule=rule)
    return list(grower.generate(prompts, GENERATIONS, seed=SEED, first=first).completions)


RULES: list[ForkingRule] = [
    CriticalToken(n1=2, n2=3, top_k=4),
    UncertainTokens(trees=2, tokens=3, forks=1),
    UncertainTokens(trees=2, tokens=1, rounds=3, forks=1),
    EntropyChange(initial_completions=3, every=4, window=2),
    WindowEntropy(initial_completions=3, window=2, quantile=0.6),
]
each_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)


def check_groups(completions: list[Completion], initial: int) -> None:
    names = [(one.prompt, one.index) for one in completions]
    assert names == [(prompt, index) for prompt in range(5) for index in range(GENERATIONS)]
    by_name = dict(zip(names, completions, strict=True))
    for one in completions:
        if one.index < initial:
            assert one.parent is None
        if one.parent is None:
            assert one.branch_step is None
            continue
        parent, step = by_name[one.prompt, one.parent], one.branch_step
        assert step is not None
        assert parent.index < one.index
        assert step < len(parent.token_ids)
        for name in ("token_ids", "log_probs", "entropies", "truncated_log_probs"):
            assert torch.equal(getattr(one, name)[:step], getattr(parent, name)[:step])


@each_rule
@pytest.mark.parametrize("max_live", [None, 3])
def test_a_group_is_full_and_every_own_token_is_its_own_draw(
    rule: ForkingRule, max_live: int | None
) -> None:
    model = make_model()
    completions = grown(rule, model=model, max_live=max_live)
    check_groups(completions, rule.initial(GENERATIONS))
    assert any(one.parent is not None for one in completions)
    for one in completions:
        tokens, key = one.token_ids.tolist(), sequence_key(SEED, one.prompt, one.index)
        logits = full_logits(model, PROMPTS[one.prompt], tokens) / 1.5
        for step in range(one.branch_step or 0, len(tokens)):
            log_probs = log_softmax(logits[step].tolist())
            probs = [math.exp(value) for value in log_probs]
            assert one.log_probs[step].item() == pytest.approx(log_probs[tokens[step]], abs=1e-4)
            assert one.entropies[step].item() == pytest.approx(entropy(log_probs), abs=1e-4)
            assert sum(probs[: tokens[step]]) <= uniform(key, step) < sum(probs[: tokens[step] + 1])


@each_rule
def test_groups_do_not_depend_on_other_prompts_nor_on_the_live_sequences(rule: ForkingRule) -> None:
    """As on ranks that hold some of the prompts each."""

    def said(completions: list[Completion], first: int = 0) -> list[Any]:
        return [
            (first + one.prompt, one.index, one.parent, one.branch_step, one.token_ids.tolist())
            for one in completions
        ]

    model = make_model()
    together = said(grown(rule, model=model))
    assert said(grown(rule, model=model, max_live=2)) == together
    parts = [said(grown(rule, PROMPTS[a:b], a, model=model), a) for a, b in ((0, 2), (2, 5))]
    assert [*parts[0], *parts[1]] == together


@each_rule
def test_the_first_completions_are_those_of_plain_sampling(rule: ForkingRule) -> None:
    model, initial = make_model(), rule.initial(GENERATIONS)
    plain = engine(model=model).generate(PROMPTS, initial, seed=SEED).completions
    first = [one for one in grown(rule, model=model) if one.index < initial]
    assert [one.token_ids.tolist() for one in plain] == [one.token_ids.tolist() for one in first]


def forks_of(completions: list[Completion], prompt: int) -> list[tuple[int | None, int | None]]:
    return [
        (one.parent, one.branch_step)
        for one in completions
        if one.prompt == prompt and one.parent is not None
    ]


def chance_of(prompt: int, index: int, place: int) -> float:
    return chance(sequence_key(SEED, prompt, index), place)


@pytest.mark.parametrize("characters", [0, 2])
def test_critical_tokens(characters: int) -> None:
    completions = grown(CriticalToken(n1=2, n2=3, top_k=4, min_characters=characters))
    for prompt in range(5):
        expected = []
        for root in [one for one in completions if one.prompt == prompt][:2]:
            tokens, entropies = root.token_ids.tolist(), root.entropies.tolist()
            usable = [
                place
                for place in range(1, LENGTH)
                if tokens[place] != SPECIAL and len(TEXTS[tokens[place]].strip()) >= characters
            ]
            best = sorted(usable, key=lambda place, h=entropies: h[place], reverse=True)[:4]
            step = best[int(chance_of(prompt, root.index, 0) * len(best))]
            expected += [(root.index, step)] * 3
        assert forks_of(completions, prompt) == expected


def test_a_completion_without_a_critical_token_begins_anew() -> None:
    completions = grown(RULES[0], max_new_tokens=1)
    assert {one.branch_step for one in completions} == {None, 0}
    assert len(completions) == 5 * GENERATIONS


def test_uncertain_tokens_round_by_round() -> None:
    """One place in each of two trees, three times; a fork's first own token is not forked at."""
    completions = grown(RULES[2])
    for prompt in range(5):
        group = [one for one in completions if one.prompt == prompt]
        trees, expected = [[group[0]], [group[1]]], []
        rest = iter(group[2:])
        for _ in range(3):
            for tree in trees:
                places = []
                for one in tree:
                    tokens, scores = one.token_ids.tolist(), one.log_probs.tolist()
                    own = one.branch_step or 0
                    stops = [i for i in range(own, LENGTH) if "answer" in TEXTS[tokens[i]].lower()]
                    last = stops[0] if stops else LENGTH
                    start = 0 if one.branch_step is None else own + 1
                    places += [(scores[i], one.index, i) for i in range(start, LENGTH) if i <= last]
                _, parent, step = min(places)
                expected.append((parent, step))
            for tree in trees:
                tree.append(next(rest))
        assert forks_of(completions, prompt) == expected


def test_changes_of_entropy() -> None:
    rule = EntropyChange(initial_completions=3, every=4, window=2, weight=3.0, probability=0.4)
    completions = grown(rule)
    total = 0
    for prompt in range(5):
        group = [one for one in completions if one.prompt == prompt]
        fresh, made, expected = group[:3], 3, []
        while fresh and made < GENERATIONS:
            found = []
            for one in fresh:
                h = [value / math.log(96) for value in one.entropies.tolist()]
                for end in (4, 8, 12):
                    change = sum(h[end - 4 : end - 2]) - sum(h[:2])
                    score = chance_of(prompt, one.index, end) - 3.0 * change
                    if end > (one.branch_step or 0) and max(0.0, min(1.0, score)) <= 0.4:
                        found.append((end, one.index))
            found = sorted(found)[: GENERATIONS - made]
            expected += [(parent, end) for end, parent in found]
            fresh = group[made : made + len(found)]
            made += len(found)
        assert forks_of(completions, prompt) == expected
        total += len(expected)
    assert 5 < total < 5 * (GENERATIONS - 3)


def test_windows_of_high_entropy() -> None:
    """The highest first, none over another of the same completion, one round."""
    completions = grown(RULES[4])
    total = 0
    for prompt in range(5):
        first = [one for one in completions if one.prompt == prompt][:3]
        entropies = [one.entropies.tolist() for one in first]
        highs = []
        for h in entropies:
            rising, place = sorted(h), 0.6 * (len(h) - 1)
            low = int(place)
            highs.append(rising[low] + (place - low) * (rising[low + 1] - rising[low]))
        threshold = sum(highs) / 3
        found = []
        for index, h in enumerate(entropies):
            means = [((h[t] + h[t + 1]) / 2, t) for t in range(LENGTH - 1)]
            taken: list[int] = []
            for mean, t in sorted(means, reverse=True):
                if mean > threshold and t - 1 not in taken and t + 1 not in taken:
                    taken.append(t)
                    found.append((mean, index, t))
        found.sort(reverse=True)
        expected = [(index, step) for _, index, step in found[: GENERATIONS - 3]]
        assert forks_of(completions, prompt) == expected
        total += len(expected)
    assert total > 10


def test_a_completion_shorter_than_a_window_has_no_fork() -> None:
    completions = grown(RULES[4], max_new_tokens=1)
    assert all(one.parent is None for one in completions)


def test_what_is_missing_is_sampled_plainly() -> None:
    """Completions of one token cannot fork after the fourth."""
    model = make_model()
    completions = grown(RULES[3], model=model, max_new_tokens=3)
    plain = engine(model=model, max_new_tokens=3).generate(PROMPTS, GENERATIONS, seed=SEED)
    assert all(one.parent is None for one in completions)
    given = [one.token_ids.tolist() for one in completions]
    assert given == [one.token_ids.tolist() for one in plain.completions]


class TooMany(ForkingRule):
    learn_shared = True

    def initial(self, generations: int) -> int:
        return 1

    def grow(self, tree: Tree) -> list[Fork]:
        return [Fork(parent=0, step=1 + number) for number in range(11)]


def test_of_too_many_forks_the_first_are_made() -> None:
    completions = grown(TooMany())
    assert forks_of(completions, 0) == [(0, 1 + number) for number in range(GENERATIONS - 1)]


@pytest.mark.parametrize(
    ("name", "options", "field"),
    [
        ("critical_token", {"n1": 0}, "n1"),
        ("critical_token", {"n2": 0}, "n2"),
        ("critical_token", {"top_k": 0}, "top_k"),
        ("critical_token", {"min_characters": -1}, "min_characters"),
        ("uncertain_tokens", {"trees": 0}, "trees"),
        ("uncertain_tokens", {"tokens": 0}, "tokens"),
        ("uncertain_tokens", {"rounds": 0}, "rounds"),
        ("uncertain_tokens", {"forks": 0}, "forks"),
        ("uncertain_tokens", {"until": ("Answer",)}, "until"),
        ("uncertain_tokens", {"until": ("",)}, "until"),
        ("entropy_change", {"initial_completions": 0, "every": 30}, "initial_completions"),
        ("entropy_change", {"initial_completions": 1, "every": 0}, "every"),
        ("entropy_change", {"initial_completions": 1, "every": 9, "window": 0}, "window"),
        ("entropy_change", {"initial_completions": 1, "every": 9, "window": 10}, "window"),
        (
            "entropy_change",
            {"initial_completions": 1, "every": 30, "probability": 1.5},
            "probability",
        ),
        ("window_entropy", {"initial_completions": 0}, "initial_completions"),
        ("window_entropy", {"initial_completions": 1, "window": 0}, "window"),
        ("window_entropy", {"initial_completions": 1, "quantile": 1.0}, "quantile"),
    ],
)
def test_a_wrong_option_is_named(name: str, options: dict[str, Any], field: str) -> None:
    with pytest.raises(ValueError, match=field):
        TABLE[name](**options)


@pytest.mark.parametrize(
    "rule",
    [
        CriticalToken(),
        UncertainTokens(),
        EntropyChange(initial_completions=8, every=30),
        WindowEntropy(initial_completions=8),
    ],
    ids=lambda rule: rule.name,
)
def test_a_rule_that_does_not_give_the_group_is_refused(rule: ForkingRule) -> None:
    with pytest.raises(ConfigError) as caught:
        grown(rule)
    assert (caught.value.key or "").startswith(f"rollout.branching.{rule.name}")
    assert str(GENERATIONS) in (caught.value.expected or "")


def test_an_engine_that_forks_by_itself_is_refused() -> None:
    own = Branching(hook=FixedStep(step=1), max_branches=1)
    with pytest.raises(ConfigError, match="by itself"):
        grown(RULES[0], branching=own)


def test_a_recipes_choice_is_one_rule() -> None:
    assert Forking(critical_token=CriticalToken()).rule == CriticalToken()
    for wrong in ({}, {"critical_token": CriticalToken(), "uncertain_tokens": UncertainTokens()}):
        with pytest.raises(ValueError, match="must name one rule"):
            Forking(**wrong)
    assert set(TABLE) == set(Forking.__dataclass_fields__)
