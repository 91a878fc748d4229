"""Pairs of a right and a wrong working."""

import random

import pytest

from rlent.data import DataSection
from rlent.data.load import load_data, load_rows
from rlent.errors import ConfigError
from rlent.small import OPERATIONS, draw_question
from rlent.small.preferences import draw_preference


@pytest.mark.parametrize("operations", OPERATIONS)
def test_one_is_right_and_one_is_wrong(operations: int) -> None:
    rng = random.Random(0)
    for _ in range(50):
        question = draw_question(rng, operations)
        chosen, rejected = draw_preference(question, rng)
        assert chosen.split()[-1] == str(question.answer)
        assert rejected.split()[-1] != str(question.answer)


def test_a_recipe_gets_answers_that_stand_right_behind_the_prompt() -> None:
    section = DataSection(name="small/preferences", style="plain", size=20)
    rows = load_data(section, given=("chosen", "rejected")).rows
    for row in rows.to_list():
        for name in ("chosen", "rejected"):
            assert row[name].startswith(" ")
            assert "  " not in row["prompt"] + row[name]


def test_the_same_seed_gives_the_same_pairs_and_grpo_does_not_see_them() -> None:
    section = DataSection(name="small/preferences", style="plain", size=20)
    first, second = (load_data(section, given=("chosen", "rejected")).rows for _ in range(2))
    assert first.to_list() == second.to_list()
    assert set(load_rows(section).column_names) == {"prompt", "answer", "question"}


def test_its_options_are_those_of_the_task() -> None:
    with pytest.raises(ConfigError, match="'small/preferences' has no option 'operation'"):
        load_rows(DataSection(name="small/preferences", options={"operation": 3}))
