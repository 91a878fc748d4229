"""Texts of a megabyte, of no meaning or of characters that are no text, for every reward."""

import math
import time

import pytest

from rlent_rewards import REWARDS
from tests.rewards.examples import make
from tests.rewards.test_laws import columns

MEGABYTE = 1_000_000


def filled(unit: str) -> str:
    return unit * (MEGABYTE // len(unit))


HOSTILE = {
    "empty": "",
    "null bytes": "B\x00" * 40,
    "lone surrogates": r"\boxed{" + "\ud800\udfff7" * 40 + "}",
    "right-to-left marks": "<answer>\u202e7\u200f\u2067B\u061c</answer>",
    "surrogate answer": "<answer>\ud800</answer>",
    "one letter": filled("a"),
    "choices": filled("A B "),
    "words": filled("no yes "),
    "digits": filled("9"),
    "numbers": filled("1,"),
    "thousands": filled(",111"),
    "fractions": filled("1/"),
    "blanks": filled(" "),
    "lines": filled("\n"),
    "boxes": filled(r"\boxed{"),
    "closed boxes": r"\boxed{" + filled("{7}") + "}",
    "tags": filled("<answer>"),
    "closed tags": "<answer>" + filled("7 B ") + "</answer>",
    "markers": filled("answer is "),
    "half a marker": "answer" + filled(" "),
    "commands": filled("\\"),
    "marks": filled("*"),
    "accents": filled("e\u0301\u0323"),
    "many characters": "".join(map(chr, range(0xE000))) * 4,
    "null bytes by the megabyte": filled("\x00"),
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("name", REWARDS)
def test_a_hostile_text_has_a_finite_reward_within_a_second(name: str, text: str) -> None:
    reward = make(name)
    tokens = list(text.encode("utf-8", "surrogatepass"))
    given = columns(["7"]) | {"completion_ids": [tokens]}
    reward(completions=["<answer>7</answer>"], **given)  # loads what it needs
    # The time of this process, so that a busy machine fails nothing; workers have limits of their own.
    start = time.process_time()
    (value,) = reward(completions=[text], **given)
    assert time.process_time() - start < 1
    assert math.isfinite(value)
