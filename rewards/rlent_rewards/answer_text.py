"""Where an answer that is text stands in a completion; ``extraction`` reads answers as mathematics."""

from collections.abc import Callable
from typing import Literal

from rlent_rewards.extraction import answer_tag, boxed, marker

TextExtraction = Literal["auto", "boxed", "answer_tag", "marker", "whole", "last_word"]


def last_word(text: str) -> str | None:
    """What stands behind the last white space that is not at the end."""
    return next(iter(text.rsplit(maxsplit=1)[-1:]), None)


_METHODS: dict[str, Callable[[str], str | None]] = {
    "boxed": boxed,
    "answer_tag": answer_tag,
    "marker": marker,
    "whole": str,
    "last_word": last_word,
}


def answer_text(text: str, method: TextExtraction) -> str | None:
    """The answer as it is written, or None where it is missing or blank.

    "auto" is the first of the methods that finds one, at last the whole text; never "last_word". Linear time.
    """
    methods = _METHODS.values() if method == "auto" else (_METHODS[method],)
    return next((answer for find in methods if (answer := find(text)) and answer.strip()), None)
