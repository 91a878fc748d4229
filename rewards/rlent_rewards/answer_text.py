"""Where an answer that is text stands in a completion; ``extraction`` reads answers as mathematics."""

from collections.abc import Callable
from typing import Literal

from rlent_rewards.extraction import answer_tag, boxed, marker

TextExtraction = Literal["auto", "boxed", "answer_tag", "marker", "whole"]

_METHODS: dict[str, Callable[[str], str | None]] = {
    "boxed": boxed,
    "answer_tag": answer_tag,
    "marker": marker,
    "whole": str,
}


def answer_text(text: str, method: TextExtraction) -> str | None:
    """The answer as it is written, or None where it is missing or blank.

    "auto" is the first of the methods that finds one, at last the whole text. Linear time.
    """
    methods = _METHODS.values() if method == "auto" else (_METHODS[method],)
    return next((answer for find in methods if (answer := find(text)) and answer.strip()), None)
