"""The estimators against enumeration, and the interval against a distribution that is known."""

import itertools
import math
from collections.abc import Sequence
from fractions import Fraction

import pytest

from rlent.evaluation import avg_at_k, bootstrap, maj_at_k, pass_at_k


@pytest.mark.parametrize("samples", range(1, 8))
def test_pass_at_k_is_the_share_of_subsets_with_a_correct_completion(samples: int) -> None:
    for correct, k in itertools.product(range(samples + 1), range(1, samples + 1)):
        completions = [True] * correct + [False] * (samples - correct)
        subsets = list(itertools.combinations(completions, k))
        share = Fraction(sum(any(subset) for subset in subsets), len(subsets))
        assert pass_at_k(samples, correct, k) == pytest.approx(float(share), abs=1e-15)


@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize("chance", [0.0, 0.03, 0.5, 1.0])
def test_pass_at_k_is_unbiased(k: int, chance: float) -> None:
    """Its mean over the number of correct ones among 9 completions is the chance that one of k is correct."""
    mean = 0.0
    for correct in range(10):
        ways = math.comb(9, correct)
        mean += ways * chance**correct * (1 - chance) ** (9 - correct) * pass_at_k(9, correct, k)
    assert mean == pytest.approx(1 - (1 - chance) ** k, abs=1e-12)


def test_pass_at_k_of_many_samples_is_the_product_form() -> None:
    expected = 1.0
    for i in range(10_000 - 7 + 1, 10_000 + 1):
        expected *= 1 - 5_000 / i
    assert pass_at_k(10_000, 7, 5_000) == pytest.approx(1 - expected, abs=1e-12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((4, 2, 0), "k must be between 1 and the number of samples, 4; got 0"),
        ((4, 2, 5), "k must be between 1 and the number of samples, 4; got 5"),
        ((4, 5, 1), "correct must be between 0 and 4, got 5"),
        ((4, -1, 1), "correct must be between 0 and 4, got -1"),
    ],
)
def test_pass_at_k_refuses_what_cannot_be(arguments: tuple[int, int, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        pass_at_k(*arguments)


def test_avg_at_k() -> None:
    assert avg_at_k([1.0, 0.0, 0.5]) == 0.5
    assert avg_at_k([0.1] * 10) == 0.1
    with pytest.raises(ValueError, match="no scores"):
        avg_at_k([])


def majority(answers: Sequence[str | None], correct: Sequence[bool]) -> float:
    """Counted in loops: strictly more votes are needed to displace an answer that was seen earlier."""
    best, most = None, 0
    for place, answer in enumerate(answers):
        votes = 0
        for other in answers:
            votes += other == answer
        if answer is not None and votes > most:
            best, most = place, votes
    return 0.0 if best is None else float(correct[best])


@pytest.mark.parametrize("count", range(5))
def test_maj_at_k_for_every_vote(count: int) -> None:
    for answers in itertools.product([None, "1", "2", "3"], repeat=count):
        for right in ("1", "2", "none of them"):
            correct = [answer == right for answer in answers]
            assert maj_at_k(answers, correct) == majority(answers, correct)


def test_maj_at_k_asks_the_first_completion_of_the_winner() -> None:
    assert maj_at_k(["1", "2", "2"], [True, False, True]) == 0.0
    assert maj_at_k(["2", "1", "2"], [True, False, False]) == 1.0


def test_maj_at_k_needs_a_judgement_per_answer() -> None:
    with pytest.raises(ValueError, match="2 answers, but 1 judgements"):
        maj_at_k(["1", "2"], [True])


def binomial_quantile(count: int, chance: float, share: float) -> int:
    """Least number of successes that at least ``share`` of the distribution does not exceed."""
    total = 0.0
    for successes in range(count + 1):
        ways = math.comb(count, successes)
        total += ways * chance**successes * (1 - chance) ** (count - successes)
        if total >= share:
            return successes
    return count


@pytest.mark.parametrize(("count", "correct"), [(10, 3), (30, 20), (100, 1), (57, 28)])
def test_interval_of_solved_problems_is_the_binomial_one(count: int, correct: int) -> None:
    """Drawing problems with replacement makes the number of solved ones binomial."""
    found = bootstrap([1.0] * correct + [0.0] * (count - correct))
    for bound, share in ((found.low, 0.025), (found.high, 0.975)):
        near = [binomial_quantile(count, correct / count, share + off) for off in (-0.006, 0.006)]
        assert near[0] <= round(bound * count) <= near[1]
        assert bound * count == pytest.approx(round(bound * count), abs=1e-9)


def test_interval_of_many_problems_is_the_normal_one() -> None:
    values = [math.sin(i) for i in range(2000)]
    mean = math.fsum(values) / 2000
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / 2000)
    found = bootstrap(values)
    half = 1.959964 * deviation / math.sqrt(2000)
    assert found.low == pytest.approx(mean - half, abs=0.05 * half)
    assert found.high == pytest.approx(mean + half, abs=0.05 * half)


def test_interval_follows_from_its_seed() -> None:
    values = [0.0, 0.3, 0.35, 0.9, 1.0]
    assert bootstrap(values, seed=1) == bootstrap(values, seed=1)
    assert bootstrap([0.25]) == bootstrap([0.25, 0.25, 0.25])
    assert (bootstrap([0.25]).low, bootstrap([0.25]).high) == (0.25, 0.25)


@pytest.mark.parametrize("values", [[], [0.5, math.nan], [math.inf]])
def test_interval_refuses_what_has_no_mean(values: list[float]) -> None:
    with pytest.raises(ValueError, match="finite values"):
        bootstrap(values)
