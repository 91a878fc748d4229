"""Otsu forking tokens: the threshold against its definition in rational numbers, and what is done with it."""

import math
from dataclasses import replace
from fractions import Fraction

import pytest
import torch
from torch import Tensor

from rlent.interventions import chain
from rlent.interventions.forking_otsu import ForkingOtsu, otsu_threshold
from rlent.types import Selection, Tokens
from tests.interventions.examples import everything, make_rollouts, make_signal, make_tokens
from tests.laws.pipeline import number, rows, with_junk


def threshold_by_definition(values: list[float], bins: int) -> Fraction:
    """Centre of the first bin that maximises w0 w1 (mu0 - mu1)^2, in exact arithmetic."""
    exact = [Fraction(value) for value in values]
    low, high = min(exact), max(exact)
    if low == high or bins == 1:
        return low
    width = (high - low) / bins
    centres = [low + (k + Fraction(1, 2)) * width for k in range(bins)]
    places = [min(int((value - low) / width), bins - 1) for value in exact]
    best, threshold = Fraction(-1), low
    for k in range(bins - 1):
        lower = [centres[place] for place in places if place <= k]
        upper = [centres[place] for place in places if place > k]
        w0, w1 = Fraction(len(lower), len(exact)), Fraction(len(upper), len(exact))
        score = w0 * w1 * (sum(lower) / len(lower) - sum(upper) / len(upper)) ** 2
        if score > best:
            best, threshold = score, centres[k]
    return threshold


def kept_by_definition(entropy: Tensor, candidates: Tensor, bins: int) -> Tensor:
    kept = torch.zeros_like(candidates)
    for row in range(len(entropy)):
        values = entropy[row][candidates[row]].tolist()
        if not values:
            continue
        threshold = threshold_by_definition(values, bins)
        for position in range(entropy.shape[1]):
            if candidates[row, position]:
                kept[row, position] = Fraction(entropy[row, position].item()) >= threshold
    return kept


def some_of(mask: Tensor, seed: int = 5) -> Tensor:
    """About half of the mask, of its first row nothing."""
    part = torch.rand(mask.shape, generator=torch.Generator().manual_seed(seed)) < 0.5
    part[0] = False
    return mask & part


def test_threshold_of_a_case_by_hand() -> None:
    values = torch.tensor([[0.0, 0.3, 0.6, 10.0]], dtype=torch.float64)
    everywhere = torch.ones(1, 4, dtype=torch.bool)
    # Bin 0 holds three values and bin 9 one. All nine splits are equal, and the first has the centre 0.5.
    assert otsu_threshold(values, everywhere, 10).item() == 0.5


def test_of_two_splits_that_are_equal_the_first_counts() -> None:
    values = torch.tensor([[0.0, 1.0, 2.0], [2.0, 1.0, 0.0]], dtype=torch.float64)
    everywhere = torch.ones(2, 3, dtype=torch.bool)
    # {0} | {1, 2} and {0, 1} | {2} both have w0 w1 (mu0 - mu1)^2 = 2/9 * 1.5^2 bins^2.
    assert otsu_threshold(values, everywhere, 3).tolist() == [[pytest.approx(1 / 3)]] * 2


@pytest.mark.parametrize("bins", [1, 2, 3, 10, 100, 256])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_threshold_is_its_definition(bins: int, dtype: torch.dtype) -> None:
    g = torch.Generator().manual_seed(bins)
    values = torch.rand(30, 40, generator=g, dtype=torch.float64) ** 4 * 3
    values[10:20] = (values[10:20] * 4).round() / 4
    values = values.to(dtype)
    mask = torch.rand(30, 40, generator=g) < torch.linspace(0.05, 1, 30).unsqueeze(1)
    mask[:, 0] = True
    given = otsu_threshold(values, mask, bins)
    assert given.shape == (30, 1)
    expected = [
        float(threshold_by_definition(values[row][mask[row]].tolist(), bins)) for row in range(30)
    ]
    assert given.squeeze(1).tolist() == pytest.approx(expected, rel=1e-12)


def test_threshold_does_not_depend_on_masked_values_or_other_rows() -> None:
    tokens = make_tokens(rows=6, length=20)
    entropy = tokens.entropy.detach()
    expected = otsu_threshold(entropy, tokens.mask, 10)
    for junk in (math.nan, math.inf, -math.inf):
        spoiled = torch.where(tokens.mask, entropy, junk)
        assert torch.equal(otsu_threshold(spoiled, tokens.mask, 10), expected)
    assert torch.equal(otsu_threshold(entropy[2:3], tokens.mask[2:3], 10), expected[2:3])


def test_rows_without_two_classes() -> None:
    values = torch.tensor([[0.7, 0.7, 0.7], [0.1, 5.0, 9.0], [0.1, 5.0, 9.0]])
    mask = torch.tensor([[True, True, True], [False, True, False], [False, False, False]])
    given = otsu_threshold(values, mask, 100).squeeze(1).tolist()
    assert given == [pytest.approx(0.7), 5.0, math.inf]
    assert otsu_threshold(values[:0], mask[:0], 100).shape == (0, 1)


def test_neighbouring_floats_are_two_classes() -> None:
    """The centre lies between them, where only float64 has a number."""
    values = torch.tensor([[1.0, 1.0 + 2**-23]])
    threshold = otsu_threshold(values, torch.ones(1, 2, dtype=torch.bool), 100)
    assert (values >= threshold).tolist() == [[False, True]]


@pytest.mark.parametrize("entropy", ["old", "current"])
@pytest.mark.parametrize("bins", [1, 4, 100])
def test_kept_are_the_candidates_at_or_above_the_threshold(entropy: str, bins: int) -> None:
    tokens = make_tokens(rows=8, length=30)
    candidates = some_of(tokens.mask)
    given = after_every_stage(ForkingOtsu(bins=bins, entropy=entropy), tokens, candidates)
    source = tokens.old_entropy if entropy == "old" else tokens.entropy
    assert source is not None
    assert torch.equal(given.select, kept_by_definition(source, candidates, bins))
    assert given.select.any()
    assert not given.select[0].any()


def after_every_stage(config: ForkingOtsu, tokens: Tokens, select: Tensor) -> Selection:
    selection, _ = chain([config]).on_select(
        make_rollouts(tokens), Selection(select=select, count=tokens.mask)
    )
    signal = replace(make_signal(tokens), select=selection.select, count=selection.count)
    after, _ = chain([config]).on_tokens(tokens, signal)
    return Selection(select=after.select, count=after.count)


@pytest.mark.parametrize("entropy", ["old", "current"])
def test_denominator_counts_all_or_kept(entropy: str) -> None:
    tokens = make_tokens(rows=6, length=20)
    everyone = after_every_stage(ForkingOtsu(entropy=entropy), tokens, tokens.mask)
    kept = after_every_stage(ForkingOtsu(entropy=entropy, denominator="kept"), tokens, tokens.mask)
    assert torch.equal(everyone.count, tokens.mask)
    assert torch.equal(kept.count, kept.select)
    assert torch.equal(kept.select, everyone.select)
    assert kept.select.sum() < tokens.mask.sum()


@pytest.mark.parametrize("entropy", ["old", "current"])
def test_equal_entropies_keep_every_token(entropy: str) -> None:
    tokens = make_tokens()
    equal = torch.full_like(tokens.logp, 0.3)
    tokens = replace(tokens, entropy=equal, old_entropy=equal)
    given = after_every_stage(ForkingOtsu(entropy=entropy), tokens, tokens.mask)
    assert torch.equal(given.select, tokens.mask)


@pytest.mark.parametrize("entropy", ["old", "current"])
def test_a_single_token_is_kept(entropy: str) -> None:
    mask = torch.tensor([[False, True, False]])
    tokens = make_tokens(rows=1, length=3, mask=mask)
    assert torch.equal(after_every_stage(ForkingOtsu(entropy=entropy), tokens, mask).select, mask)


@pytest.mark.parametrize("entropy", ["old", "current"])
@pytest.mark.parametrize("shape", [(3, 4), (0, 4)])
def test_batches_without_tokens(entropy: str, shape: tuple[int, int]) -> None:
    mask = torch.zeros(shape, dtype=torch.bool)
    tokens = make_tokens(rows=shape[0], length=shape[1], mask=mask)
    given = after_every_stage(ForkingOtsu(entropy=entropy), tokens, mask)
    assert torch.equal(given.select, mask)


@pytest.mark.parametrize("junk", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("entropy", ["old", "current"])
def test_junk_outside_the_candidates_never_leaks(entropy: str, junk: float) -> None:
    clean = make_tokens(rows=6, length=20)
    candidates = some_of(clean.mask)
    spoiled = with_junk(replace(clean, mask=candidates), junk)
    spoiled = replace(spoiled, mask=clean.mask)
    config = ForkingOtsu(entropy=entropy)
    given = after_every_stage(config, spoiled, candidates)
    assert torch.equal(given.select, after_every_stage(config, clean, candidates).select)


def test_masked_tokens_are_no_candidates_though_selected() -> None:
    tokens = make_tokens(rows=6, length=20)
    everywhere = torch.ones_like(tokens.mask)
    for entropy in ("old", "current"):
        config = ForkingOtsu(entropy=entropy)
        given = after_every_stage(config, tokens, everywhere)
        assert torch.equal(given.select, after_every_stage(config, tokens, tokens.mask).select)


@pytest.mark.parametrize("entropy", ["old", "current"])
def test_micro_batches_keep_what_the_whole_batch_keeps(entropy: str) -> None:
    tokens = make_tokens(rows=8, length=20)
    config = ForkingOtsu(entropy=entropy, denominator="kept")
    whole = after_every_stage(config, tokens, tokens.mask)
    for start in range(0, 8, 2):
        part = rows(tokens, slice(start, start + 2))
        given = after_every_stage(config, part, part.mask)
        assert torch.equal(given.select, whole.select[start : start + 2])


def test_old_and_current_entropies_split_differently() -> None:
    tokens = make_tokens(rows=6, length=20)
    old = after_every_stage(ForkingOtsu(entropy="old"), tokens, tokens.mask)
    current = after_every_stage(ForkingOtsu(entropy="current"), tokens, tokens.mask)
    assert not torch.equal(old.select, current.select)


def test_stages_that_are_not_used_are_the_identity() -> None:
    tokens = make_tokens()
    signal, selection = make_signal(tokens), everything(tokens.mask)
    assert ForkingOtsu().on_tokens(tokens, signal) == (signal, {})
    current = ForkingOtsu(entropy="current")
    assert current.on_select(make_rollouts(tokens), selection) == (selection, {})


def test_neutral_keeps_everything() -> None:
    tokens = make_tokens(rows=6)
    given = after_every_stage(ForkingOtsu.neutral(), tokens, tokens.mask)
    assert torch.equal(given.select, tokens.mask)
    assert torch.equal(given.count, tokens.mask)


@pytest.mark.parametrize("bins", [0, -3])
def test_bins_out_of_range(bins: int) -> None:
    with pytest.raises(ValueError, match="bins must be at least 1"):
        ForkingOtsu(bins=bins)


def test_needs_follow_the_settings() -> None:
    assert ForkingOtsu().needs == {"old_entropy"}
    assert ForkingOtsu(denominator="kept").needs == {"old_entropy"}
    assert ForkingOtsu(entropy="current").needs == {"entropy"}
    assert ForkingOtsu(entropy="current", denominator="kept").needs == {
        "entropy",
        "micro_batch_denominator",
    }


@pytest.mark.parametrize("entropy", ["old", "current"])
def test_metrics_are_the_means_of_kept_and_dropped(entropy: str) -> None:
    tokens = make_tokens(rows=6, length=20)
    links = chain([ForkingOtsu(entropy=entropy)])
    selection, first = links.on_select(make_rollouts(tokens), everything(tokens.mask))
    signal = replace(make_signal(tokens), select=selection.select)
    signal, second = links.on_tokens(tokens, signal)
    metrics = {**first, **second}
    source = tokens.old_entropy if entropy == "old" else tokens.entropy.detach()
    assert source is not None
    kept, dropped = source[signal.select], source[tokens.mask & ~signal.select]
    assert number(metrics["forking_otsu/entropy_kept"]) == pytest.approx(kept.mean().item())
    assert number(metrics["forking_otsu/entropy_dropped"]) == pytest.approx(dropped.mean().item())
    assert number(metrics["forking_otsu/kept_share"]) == pytest.approx(
        len(kept) / int(tokens.mask.sum())
    )
