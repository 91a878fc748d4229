"""A head pushed away from another: log-probabilities under it, and the divergence of a third head from it."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from rlent_kernels import Contrast, FixedHead, contrast_kl, contrast_log_probs

OPTIONS = [{}, {"temperature": 0.6}, {"softcap": 1.5, "temperature": 1.7, "logit_scale": 2.5}]
PUSHES = [(0.0, 0.0), (1.0, 0.0), (-0.5, 0.0), (1e-3, 10.0)]


def heads(n: int = 6, v: int = 9, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(n + 97 * v)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)

    widths = {"own": 5, "towards": 4, "away": 3}
    made = {f"{name}_hidden": normal(n, d) for name, d in widths.items()}
    made |= {f"{name}_weight": normal(v, d) for name, d in widths.items()}
    return made | {f"{name}_bias": normal(v) for name in ("own", "away")}


def contrast(made: dict[str, Tensor], base: float, rate: float) -> Contrast:
    return Contrast(
        towards=FixedHead(hidden=made["towards_hidden"], weight=made["towards_weight"]),
        away=FixedHead(
            hidden=made["away_hidden"], weight=made["away_weight"], bias=made["away_bias"]
        ),
        base=base,
        rate=rate,
    )


def bent(raw: list[float], options: dict[str, Any]) -> list[float]:
    scale, cap = options.get("logit_scale", 1.0), options.get("softcap")
    scaled = [scale * value for value in raw]
    capped = scaled if cap is None else [cap * math.tanh(value / cap) for value in scaled]
    return [value / options.get("temperature", 1.0) for value in capped]


def log_softmax(values: list[float]) -> list[float]:
    top = max(values)
    total = top + math.log(sum(math.exp(value - top) for value in values))
    return [value - total for value in values]


def logits(made: dict[str, Tensor], name: str, options: dict[str, Any]) -> list[list[float]]:
    hidden, weight = made[f"{name}_hidden"].tolist(), made[f"{name}_weight"].tolist()
    bias = made.get(f"{name}_bias")
    offsets = [0.0] * len(weight) if bias is None else bias.tolist()
    return [
        bent(
            [
                offset + sum(a * b for a, b in zip(state, column, strict=True))
                for column, offset in zip(weight, offsets, strict=True)
            ],
            options,
        )
        for state in hidden
    ]


def truth(
    made: dict[str, Tensor], base: float, rate: float, options: dict[str, Any]
) -> tuple[list[float], list[float], list[list[float]]]:
    """Divergence and push of each row, and the contrast's log-probabilities, in plain loops."""
    divergences, pushes, contrasts = [], [], []
    own = logits(made, "own", options)
    for z, plus, minus in zip(
        own, logits(made, "towards", options), logits(made, "away", options), strict=True
    ):
        p_plus, p_minus = log_softmax(plus), log_softmax(minus)
        distance = sum(abs(math.exp(a) - math.exp(b)) for a, b in zip(p_plus, p_minus, strict=True))
        push = base + rate * distance
        log_q = log_softmax([a + push * (a - b) for a, b in zip(plus, minus, strict=True)])
        log_p = log_softmax(z)
        divergences.append(sum(math.exp(a) * (a - b) for a, b in zip(log_p, log_q, strict=True)))
        pushes.append(push)
        contrasts.append(log_q)
    return divergences, pushes, contrasts


def run(made: dict[str, Tensor], base: float, rate: float, **call: Any) -> tuple[Tensor, Tensor]:
    rows = call.pop("rows", torch.ones(len(made["own_hidden"]), dtype=torch.bool))
    return contrast_kl(
        made["own_hidden"],
        made["own_weight"],
        contrast(made, base, rate),
        rows,
        bias=made["own_bias"],
        **call,
    )


@pytest.mark.parametrize("tile", [None, 4])
@pytest.mark.parametrize(("base", "rate"), PUSHES)
@pytest.mark.parametrize("options", OPTIONS)
def test_values_are_those_of_the_definition(options, base, rate, tile):
    made = heads()
    divergence, push = run(made, base, rate, tile=tile, **options)
    expected, pushes, log_probs = truth(made, base, rate, options)
    assert divergence.tolist() == pytest.approx(expected, abs=1e-12)
    assert push.tolist() == pytest.approx(pushes, abs=1e-12)
    targets = torch.tensor([0, 8, 3, -100, 1, 2])
    given = contrast_log_probs(contrast(made, base, rate), targets, tile=tile, **options)
    wanted = [0.0 if y < 0 else log_probs[i][y] for i, y in enumerate(targets.tolist())]
    assert given.tolist() == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("options", OPTIONS)
def test_gradcheck(options):
    made = heads(4, 6)
    leaves = [made[f"own_{part}"].requires_grad_() for part in ("hidden", "weight", "bias")]
    rows = torch.tensor([True, False, True, True])

    def divergence(hidden, weight, bias):
        changed = made | {"own_hidden": hidden, "own_weight": weight, "own_bias": bias}
        return run(changed, 1e-3, 10.0, rows=rows, tile=2, **options)[0]

    assert torch.autograd.gradcheck(divergence, leaves)


def test_rows_that_are_skipped_leak_nothing():
    made = heads()
    rows = torch.tensor([True, False, True, True, False, True])
    junk = {
        name: made[f"{name}_hidden"].index_fill(0, torch.tensor([1, 4]), torch.nan)
        for name in ("own", "towards", "away")
    }
    poisoned = made | {f"{name}_hidden": tensor for name, tensor in junk.items()}
    for clean, given in zip(
        run(made, 1e-3, 10.0, rows=rows), run(poisoned, 1e-3, 10.0, rows=rows), strict=True
    ):
        assert torch.equal(clean, given)
        assert given[~rows].tolist() == [0.0, 0.0]


def test_the_contrast_is_a_constant_and_the_push_has_no_gradient():
    made = {name: tensor.requires_grad_() for name, tensor in heads().items()}
    divergence, push = run(made, 1e-3, 10.0)
    assert not push.requires_grad
    divergence.sum().backward()
    assert {name for name, tensor in made.items() if tensor.grad is not None} == {
        "own_hidden",
        "own_weight",
        "own_bias",
    }
    assert not contrast_log_probs(contrast(made, 1.0, 0.0), torch.zeros(6).long()).requires_grad


def test_the_divergence_is_zero_and_flat_at_the_contrast():
    """Whatever the push, the contrast itself is the optimum."""
    made = heads()
    for base, rate in PUSHES:
        _, _, log_probs = truth(made, base, rate, {})
        states = torch.tensor(log_probs, dtype=torch.float64).requires_grad_()
        rows = torch.ones(6, dtype=torch.bool)
        identity = torch.eye(9, dtype=torch.float64)
        divergence, _ = contrast_kl(states, identity, contrast(made, base, rate), rows)
        (gradient,) = torch.autograd.grad(divergence.sum(), states)
        assert divergence.abs().max() < 1e-12
        assert gradient.abs().max() < 1e-12


def test_a_token_that_both_heads_ban_stays_banned():
    made = heads()
    banned = torch.full((9,), 0.0, dtype=torch.float64)
    banned[3] = -torch.inf
    both = Contrast(
        towards=FixedHead(
            hidden=made["towards_hidden"], weight=made["towards_weight"], bias=banned
        ),
        away=FixedHead(hidden=made["away_hidden"], weight=made["away_weight"], bias=banned),
        base=1.0,
    )
    targets = torch.full((6,), 3)
    assert contrast_log_probs(both, targets).tolist() == [-math.inf] * 6
    assert contrast_log_probs(both, torch.zeros(6).long()).isfinite().all()


def test_no_tensor_grows_with_rows_times_vocabulary(recorder):
    sizes = []
    for n in (64, 128):
        made = heads(n, 4096)
        made["own_hidden"].requires_grad_()
        recorder.largest = 0
        with recorder:
            run(made, 1e-3, 10.0, tile=8)[0].sum().backward()
        sizes.append(recorder.largest)
    assert sizes == [8 * 4096] * 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"away_weight": torch.zeros(5, 3).double()}, "away_weight: expected shape"),
        ({"towards_hidden": torch.zeros(2, 4).double()}, "towards_hidden: expected shape"),
        ({"away_hidden": torch.zeros(6, 3)}, "less than float64 where hidden and"),
    ],
)
def test_errors_name_the_tensor(changes, message):
    with pytest.raises(ValueError, match=message):
        run(heads() | changes, 1.0, 0.0)


def test_errors_name_the_number_and_the_target():
    with pytest.raises(ValueError, match="base: expected a finite number; got nan"):
        run(heads(), math.nan, 0.0)
    with pytest.raises(ValueError, match="targets: expected ids below 9, or -100"):
        contrast_log_probs(contrast(heads(), 1.0, 0.0), torch.full((6,), 9))
