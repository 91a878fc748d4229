"""The divergence of two heads: values, gradients, and the rows that cost nothing."""

import math
import sys
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from rlent_kernels import token_kl

bf16 = torch.bfloat16
MODULE = sys.modules["rlent_kernels.row_tiles"]

OPTIONS = [
    {},
    {"temperature": 0.6},
    {"logit_scale": 0.25},
    {"softcap": 1.5},
    {"softcap": 1.5, "temperature": 1.7, "logit_scale": 2.5},
    {"direction": "forward"},
    {"direction": "forward", "softcap": 1.5, "temperature": 1.7, "logit_scale": 2.5},
]


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two heads over one vocabulary, with a cotangent for their divergence."""

    hidden: Tensor
    weight: Tensor
    ref_hidden: Tensor
    ref_weight: Tensor
    rows: Tensor
    cotangent: Tensor
    bias: Tensor | None = None
    ref_bias: Tensor | None = None
    options: dict[str, Any] = field(default_factory=dict)

    def with_(self, **changes: Any) -> "Pair":
        return replace(self, **changes)

    def changed(self, change: Any, *names: str) -> "Pair":
        present = {name: getattr(self, name) for name in names}
        return self.with_(**{k: None if x is None else change(x) for k, x in present.items()})

    def to(self, dtype: torch.dtype) -> "Pair":
        names = ("hidden", "weight", "bias", "ref_hidden", "ref_weight", "ref_bias")
        return self.changed(lambda x: x.to(dtype), *names)

    def trained(self) -> "Pair":
        """The same numbers with the current head's as leaves that require gradients."""
        return self.changed(
            lambda x: x.detach().clone().requires_grad_(), "hidden", "weight", "bias"
        )

    def run(self, **call: Any) -> Tensor:
        return token_kl(
            self.hidden,
            self.weight,
            self.ref_hidden,
            self.ref_weight,
            self.rows,
            bias=self.bias,
            ref_bias=self.ref_bias,
            **self.options,
            **call,
        )

    def truth(self) -> Tensor:
        """The definition in float64, through log_softmax and autograd."""
        log_p = self._log_softmax(self.hidden, self.weight, self.bias)
        log_q = self._log_softmax(self.ref_hidden, self.ref_weight, self.ref_bias).detach()
        if self.options.get("direction") == "forward":
            kl = (log_q.exp() * (log_q - log_p)).sum(-1)
        else:
            kl = (log_p.exp() * (log_p - log_q)).sum(-1)
        return kl.masked_fill(~self.rows, 0.0)

    def _log_softmax(self, hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        clean = hidden.double().masked_fill(~self.rows[..., None], 0.0)
        z = torch.einsum("...d,vd->...v", clean, weight.double())
        if bias is not None:
            z = z + bias.double()
        z = z * self.options.get("logit_scale", 1.0)
        if (cap := self.options.get("softcap")) is not None:
            z = cap * torch.tanh(z / cap)
        return torch.log_softmax(z / self.options.get("temperature", 1.0), dim=-1)

    def gradients(self, kl: Tensor, **call: Any) -> list[Tensor]:
        """Gradients in hidden, weight and bias, as far as required."""
        inputs = [x for x in (self.hidden, self.weight, self.bias) if x is not None]
        inputs = [x for x in inputs if x.requires_grad]
        return list(torch.autograd.grad(kl, inputs, self.cotangent.to(kl.dtype), **call))


def make(
    n: int = 7,
    v: int = 11,
    *,
    d: int = 5,
    e: int = 3,
    dtype: torch.dtype = torch.float64,
    bias: bool = True,
    skipped: tuple[int, ...] = (),
    spread: float = 1.0,
    **options: Any,
) -> Pair:
    """Two random heads whose logits have a standard deviation of about ``spread``."""
    generator = torch.Generator().manual_seed(n + 31 * d + 997 * v)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    rows = torch.ones(n, dtype=torch.bool)
    rows[list(skipped)] = False
    return Pair(
        hidden=normal(n, d),
        weight=normal(v, d) * spread / d**0.5,
        bias=normal(v) if bias else None,
        ref_hidden=normal(n, e),
        ref_weight=normal(v, e) * spread / e**0.5,
        ref_bias=normal(v) if bias else None,
        rows=rows,
        cotangent=normal(n),
        options=options,
    ).to(dtype)


def near(scale: float, **sizes: Any) -> Pair:
    """Two heads in float32 whose hidden states differ by noise of the size ``scale``."""
    pair = make(d=16, e=16, dtype=torch.float32, bias=False, spread=4.0, **sizes)
    return pair.with_(
        ref_hidden=pair.hidden + scale * pair.ref_hidden, ref_weight=pair.weight.clone()
    )


def identical(dtype: torch.dtype, **options: Any) -> Pair:
    pair = make(40, 300, dtype=dtype, spread=4.0, **options)
    return pair.with_(
        ref_hidden=pair.hidden.clone(), ref_weight=pair.weight.clone(), ref_bias=pair.bias.clone()
    )


def assert_agrees(pair: Pair, tolerance: float = 1e-9, **call: Any) -> None:
    pair = pair.trained()
    expected, given = pair.truth(), pair.run(**call)
    close = {"rtol": tolerance, "atol": tolerance}
    torch.testing.assert_close(given, expected, **close)
    for ours, theirs in zip(pair.gradients(given), pair.gradients(expected), strict=True):
        torch.testing.assert_close(ours, theirs, **close)


# Values and gradients


@pytest.mark.parametrize("tile", [None, 3])
@pytest.mark.parametrize("skipped", [(), (0, 4)])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("options", OPTIONS)
def test_values_and_gradients_are_those_of_the_definition(options, bias, skipped, tile):
    assert_agrees(make(bias=bias, skipped=skipped, spread=3.0, **options), tile=tile)


def test_a_number_written_out():
    """p = (1/2, 1/2), q = (3/4, 1/4): KL = log(2) - log(3) / 2."""
    hidden, weight = torch.ones(1, 1), torch.tensor([[0.0], [0.0]])
    ref_weight = torch.tensor([[3.0], [1.0]]).log()
    kl = token_kl(hidden, weight, hidden, ref_weight, torch.tensor([True]))
    expected = torch.tensor([2.0]).log() - torch.tensor([3.0]).log() / 2
    torch.testing.assert_close(kl, expected)


def test_a_forward_number_written_out():
    """q = (3/4, 1/4), p = (1/2, 1/2): KL(q || p) = 3/4 log(3/2) + 1/4 log(1/2)."""
    hidden, weight = torch.ones(1, 1), torch.tensor([[0.0], [0.0]])
    ref_weight = torch.tensor([[3.0], [1.0]]).log()
    rows = torch.tensor([True])
    kl = token_kl(hidden, weight, hidden, ref_weight, rows, direction="forward")
    torch.testing.assert_close(kl.item(), 0.75 * math.log(1.5) + 0.25 * math.log(0.5))


def test_banned_tokens_in_the_forward_direction():
    """Banned by the reference: adds nothing, and the policy is pushed off it. Banned by the policy: infinite."""
    pair = make(direction="forward")
    by_reference = pair.with_(ref_bias=pair.ref_bias.index_fill(0, torch.tensor([3]), -torch.inf))
    assert_agrees(
        by_reference.with_(ref_bias=by_reference.ref_bias.clamp(min=-200.0)), tolerance=1e-9
    )
    assert by_reference.run().isfinite().all()
    by_policy = pair.with_(bias=pair.bias.index_fill(0, torch.tensor([3]), -torch.inf))
    assert by_policy.run().tolist() == [torch.inf] * 7


@pytest.mark.parametrize("options", OPTIONS)
def test_gradcheck(options):
    pair = make(4, 6, skipped=(1,), **options).trained()

    def outputs(hidden, weight, bias):
        return pair.with_(hidden=hidden, weight=weight, bias=bias).run(tile=2)

    assert torch.autograd.gradcheck(outputs, (pair.hidden, pair.weight, pair.bias))


@pytest.mark.parametrize("biased", ["bias", "ref_bias"])
def test_one_head_may_have_a_bias_alone(biased):
    other = {"bias": "ref_bias", "ref_bias": "bias"}[biased]
    assert_agrees(make().with_(**{other: None}))


@pytest.mark.parametrize("tile", [1, 2, 5, 7, 8, 1000])
def test_the_tile_does_not_matter(tile):
    assert_agrees(make(7, skipped=(2,)), tile=tile)


@pytest.mark.parametrize(("logits", "tiles"), [(299, 8), (300, 8), (900, 3), (2400, 1)])
def test_the_default_tile_holds_a_number_of_logits(recorder, monkeypatch, logits, tiles):
    monkeypatch.setattr(MODULE, "_TILE_LOGITS", logits)
    pair = make(8, 300)
    with recorder:
        kl = pair.run()
    torch.testing.assert_close(kl, pair.truth())
    assert len(recorder.products) == 2 * tiles


@pytest.mark.parametrize("shape", [(), (6,), (2, 3), (3, 1, 2), (0,)])
def test_leading_shape_is_kept(shape):
    flat = make(torch.Size(shape).numel())
    shaped = flat.with_(
        hidden=flat.hidden.reshape(*shape, 5),
        ref_hidden=flat.ref_hidden.reshape(*shape, 3),
        rows=flat.rows.reshape(shape),
    ).trained()
    kl = shaped.run()
    assert kl.shape == shape
    torch.testing.assert_close(kl.reshape(-1), flat.truth())
    kl.sum().backward()
    assert shaped.hidden.grad.shape == shaped.hidden.shape


def test_strides_do_not_matter():
    names = ("hidden", "weight", "ref_hidden", "ref_weight")
    assert_agrees(make().changed(lambda x: x.T.contiguous().T, *names), tile=3)


def test_a_vocabulary_of_one_has_no_divergence():
    pair = make(3, 1).trained()
    kl = pair.run()
    assert kl.tolist() == [0.0] * 3
    assert all(not gradient.any() for gradient in pair.gradients(kl))


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, bf16, torch.float16])
def test_identical_heads_give_exactly_zero(dtype, options):
    pair = identical(dtype, **options).trained()
    kl = pair.run(tile=16)
    assert kl.tolist() == [0.0] * 40
    assert not kl.signbit().any()
    assert all(not gradient.any() for gradient in pair.gradients(kl))


# The reference is a constant


def test_the_reference_gets_no_gradient():
    pair = make().trained()
    names = ("ref_hidden", "ref_weight", "ref_bias")
    pair = pair.changed(lambda x: x.requires_grad_(), *names)
    pair.run().sum().backward()
    assert [getattr(pair, name).grad for name in names] == [None] * 3
    assert pair.hidden.grad.any()


def test_a_reference_that_requires_gradients_makes_no_graph():
    pair = make().changed(lambda x: x.requires_grad_(), "ref_hidden", "ref_weight", "ref_bias")
    assert not pair.run().requires_grad


def test_second_derivatives_are_refused():
    pair = make().trained()
    with pytest.raises(RuntimeError, match="token_kl: differentiable once"):
        pair.gradients(pair.run(), create_graph=True)


@pytest.mark.parametrize("name", ["hidden", "ref_hidden", "ref_weight"])
def test_a_change_in_place_before_backward_is_noticed(name):
    pair = make().trained()
    kl = pair.run()
    with torch.no_grad():
        getattr(pair, name).add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        kl.sum().backward()


# Rows


@pytest.mark.parametrize("n", [0, 3])
def test_no_rows_stay_in_the_graph(recorder, n):
    pair = make(n).with_(rows=torch.zeros(n, dtype=torch.bool)).trained()
    with recorder:
        kl = pair.run()
        gradients = pair.gradients(kl)
    assert kl.tolist() == [0.0] * n
    assert recorder.products == []
    for gradient, leaf in zip(gradients, (pair.hidden, pair.weight, pair.bias), strict=True):
        assert torch.equal(gradient, torch.zeros_like(leaf))


@pytest.mark.parametrize("poison", [torch.nan, torch.inf, -torch.inf])
def test_skipped_rows_leak_nothing(poison):
    clean = make(skipped=(1, 6)).trained()
    junk = torch.tensor([1, 6])
    poisoned = clean.changed(
        lambda x: x.detach().index_fill(0, junk, poison), "hidden", "ref_hidden", "cotangent"
    ).trained()
    expected, given = clean.run(tile=3), poisoned.run(tile=3)
    assert torch.equal(given, expected)
    assert given[junk].tolist() == [0.0, 0.0]
    assert given[[0, 2, 3, 4, 5]].all()
    gradients = poisoned.gradients(given)
    for ours, theirs in zip(gradients, clean.gradients(expected), strict=True):
        assert torch.equal(ours, theirs)
    assert not gradients[0][junk].any()


@pytest.mark.parametrize("name", ["hidden", "ref_hidden"])
def test_a_chosen_row_of_nan_is_nan(name):
    pair = make().changed(lambda x: x.index_fill(0, torch.tensor([2]), torch.nan), name)
    kl = pair.run()
    assert kl.isnan().tolist() == [i == 2 for i in range(7)]


def test_skipped_rows_enter_no_product(recorder):
    with recorder:
        make(20, 300, skipped=tuple(range(15))).run()
    assert recorder.products == [((5, 5), (5, 300)), ((5, 3), (3, 300))]


def test_rows_without_cotangent_enter_no_product(recorder):
    used = torch.zeros(20, dtype=torch.bool)
    used[[3, 7, 11, 12, 19]] = True
    pair = make(20, 300, skipped=(7,)).trained()
    pair = pair.with_(cotangent=pair.cotangent * used)
    kl = pair.run()
    with recorder:
        given = pair.gradients(kl)
    assert recorder.products == [
        ((4, 5), (5, 300)),
        ((4, 3), (3, 300)),
        ((4, 300), (300, 5)),
        ((300, 4), (4, 5)),
    ]
    for ours, theirs in zip(given, pair.gradients(pair.truth()), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("frozen", "products"),
    [
        (("weight",), [((20, 300), (300, 5))]),
        (("hidden",), [((300, 20), (20, 5))]),
        (("hidden", "weight"), []),
        (("bias",), [((20, 300), (300, 5)), ((300, 20), (20, 5))]),
    ],
)
def test_only_needed_gradients_are_computed(recorder, frozen, products):
    full = make(20, 300).trained()
    expected = dict(
        zip(("hidden", "weight", "bias"), full.gradients(full.truth().mul(2.0)), strict=True)
    )
    pair = full.changed(lambda x: x.detach(), *frozen)
    kl = pair.run().mul(2.0)
    with recorder:
        kl.backward(pair.cotangent)
    assert recorder.products == [((20, 5), (5, 300)), ((20, 3), (3, 300)), *products]
    for name, gradient in expected.items():
        if name in frozen:
            assert getattr(pair, name).grad is None
        else:
            torch.testing.assert_close(getattr(full, name).grad, gradient)


def test_no_tensor_grows_with_rows_times_vocabulary(recorder):
    sizes = []
    for n in (64, 128):
        pair = make(n, 4096).trained()
        recorder.largest = 0
        with recorder:
            pair.gradients(pair.run(tile=8))
        sizes.append(recorder.largest)
    assert sizes == [8 * 4096] * 2


# Tokens of probability 0


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_tokens_banned_in_both_heads_are_as_if_absent(dtype):
    banned, left = torch.tensor([0, 3, 9]), [1, 2, 4, 5, 6, 7, 8, 10]
    pair = make(dtype=dtype)
    smaller = pair.changed(lambda x: x[left], "weight", "bias", "ref_weight", "ref_bias").trained()
    pair = pair.changed(lambda x: x.index_fill(0, banned, -torch.inf), "bias", "ref_bias").trained()
    given, expected = pair.run(tile=3), smaller.truth()
    torch.testing.assert_close(given, expected, check_dtype=False, rtol=1e-5, atol=1e-5)
    hidden, weight, bias = pair.gradients(given)
    for ours, theirs in zip(
        (hidden, weight[left], bias[left]), smaller.gradients(expected), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    assert not weight[banned].any()
    assert not bias[banned].any()


def test_a_token_banned_in_the_current_head_alone_adds_nothing():
    pair = make()
    pair = pair.with_(bias=pair.bias.index_fill(0, torch.tensor([3]), -torch.inf)).trained()
    # -60 in place of -inf: e^-60 is far below what float64 can add to the sum.
    finite = pair.with_(bias=pair.bias.detach().clamp(min=-60.0)).trained()
    given, expected = pair.run(), finite.truth()
    torch.testing.assert_close(given, expected)
    for ours, theirs in zip(pair.gradients(given), finite.gradients(expected), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_token_that_underflows_adds_nothing_even_if_the_reference_bans_it():
    pair = make(dtype=torch.float32)
    token = torch.tensor([3])
    pair = pair.with_(
        bias=pair.bias.index_fill(0, token, -1000.0),
        ref_bias=pair.ref_bias.index_fill(0, token, -torch.inf),
    ).trained()
    kl = pair.run()
    assert kl.isfinite().all()
    assert all(gradient.isfinite().all() for gradient in pair.gradients(kl))


def test_a_token_banned_in_the_reference_alone_is_infinitely_far():
    pair = make(skipped=(1,))
    pair = pair.with_(ref_bias=pair.ref_bias.index_fill(0, torch.tensor([3]), -torch.inf))
    assert pair.run().tolist() == [0.0 if i == 1 else torch.inf for i in range(7)]


# Rounding


def test_rounding_never_makes_a_value_negative_and_never_stops_a_gradient():
    pair = near(1e-5, n=256, v=1000).trained()
    kl, truth = pair.run(), pair.truth()
    assert not kl.signbit().any()
    torch.testing.assert_close(kl.double(), truth, rtol=0.0, atol=1e-6)
    clamped = kl == 0.0
    assert clamped.sum() > 20
    (given, _), (expected, _) = pair.gradients(kl), pair.gradients(truth)
    error = (given.double() - expected)[clamped].norm() / expected.double()[clamped].norm()
    assert error < 0.1


@pytest.mark.parametrize("spread", [0.5, 4.0, 20.0])
def test_float32_is_as_exact_as_a_plain_float32_head(spread):
    pair = make(64, 4096, d=64, e=32, dtype=torch.float32, bias=False, spread=spread)
    log_p = torch.log_softmax(pair.hidden @ pair.weight.T, dim=-1)
    log_q = torch.log_softmax(pair.ref_hidden @ pair.ref_weight.T, dim=-1)
    plain, truth = (log_p.exp() * (log_p - log_q)).sum(-1), pair.truth()
    error = (pair.run().double() - truth).abs().max()
    assert error < 2 * (plain.double() - truth).abs().max() + 1e-6


@pytest.mark.parametrize("bias", [False, True])
def test_bfloat16_loses_nothing_but_its_inputs(bias):
    pair = make(128, 2048, d=64, e=32, dtype=bf16, bias=bias, spread=4.0).trained()
    given, truth = pair.run(tile=50), pair.truth()
    assert given.dtype == torch.float32
    torch.testing.assert_close(given.double(), truth, rtol=1e-5, atol=1e-5)
    for ours, theirs in zip(pair.gradients(given), pair.gradients(truth), strict=True):
        assert ours.dtype == bf16
        assert (ours.double() - theirs.double()).norm() < 2**-8 * theirs.double().norm()


def test_bfloat16_gradients_are_summed_in_float32():
    """1000 equal terms: a sum kept in bfloat16 would stop growing at 256 of them."""
    one = make(1, 256, d=16, dtype=bf16, bias=False)
    many = one.changed(lambda x: x.expand(1000, -1), "hidden", "ref_hidden")
    many = many.changed(lambda x: x.expand(1000), "rows", "cotangent").trained()
    _, given = many.gradients(many.run(tile=1))
    _, expected = many.gradients(many.truth())
    assert (given.double() - expected.double()).abs().max() < 2**-7 * expected.abs().max()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, bf16, torch.float16])
def test_the_result_is_float32_and_gradients_in_the_dtype_of_their_input(dtype):
    pair = make(dtype=dtype).trained()
    kl = pair.run()
    assert kl.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert [gradient.dtype for gradient in pair.gradients(kl)] == [dtype] * 3


@pytest.mark.parametrize("rounded", [("hidden", "weight"), ("ref_hidden", "ref_weight")])
def test_a_bfloat16_head_does_not_round_the_other(rounded):
    pair = make(64, 512, d=64, e=64, dtype=torch.float32, bias=False, spread=4.0)
    pair = pair.changed(lambda x: x.to(bf16), *rounded)
    torch.testing.assert_close(pair.run().double(), pair.truth(), rtol=1e-5, atol=1e-5)


def test_autocast_rounds_operands_and_nothing_else():
    exact = make(64, 512, d=64, e=64, dtype=torch.float32, bias=False, spread=4.0)
    with torch.autocast("cpu", bf16):
        given = exact.run(tile=20).double()
    torch.testing.assert_close(given, exact.to(bf16).truth(), rtol=1e-5, atol=1e-5)
    assert (given - exact.truth()).abs().max() > 1e-4


def test_backward_inside_autocast_is_backward_outside():
    pair = make(dtype=torch.float32).trained()
    with torch.autocast("cpu", bf16):
        kl = pair.run()
        inside = pair.gradients(pair.run())
    for ours, theirs in zip(inside, pair.gradients(kl), strict=True):
        assert ours.dtype == torch.float32
        assert torch.equal(ours, theirs)


def test_gpu_products_read_bfloat16_and_answer_in_float32(cuda_products):
    pair = make(20, 50, dtype=bf16).trained()
    expected = pair.run()
    expected_gradients = pair.gradients(expected)
    calls = cuda_products()
    given = pair.run(tile=8)
    torch.testing.assert_close(given, expected)
    for ours, theirs in zip(pair.gradients(given), expected_gradients, strict=True):
        # A CPU's small products read the gradient of the logits unrounded.
        atol = 2**-8 * theirs.abs().max().item()
        torch.testing.assert_close(ours, theirs, rtol=2**-7, atol=atol)
    assert set(calls) == {(bf16, bf16, torch.float32)}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float64, 1e-9), (torch.float32, 1e-4), (bf16, 1e-2), (torch.float16, 1e-2)],
)
def test_a_gpu_gives_the_definition(dtype, tolerance):
    names = ("hidden", "weight", "bias", "ref_hidden", "ref_weight", "ref_bias", "rows")
    pair = make(200, 1000, d=64, e=32, dtype=dtype, skipped=(3,), softcap=5.0)
    pair = pair.changed(lambda x: x.cuda(), *names, "cotangent").trained()
    given, truth = pair.run(tile=64), pair.truth()
    value = min(tolerance, 1e-4)
    torch.testing.assert_close(given.double(), truth, rtol=value, atol=value)
    for ours, theirs in zip(pair.gradients(given), pair.gradients(truth), strict=True):
        scale = theirs.abs().max().item()
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance * scale)


# Errors


def call(**changes):
    arguments = {
        "hidden": torch.zeros(2, 3, 4),
        "weight": torch.zeros(5, 4),
        "ref_hidden": torch.zeros(2, 3, 6),
        "ref_weight": torch.zeros(5, 6),
        "rows": torch.ones(2, 3, dtype=torch.bool),
    }
    return token_kl(**(arguments | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"direction": "backward"}, "direction: expected reverse or forward; got 'backward'"),
        (
            {"ref_weight": torch.zeros(7, 6)},
            r"ref_weight: expected shape \[5, 6\], one vocabulary for both heads; got .*\[7, 6\]",
        ),
        ({"hidden": torch.zeros(())}, r"hidden: expected shape \[2, 3, 'd'\].* got shape \[\]"),
        (
            {"hidden": torch.zeros(3, 2, 4)},
            r"hidden: expected shape \[2, 3, 'd'\].* got shape \[3, 2, 4\]",
        ),
        (
            {"ref_hidden": torch.zeros(2, 6)},
            r"ref_hidden: expected shape \[2, 3, 'd'\].* got shape \[2, 6\]",
        ),
        (
            {"hidden": torch.zeros(()), "rows": torch.tensor(True)},
            r"hidden: expected shape \['d'\].* got shape \[\]",
        ),
        ({"weight": torch.zeros(5, 3)}, r"weight: expected shape \[v, 4\].* got shape \[5, 3\]"),
        ({"weight": torch.zeros(5)}, r"weight: expected shape \[v, 4\].* got shape \[5\]"),
        ({"weight": torch.zeros(0, 4)}, r"weight: .*v >= 1.* got shape \[0, 4\]"),
        (
            {"ref_weight": torch.zeros(5, 4)},
            r"ref_weight: expected shape \[v, 6\].* width 6 of ref_hidden; got shape \[5, 4\]",
        ),
        ({"bias": torch.zeros(4)}, r"bias: expected shape \[5\].* got shape \[4\]"),
        ({"ref_bias": torch.zeros(4)}, r"ref_bias: expected shape \[5\].* got shape \[4\]"),
        (
            {"hidden": torch.zeros(2, 3, 4, dtype=torch.int32)},
            r"hidden: expected dtype one of torch.float32.* got torch.int32",
        ),
        ({"ref_weight": torch.zeros(5, 6).to(torch.complex64)}, r"ref_weight: .* torch.complex64"),
        ({"weight": torch.zeros(5, 4).double()}, r"weight: expected less than float64 .*float64"),
        ({"hidden": torch.zeros(2, 3, 4).double()}, r"hidden: expected less than float64 "),
        ({"ref_bias": torch.zeros(5).double()}, r"ref_bias: expected less than float64 "),
        (
            {"rows": torch.ones(2, 3, dtype=torch.int64)},
            r"rows: expected dtype torch.bool; got torch.int64",
        ),
        ({"weight": torch.zeros(5, 4, device="meta")}, r"weight: expected on cpu.*; got meta"),
        (
            {"rows": torch.ones(2, 3, dtype=torch.bool, device="meta")},
            r"rows: expected on cpu.*; got meta",
        ),
        ({"temperature": 0.0}, r"temperature: expected a finite number > 0; got 0.0"),
        ({"temperature": float("nan")}, r"temperature: .* got nan"),
        ({"softcap": -1.0}, r"softcap: expected a finite number > 0; got -1.0"),
        ({"logit_scale": float("inf")}, r"logit_scale: .* got inf"),
        ({"tile": 0}, r"tile: expected an integer >= 1, rows; got 0"),
    ],
)
def test_the_message_names_argument_expectation_and_value(changes, message):
    with pytest.raises(ValueError, match=f"^token_kl: {message}"):
        call(**changes)


def test_the_defaults_of_these_tests_are_valid():
    assert call().shape == (2, 3)
