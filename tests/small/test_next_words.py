"""The entropies of a working's words against the workings themselves, and the tasks that recipes make of them."""

import math
import random
from collections import Counter, defaultdict

import pytest

from rlent.data import DataSection
from rlent.data.load import load_rows
from rlent.data.next_tokens import TIERS, Curriculum, tiers_of
from rlent.errors import ConfigError
from rlent.small import draw_question, work
from rlent.small.next_words import word_entropies
from rlent.small.task import Question

NAME = "small/next_tokens"


def section(**fields: object) -> DataSection:
    return DataSection(name=NAME, style="plain", prompt="{prefix}", **fields)  # pyright: ignore[reportArgumentType]


def test_entropies_are_those_of_many_workings() -> None:
    """Words are counted behind every prefix that came often; those of the plug-in estimate are a little low."""
    rng = random.Random(0)
    checked = set[str]()
    for _ in range(4):
        question = draw_question(rng, 2)
        following = defaultdict[str, Counter[str]](Counter)
        claimed = dict[str, float]()
        for _ in range(8000):
            working = work(question, rng)
            words = working.split()
            for place, entropy in enumerate(word_entropies(question, working)):
                prefix = " ".join(words[:place])
                following[prefix][words[place]] += 1
                assert claimed.setdefault(prefix, entropy) == entropy
            following[working]["<eos>"] += 1
        for prefix, entropy in claimed.items():
            counts = following[prefix]
            total = counts.total()
            if total < 400:
                continue
            estimate = -sum(n / total * math.log(n / total) for n in counts.values())
            assert entropy == pytest.approx(estimate, abs=0.1), prefix
            kind = "opener" if not prefix else prefix.split()[-1]
            checked.add("result" if kind.isdigit() else kind)
    assert {"opener", "result", "=", "gives", "check", "quick", "so"} <= checked


def test_a_word_that_follows_has_none() -> None:
    question = Question(start=7, operations=(("+", 5), ("-", 2), ("*", 3)))
    working = "so 7 + 5 = 2 check 2 quick 2 - 2 * 3 = 0"
    entropies = word_entropies(question, working)
    assert len(entropies) == len(working.split())
    words = working.split()
    for place in (1, 2, 3, 9, 10, 11, 12, 13, 14):
        assert entropies[place] == 0.0, words[place]
    assert entropies[4] == pytest.approx(math.log(2))
    assert entropies[15] == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(18))
    openers = -sum(p * math.log(p) for p in (0.1, 0.45, 0.27, 0.18))
    assert entropies[0] == entropies[8] == pytest.approx(openers)


def test_rows_are_a_curriculum_over_the_texts() -> None:
    rows = load_rows(section(size=900, options={"budget": 10, "decay": 0.5})).to_list()
    assert [row["step"] for row in rows] == list(range(900))
    curriculum = Curriculum(budget=10, decay=0.5)
    for row in rows:
        assert row["budget"] == curriculum.budget_at(row["step"] / 900)
        assert row["prompt"] == row["prefix"]
        question, _, working = row["prefix"].partition(" =")
        start, *operations = question.split()
        pairs = zip(operations[::2], map(int, operations[1::2]), strict=True)
        asked = Question(start=int(start), operations=tuple(pairs))
        assert len(asked.operations) == 4
        assert asked.text == f"{question} ="
        assert len(row["answer"].split()) == 1
        if row["entropy"] > math.log(2) + 0.01:
            assert row["tier"] == "hard"
        assert working == "" or working.startswith(" ")
    hard = [row["tier"] == "hard" for row in rows]
    assert sum(hard[:200]) < 40 < 100 < sum(hard[-200:])
    assert {row["tier"] for row in rows} == set(TIERS)


def test_more_than_half_of_the_words_follow() -> None:
    """So that the first two tiers hold words without entropy, as the recipe's data says."""
    rng = random.Random(1)
    entropies = [
        entropy
        for _ in range(300)
        for question in [draw_question(rng, 4)]
        for entropy in word_entropies(question, work(question, rng))
    ]
    easy, medium, hard = tiers_of(entropies)
    assert not any(entropies[place] for place in [*easy, *medium[: len(medium) // 2]])
    assert sum(entropies[place] > 0 for place in hard) > 0.8 * len(hard)


def test_rows_follow_from_the_seed() -> None:
    first, again, other = (load_rows(section(size=20, seed=s)).to_list() for s in (1, 1, 2))
    assert first == again
    assert first != other


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decays": 0.5}, "has no option 'decays'"),
        ({"operations": 9}, "knows no questions with that many"),
        ({"decay": 0.0}, "decay must be in"),
        ({"budget": 0}, "least_budget must be"),
        ({"budget": "long"}, "data.options"),
    ],
)
def test_bad_options(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_rows(section(size=5, options=options))


def test_the_other_tasks_have_no_budget() -> None:
    with pytest.raises(ConfigError, match="'small/arithmetic' has no option 'budget'"):
        load_rows(DataSection(name="small/arithmetic", options={"budget": 3}))
