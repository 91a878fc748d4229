"""Surrogates of sequences and divergences against formulas in plain Python, with gradients by finite differences."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from rlent.surrogates import CISPO, DPPO, DRO, GMPO, GSPO, PPO, SURROGATES, VESPO, Surrogate
from rlent.trainer.metrics import clip_extremes, surrogate_means
from rlent.types import Signal, Tokens
from tests.interventions.examples import make_tokens
from tests.surrogate_examples import HIGH, LOW, at_log_ratios, drifted

Row = list[float]
Formula = Callable[[Row, Row, Row, float], float]
"""(logp that the gradient sees, logp under a stop-gradient, old logp, advantage) -> sum of a row's losses."""

STEP = 1e-6


def clamp(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


def gspo(most: float) -> Formula:
    def formula(logp: Row, fixed: Row, old: Row, a: float) -> float:
        ratio = math.exp(sum(x - y for x, y in zip(logp, old, strict=True)) / len(logp))
        return -len(logp) * min(min(ratio, most) * a, clamp(ratio, LOW, HIGH) * a)

    return formula


def gmpo(epsilon: float, epsilon_high: float) -> Formula:
    def formula(logp: Row, fixed: Row, old: Row, a: float) -> float:
        logs = [x - y for x, y in zip(logp, old, strict=True)]
        clipped = [min(x, epsilon_high) if a > 0 else max(x, -epsilon) for x in logs]
        return -len(logp) * a * math.exp(sum(clipped) / len(clipped))

    return formula


def cispo(low: float, high: float) -> Formula:
    def formula(logp: Row, fixed: Row, old: Row, a: float) -> float:
        ratios = [math.exp(x - y) for x, y in zip(fixed, old, strict=True)]
        return -sum(clamp(r, low, high) * a * x for r, x in zip(ratios, logp, strict=True))

    return formula


def binary_kl(p: float, q: float) -> float:
    """Of "this token or another", from the generating policy's probability ``q``."""
    return q * math.log(q / p) + (1 - q) * math.log((1 - q) / (1 - p))


def dppo(divergence: str, delta: float, delta_high: float, cap: float) -> Formula:
    def inside(p: float, q: float, a: float) -> bool:
        moved = abs(p - q) if divergence == "tv" else binary_kl(p, q)
        return (p <= q or moved <= delta_high) if a > 0 else (p >= q or moved <= delta)

    def formula(logp: Row, fixed: Row, old: Row, a: float) -> float:
        total = 0.0
        for x, now, before in zip(logp, fixed, old, strict=True):
            p, q = math.exp(now), math.exp(before)
            total -= min(p / q, cap) * a * x * inside(p, q, a)
        return total

    return formula


def dro(beta: float) -> Formula:
    def formula(logp: Row, fixed: Row, old: Row, a: float) -> float:
        return -sum(a * x - beta / 2 * (x - y) ** 2 for x, y in zip(logp, old, strict=True))

    return formula


def vespo(positive: tuple[float, float], negative: tuple[float, float]) -> Formula:
    def formula(logp: Row, fixed: Row, old: Row, a: float) -> float:
        w = math.exp(sum(x - y for x, y in zip(fixed, old, strict=True)))
        k, decay = positive if a >= 0 else negative
        return -(w**k) * math.exp(decay * (1 - w)) * a * sum(logp)

    return formula


CASES: dict[str, tuple[Surrogate, Formula]] = {
    "gspo": (GSPO(), gspo(math.inf)),
    "gspo, dual clip": (GSPO(dual_clip=1.35), gspo(1.35)),
    "gmpo": (GMPO(), gmpo(0.4, 0.4)),
    "gmpo, asymmetric": (GMPO(epsilon=0.1, epsilon_high=0.6), gmpo(0.1, 0.6)),
    "cispo from above": (CISPO(), cispo(0.0, 1.28)),
    "cispo on both sides": (CISPO(sides="both"), cispo(0.8, 1.28)),
    "dppo": (DPPO(), dppo("tv", 0.2, 0.2, 20.0)),
    "dppo, asymmetric": (
        DPPO(delta=0.05, delta_high=0.1, max_ratio=1.5),
        dppo("tv", 0.05, 0.1, 1.5),
    ),
    "dppo, untruncated": (DPPO(delta=0.3, max_ratio=None), dppo("tv", 0.3, 0.3, math.inf)),
    "dppo by kl": (DPPO(divergence="kl"), dppo("kl", 0.05, 0.05, 20.0)),
    "dppo by kl, asymmetric": (
        DPPO(divergence="kl", delta=0.02, delta_high=0.1),
        dppo("kl", 0.02, 0.1, 20.0),
    ),
    "dro": (DRO(), dro(0.1)),
    "dro, strong": (DRO(beta=2.0), dro(2.0)),
    "vespo": (VESPO(), vespo((2.0, 3.0), (3.0, 2.0))),
    "vespo, other": (
        VESPO(k_positive=0.7, lambda_positive=1.3, k_negative=0.4, lambda_negative=0.2),
        vespo((0.7, 1.3), (0.4, 0.2)),
    ),
}


def records(surrogate: Surrogate, seed: int) -> tuple[Tokens, Signal]:
    """Ragged rows, two without tokens and one of a single token, with the surrogate's own bounds."""
    tokens, signal = drifted("sequence" if isinstance(surrogate, GSPO) else "token", seed)
    mask = tokens.mask.clone()
    mask[3] = mask[11] = False
    mask[5] = torch.arange(mask.shape[1]) == 2
    above_zero = isinstance(surrogate, CISPO) and surrogate.sides == "upper"
    low, high = surrogate.bounds(1 - LOW, HIGH if above_zero else HIGH - 1)
    one = torch.ones_like(tokens.old_logp)
    return replace(tokens, mask=mask), replace(signal, clip_low=low * one, clip_high=high * one)


def rows_of(tokens: Tokens, signal: Signal, row: int) -> tuple[Row, Row, float]:
    """A row's log-probabilities, old log-probabilities and advantage, where the mask holds."""
    mask = tokens.mask[row]
    logp, old = tokens.logp[row][mask].tolist(), tokens.old_logp[row][mask].tolist()
    return logp, old, signal.advantage[row, 0].item()


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("case", CASES)
def test_values_are_the_formulas(case: str, seed: int) -> None:
    surrogate, formula = CASES[case]
    tokens, signal = records(surrogate, seed)
    given = surrogate(tokens, signal).sum(1).tolist()
    for row, total in enumerate(given):
        logp, old, a = rows_of(tokens, signal, row)
        expected = formula(logp, logp, old, a) if logp else 0.0
        assert total == pytest.approx(expected, rel=1e-9, abs=1e-11)


@pytest.mark.parametrize("case", CASES)
def test_gradients_are_the_formulas(case: str) -> None:
    surrogate, formula = CASES[case]
    tokens, signal = records(surrogate, 1)
    (gradient,) = torch.autograd.grad(surrogate(tokens, signal).sum(), tokens.logp)
    moved = 0
    for row in range(len(tokens.mask)):
        logp, old, a = rows_of(tokens, signal, row)
        for place, given in enumerate(gradient[row][tokens.mask[row]].tolist()):
            sides = []
            for step in (STEP, -STEP):
                shifted = [x + step * (i == place) for i, x in enumerate(logp)]
                sides.append(formula(shifted, logp, old, a))
            expected = (sides[0] - sides[1]) / (2 * STEP)
            assert given == pytest.approx(expected, rel=1e-5, abs=1e-7)
            moved += given != 0
    assert moved > 20


def test_the_examples_reach_every_branch() -> None:
    for case in ("gspo", "gmpo", "dppo", "dppo, asymmetric", "dppo by kl"):
        surrogate = CASES[case][0]
        tokens, signal = records(surrogate, 1)
        sides = surrogate.clipped(tokens, signal)
        assert sides is not None
        assert all(side.any() and not side.all() for side in sides), case
    tokens, _ = records(DPPO(), 1)
    assert ((tokens.logp - tokens.old_logp).exp()[tokens.mask] > 1.5).any()


def test_the_token_form_is_the_sequence_form_where_a_sequence_has_one_advantage() -> None:
    tokens, signal = drifted("sequence")
    forms = [form(tokens, signal) for form in (PPO(level="sequence"), GSPO())]
    gradients = [torch.autograd.grad(form.sum(), tokens.logp)[0] for form in forms]
    torch.testing.assert_close(forms[0], forms[1], rtol=0, atol=0)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("surrogate", [GSPO(), GMPO()], ids=["gspo", "gmpo"])
def test_a_token_has_its_own_advantage_in_its_gradient(surrogate: Surrogate) -> None:
    tokens, signal = records(surrogate, 1)
    only = torch.zeros_like(signal.advantage)
    only[:, 0] = 1e-3
    (gradient,) = torch.autograd.grad(
        surrogate(tokens, replace(signal, advantage=only)).sum(), tokens.logp
    )
    assert gradient[:, 0].any()
    assert not gradient[:, 1:].any()


@pytest.mark.parametrize("divergence", ["tv", "kl"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_certain_tokens_have_a_divergence(divergence: Any, dtype: torch.dtype) -> None:
    """A probability of 1 before and after has not moved; one that fell from 1 has."""
    tokens, signal = at_log_ratios([0.0, -3.0, 0.0], -1.0, dtype)
    surrogate = DPPO(divergence=divergence)
    below, _ = surrogate.clipped(tokens, signal)
    assert below.flatten().tolist() == [False, True, False]
    rising = replace(tokens, logp=tokens.old_logp, old_logp=tokens.logp.detach())
    _, above = surrogate.clipped(rising, replace(signal, advantage=-signal.advantage))
    assert above.flatten().tolist() == [False, True, False]


def test_clip_shares_are_those_of_the_surrogate() -> None:
    # Probabilities of 0.5 that moved to 0.75, 0.55, 0.25 and 0.45, with both signs of the advantage.
    now = [0.75, 0.55, 0.25, 0.45] * 2
    tokens = make_tokens(8, 1, mask=torch.ones(8, 1, dtype=torch.bool))
    half = torch.full_like(tokens.old_logp, math.log(0.5))
    logp = torch.tensor(now, dtype=torch.float64).log().unsqueeze(1)
    tokens = replace(tokens, logp=logp.requires_grad_(), old_logp=half)
    _, signal = at_log_ratios([0.0] * 8, 1.0, torch.float64)
    signs = torch.tensor([1.0] * 4 + [-1.0] * 4, dtype=torch.float64).unsqueeze(1)
    signal = replace(signal, advantage=signs)

    def shares(surrogate: Surrogate) -> dict[str, float]:
        means = surrogate_means(surrogate, tokens, signal)
        return {name: float(mean.total) / float(mean.count) for name, mean in means.items()}

    clipped = {"low_mean": 1 / 8, "high_mean": 1 / 8, "region_mean": 2 / 8}
    clipped = {f"clip_ratio/{name}": share for name, share in clipped.items()}
    assert shares(PPO()) == shares(GSPO()) == shares(GMPO()) == clipped
    assert shares(DPPO()) == {**clipped, "dppo/truncated_ratio": 0.0}
    assert shares(DPPO(max_ratio=1.2))["dppo/truncated_ratio"] == 2 / 8
    assert shares(CISPO()) == {"cispo_clip_ratio": 1 / 8}
    assert shares(CISPO(sides="both")) == {"cispo_clip_ratio": 1 / 8, "cispo_clip_ratio_low": 1 / 8}
    assert shares(SURROGATES["sapo"]()) == shares(DRO()) == {}
    weights = [
        w**k * math.exp(d * (1 - w)) for k, d in [(2, 3), (3, 2)] for w in (1.5, 1.1, 0.5, 0.9)
    ]
    assert shares(VESPO())["vespo/phi_seq_mean"] == pytest.approx(sum(weights) / 8)
    assert clip_extremes(PPO(), tokens, signal) == {
        "clip_ratio/low_min": 0.0,
        "clip_ratio/high_max": 1.0,
    }
    assert clip_extremes(CISPO(), tokens, signal) == {}


@pytest.mark.parametrize(
    ("name", "given", "bounds"),
    [
        ("ppo", (0.2, None), (0.8, 1.2)),
        ("ppo", (0.2, 0.28), (0.8, 1.28)),
        ("gspo", (0.2, 0.28), (0.8, 1.28)),
        ("gmpo", (0.2, 0.28), (math.exp(-0.4), math.exp(0.4))),
        ("cispo", (0.2, 5.0), (0.0, 5.0)),
        ("cispo", (0.3, None), (0.0, 0.3)),
        ("sapo", (0.2, 0.28), (0.0, math.inf)),
        ("dppo", (0.2, 0.28), (0.0, math.inf)),
        ("dro", (0.2, 0.28), (0.0, math.inf)),
        ("vespo", (0.2, 0.28), (0.0, math.inf)),
    ],
)
def test_bounds_come_from_what_the_surrogate_reads(
    name: str, given: tuple[float, float | None], bounds: tuple[float, float]
) -> None:
    assert SURROGATES[name]().bounds(*given) == pytest.approx(bounds)


def test_two_sides_begin_at_one() -> None:
    assert CISPO(sides="both").bounds(0.2, 0.28) == (0.8, 1.28)
    assert CISPO(sides="both").bounds(0.2, None) == (0.8, 1.2)


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("sapo", {"temperature_positive": 0.0}),
        ("sapo", {"temperature_negative": -1.0}),
        ("gmpo", {"epsilon": -0.1}),
        ("gmpo", {"epsilon_high": -0.1}),
        ("dppo", {"delta": -0.1}),
        ("dppo", {"delta_high": -0.1}),
        ("dppo", {"max_ratio": 0.5}),
        ("dro", {"beta": -1.0}),
        ("vespo", {"lambda_positive": 0.0}),
        ("vespo", {"lambda_negative": 0.0}),
    ],
)
def test_settings_without_a_meaning_are_refused(name: str, given: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(given))):
        SURROGATES[name](**given)


def test_a_dual_clip_inside_the_bounds_is_refused() -> None:
    with pytest.raises(ValueError, match=r"dual_clip.* more than 1.28, got 1.2"):
        PPO(dual_clip=1.2).check_bounds(0.8, 1.28)
    PPO(dual_clip=1.3).check_bounds(0.8, 1.28)


def test_gspo_with_a_dual_clip_of_e_to_the_10_is_verls() -> None:
    """verl takes the least of the log-ratio and 10: beyond it the loss is ``e^10 |A|``, without gradient."""
    surrogate, plain = GSPO(dual_clip=math.exp(10)), GSPO()
    for log_ratio, a, value in [(9.9, -1.0, math.exp(9.9)), (10.1, -1.0, math.exp(10.0))]:
        tokens, signal = at_log_ratios([log_ratio] * 3, a, torch.float64)
        loss = surrogate(tokens, signal)
        assert loss.flatten().tolist() == pytest.approx([value] * 3)
        (gradient,) = torch.autograd.grad(loss.sum(), tokens.logp)
        assert gradient.any() == (log_ratio < 10)
        (unstopped,) = torch.autograd.grad(plain(tokens, signal).sum(), tokens.logp)
        assert unstopped.flatten().tolist() == pytest.approx([math.exp(log_ratio)] * 3)


def test_a_dual_clip_of_gspo_begins_above_the_bound() -> None:
    with pytest.raises(ValueError, match="dual_clip"):
        GSPO(dual_clip=1.2).check_bounds(0.8, 1.28)
    GSPO(dual_clip=1.3).check_bounds(0.8, 1.28)
    GSPO().check_bounds(0.8, 1.28)
