"""Forking tokens: which are kept, over which scope, and what the denominator counts."""

import math

import pytest
import torch

from rlent.interventions import ForkingTokens, chain
from rlent.types import Rollouts, Selection, Tokens
from tests.interventions.examples import everything, make_rollouts, make_signal, make_tokens
from tests.laws.pipeline import number


def selected(config: ForkingTokens, rollouts: Rollouts) -> Selection:
    return chain([config]).on_select(rollouts, everything(rollouts.mask))[0]


def kept_by_definition(entropy: list[float], share: float, *, highest: bool = True) -> list[bool]:
    """The ``ceil(share N)`` first of a full sort, largest (or smallest) entropy first, then by position."""
    count = math.ceil(round(share * len(entropy), 9))
    sign = -1 if highest else 1
    order = sorted(range(len(entropy)), key=lambda i: (sign * entropy[i], i))
    return [i in order[:count] for i in range(len(entropy))]


@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.5, 1.0])
@pytest.mark.parametrize("keep", ["highest", "lowest"])
def test_global_scope_keeps_exactly_k_of_all_tokens(fraction: float, keep: str) -> None:
    rollouts = make_rollouts(make_tokens(rows=6))
    selection = selected(ForkingTokens(fraction=fraction, keep=keep), rollouts)
    assert rollouts.old_entropy is not None
    entropy = rollouts.old_entropy[rollouts.mask].tolist()
    expected = kept_by_definition(entropy, fraction, highest=keep == "highest")
    assert selection.select[rollouts.mask].tolist() == expected
    assert not selection.select[~rollouts.mask].any()


@pytest.mark.parametrize("scope", ["group", "sequence"])
def test_segment_scopes_keep_exactly_k_of_each(scope: str) -> None:
    rollouts = make_rollouts(make_tokens(rows=6))
    assert rollouts.old_entropy is not None
    selection = selected(ForkingTokens(fraction=0.3, scope=scope), rollouts)
    segments = rollouts.group if scope == "group" else torch.arange(6)
    for segment in segments.unique():
        rows = segments == segment
        mask = rollouts.mask[rows]
        expected = kept_by_definition(rollouts.old_entropy[rows][mask].tolist(), 0.3)
        assert selection.select[rows][mask].tolist() == expected


def test_denominator_counts_kept_or_all() -> None:
    rollouts = make_rollouts(make_tokens())
    kept = selected(ForkingTokens(denominator="kept"), rollouts)
    everyone = selected(ForkingTokens(denominator="all"), rollouts)
    assert torch.equal(kept.count, kept.select)
    assert torch.equal(everyone.count, rollouts.mask)
    assert torch.equal(everyone.select, kept.select)


def test_selection_narrows_what_is_still_selected() -> None:
    rollouts = make_rollouts(make_tokens(rows=6))
    earlier = rollouts.mask.clone()
    earlier[:3] = False
    config = ForkingTokens(fraction=0.5)
    after, _ = config.on_select(rollouts, Selection(select=earlier, count=rollouts.mask))
    assert not after.select[:3].any()
    assert after.select.sum() == math.ceil(0.5 * earlier.sum().item())


def micro_batch_selection(config: ForkingTokens, tokens: Tokens) -> Selection:
    signal, _ = chain([config]).on_tokens(tokens, make_signal(tokens))
    return Selection(select=signal.select, count=signal.count)


def test_as_released_ranks_the_current_entropies_of_a_micro_batch() -> None:
    tokens = make_tokens(rows=5)
    selection = micro_batch_selection(ForkingTokens(as_released=True), tokens)
    entropy = tokens.entropy[tokens.mask]
    k = max(1, int(entropy.numel() * 0.2 + 0.9999))
    expected = torch.zeros(entropy.numel(), dtype=torch.bool)
    expected[entropy.topk(k).indices] = True
    assert torch.equal(selection.select[tokens.mask], expected)
    assert torch.equal(selection.count, selection.select)


def test_released_k_is_the_exact_ceiling() -> None:
    for total in range(1, 5000):
        assert max(1, int(total * 0.2 + 0.9999)) == -(-total // 5)


def test_old_and_current_entropies_rank_differently() -> None:
    tokens = make_tokens(rows=6)
    old = micro_batch_selection(ForkingTokens(scope="micro_batch", entropy="old"), tokens)
    current = micro_batch_selection(ForkingTokens(scope="micro_batch", entropy="current"), tokens)
    assert not torch.equal(old.select, current.select)


def test_stages_that_are_not_used_are_the_identity() -> None:
    tokens = make_tokens()
    signal = make_signal(tokens)
    assert ForkingTokens().on_tokens(tokens, signal)[0] is signal
    selection = everything(tokens.mask)
    released = ForkingTokens(as_released=True)
    assert released.on_select(make_rollouts(tokens), selection)[0] is selection


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.01, math.nan])
def test_fraction_out_of_range(fraction: float) -> None:
    with pytest.raises(ValueError, match="fraction must be in"):
        ForkingTokens(fraction=fraction)


@pytest.mark.parametrize("scope", ["global", "rank", "group"])
def test_current_entropy_needs_a_scope_that_is_known(scope: str) -> None:
    with pytest.raises(ValueError, match="entropy: current cannot rank"):
        ForkingTokens(scope=scope, entropy="current")


def test_as_released_refuses_a_contradiction() -> None:
    with pytest.raises(ValueError, match="as_released means scope: micro_batch"):
        ForkingTokens(as_released=True, scope="sequence")
    assert ForkingTokens(as_released=True, scope="micro_batch").entropy == "current"


def test_needs_follow_the_settings() -> None:
    assert ForkingTokens().needs == {"old_entropy"}
    assert ForkingTokens(scope="group").needs == {"old_entropy", "whole_groups"}
    assert ForkingTokens(scope="sequence", entropy="current").needs == {
        "entropy",
        "micro_batch_denominator",
    }
    assert ForkingTokens(scope="micro_batch", denominator="all").needs == {"old_entropy"}
    assert ForkingTokens(as_released=True).needs == {"entropy", "micro_batch_denominator"}


def test_metrics_are_the_means_of_kept_and_dropped() -> None:
    rollouts = make_rollouts(make_tokens())
    assert rollouts.old_entropy is not None
    selection, metrics = chain([ForkingTokens()]).on_select(rollouts, everything(rollouts.mask))
    kept = rollouts.old_entropy[selection.select]
    dropped = rollouts.old_entropy[rollouts.mask & ~selection.select]
    assert number(metrics["forking_tokens/entropy_kept"]) == pytest.approx(kept.mean().item())
    assert number(metrics["forking_tokens/entropy_dropped"]) == pytest.approx(dropped.mean().item())
    assert number(metrics["forking_tokens/kept_share"]) == pytest.approx(
        len(kept) / int(rollouts.mask.sum())
    )
