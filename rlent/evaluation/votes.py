"""What a completion votes for, by the reward that judges it."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from rlent_rewards import MathAnswer, MultipleChoice, Numeric, VoteRule, answer_classes

Voting = Callable[[Sequence[str]], list[str | None]]
"""The completions of one problem to their answers: equal texts are votes for the same one, None is no vote."""


def voting(reward: Any) -> Voting | None:
    """How completions vote if ``reward`` judges them; None for a reward that compares no answers with each other.

    ``math_answer`` and ``numeric``: answers are extracted as the reward does, and those that mean the same are one, as
    ``rlent_rewards.vote`` counts them (a tolerance of ``numeric`` plays no part). ``multiple_choice``: the letter.
    """
    match reward:
        case MathAnswer(extract=extract, pattern=pattern, strict=strict):
            rule = VoteRule(extract=extract, pattern=pattern, strict=strict)
            return partial(answer_classes, rule=rule)
        case Numeric():
            return partial(answer_classes, rule=VoteRule(extract=reward.extract))
        case MultipleChoice():
            return partial(_letters, reward=reward)
        case _:
            return None


def _letters(texts: Sequence[str], reward: MultipleChoice) -> list[str | None]:
    """The letter with which the reward would call each text right."""
    chosen: list[str | None] = [None] * len(texts)
    for letter in reward.letters:
        judged = reward(texts, **{reward.answer_column: [letter] * len(texts)})
        chosen = [letter if right else before for right, before in zip(judged, chosen, strict=True)]
    return chosen
