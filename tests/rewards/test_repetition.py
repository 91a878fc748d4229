import random
import tracemalloc
from typing import Any

import pytest

from rlent_rewards import Repetition


def share_seen_before(items: list[Any], n: int) -> float:
    """Minus the share of n-grams that are equal to an earlier one."""
    grams = [items[start : start + n] for start in range(len(items) - n + 1)]
    repeated = sum(gram in grams[:place] for place, gram in enumerate(grams))
    return -repeated / len(grams) if grams else 0.0


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7, 8, 13])
@pytest.mark.parametrize("kinds", [1, 2, 5, 1000])
def test_it_is_the_share_of_ngrams_that_came_before(n: int, kinds: int) -> None:
    draw = random.Random(100 * n + kinds)
    ids = [[draw.randrange(kinds) for _ in range(length)] for length in (0, 1, 2, 6, 8, 13, 40)]
    expected = [share_seen_before(tokens, n) for tokens in ids]
    rewards = Repetition(n=n)([""] * len(ids), completion_ids=ids)
    assert rewards == pytest.approx(expected, abs=1e-15)


def test_the_example_of_two_grams() -> None:
    reward = Repetition(n=2)
    assert reward(["", ""], completion_ids=[[1, 2, 3, 4], [5, 5, 5, 5, 5]]) == [0.0, -0.75]


def test_words_are_compared_in_lower_case() -> None:
    reward = Repetition(n=2, of="words")
    texts = ["the cat The\nCAT", "so so", "one", "", "你好你好你好"]
    assert reward(texts) == pytest.approx([-1 / 3, 0, 0, 0, 0])
    assert reward([[{"role": "assistant", "content": texts[0]}]]) == pytest.approx([-1 / 3])


def test_tokens_count_whatever_the_text_is() -> None:
    ids = [[1, 1, 1, 1]]
    assert Repetition()(["no repetition here"], completion_ids=ids) == [-0.5]


def test_no_repetition_is_not_negative_zero() -> None:
    assert str(Repetition()([""], completion_ids=[[1, 2, 3, 4]])) == "[0.0]"


def test_memory_does_not_grow_with_the_length_of_the_ngrams() -> None:
    tokens = list(range(5_000)) * 2
    ngrams = 10_000 - 999
    tracemalloc.start()
    try:
        (reward,) = Repetition(n=1000)([""], completion_ids=[tokens])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert reward == pytest.approx(-(ngrams - 5_000) / ngrams)
    # As tuples of 1000 tokens these are 40 MB.
    assert peak < 10_000_000


@pytest.mark.parametrize("given", [0, -3])
def test_n_must_be_positive(given: int) -> None:
    with pytest.raises(ValueError, match=f"repetition: n must be positive; given: {given}"):
        Repetition(n=given)


def test_an_unknown_unit_is_refused() -> None:
    reward = Repetition()
    # The type checker of the test run would stop the constructor before the check under test.
    object.__setattr__(reward, "of", "word")
    with pytest.raises(ValueError, match="repetition: of must be one of tokens, words; given"):
        reward.__post_init__()


def test_without_the_tokens_there_is_an_error() -> None:
    with pytest.raises(ValueError, match="repetition: completion_ids must be passed"):
        Repetition()(["7"], answer=["7"])
