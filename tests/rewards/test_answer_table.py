"""The table of answers and references, and what math-verify says to it by itself."""

import re

import pytest

from rlent_rewards import MathAnswer
from tests.rewards.answer_pairs import COMPLETIONS, DOCUMENTED, LIMITATIONS, PAIRS, Entry

GROUPS = {**PAIRS, "documented": DOCUMENTED}
# A machine that does something else as well must not fail a test of verdicts.
REWARD = MathAnswer(timeout=20.0)


def disagreements(entries: list[Entry], completions: list[str]) -> list[Entry]:
    """Entries of which the verifier does not say what stands there."""
    rewards = REWARD(completions, answer=[entry.reference for entry in entries])
    return [entry for entry, reward in zip(entries, rewards, strict=True) if reward != entry.equal]


def boxed(entries: list[Entry]) -> list[str]:
    return [f"So \\boxed{{{entry.answer}}}" for entry in entries]


def by_math_verify(answer: str, reference: str) -> bool:
    from math_verify import parse, verify

    gold = parse(reference, parsing_timeout=0)
    return verify(gold, parse(answer, parsing_timeout=0), timeout_seconds=0)


def test_the_table_is_large_and_has_no_entry_twice() -> None:
    entries = [entry for group in (*PAIRS.values(), LIMITATIONS) for entry in group]
    assert len(entries) >= 300
    pairs = [(entry.answer, entry.reference) for entry in entries]
    assert [pair for pair in pairs if pairs.count(pair) > 1] == []
    assert all(entry.why for entry in entries)
    equal = sum(entry.equal for entry in entries)
    assert 0.25 < equal / len(entries) < 0.8


@pytest.mark.parametrize("group", GROUPS)
def test_answers_in_a_box_are_judged_as_the_table_says(group: str) -> None:
    assert disagreements(GROUPS[group], boxed(GROUPS[group])) == []


def test_answers_in_a_text_are_judged_as_the_table_says() -> None:
    assert disagreements(COMPLETIONS, [entry.answer for entry in COMPLETIONS]) == []


def test_the_limitations_are_still_there() -> None:
    assert disagreements(LIMITATIONS, boxed(LIMITATIONS)) == LIMITATIONS
    assert len(LIMITATIONS) <= 15


@pytest.mark.slow
@pytest.mark.parametrize("group", GROUPS)
def test_math_verify_says_the_same_but_where_the_table_says_otherwise(group: str) -> None:
    opposite = [
        entry
        for entry in GROUPS[group]
        if entry.equal
        != by_math_verify(f"\\boxed{{{entry.answer}}}", f"\\boxed{{{entry.reference}}}")
    ]
    assert opposite == [entry for entry in GROUPS[group] if entry.alone]


@pytest.mark.slow
def test_the_worked_examples_in_math_verify_are_judged_as_by_itself() -> None:
    from math_verify.few_shots import GSM8K_FEW_SHOTS, MATH_HARD_FEW_SHOTS

    texts = [shot["answer"] for shot in (*GSM8K_FEW_SHOTS, *MATH_HARD_FEW_SHOTS)]
    finals = [re.findall(r"final answer is (.+?)\. I hope", text)[0] for text in texts]
    assert len(finals) == 8
    pairs = [(text, final) for text in texts for final in finals]
    rewards = REWARD([text for text, _ in pairs], answer=[final for _, final in pairs])
    assert rewards == [float(by_math_verify(text, final)) for text, final in pairs]
    assert sum(rewards) == 8
