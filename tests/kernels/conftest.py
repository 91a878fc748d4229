"""What the tests of the head share: a problem, its truth written out by hand, and a recorder."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from rlent_kernels import IGNORE_INDEX, TokenStats, token_stats
from rlent_kernels.precision import Precision

IMPLEMENTATIONS: list[dict[str, Any]] = [
    {"impl": "reference"},
    {"impl": "torch"},
    {"impl": "torch", "tile": (3, 4)},
    {"impl": "torch", "tile": (3, 4), "keep_logits": False},
    {"impl": "triton", "tile": (3, 4)},
    {"impl": "triton", "tile": (3, 4), "keep_logits": False},
]
"""Every implementation, as a choice of keyword arguments; small tiles cut up small problems."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A head with cotangents for both outputs."""

    hidden: Tensor
    weight: Tensor
    targets: Tensor
    grad_log_probs: Tensor
    grad_entropy: Tensor
    bias: Tensor | None = None
    options: dict[str, Any] = field(default_factory=dict)

    def with_(self, **changes: Any) -> "Problem":
        return replace(self, **changes)

    def to(self, dtype: torch.dtype) -> "Problem":
        bias = None if self.bias is None else self.bias.to(dtype)
        return self.with_(hidden=self.hidden.to(dtype), weight=self.weight.to(dtype), bias=bias)

    def run(self, **call: Any) -> TokenStats:
        return token_stats(
            self.hidden, self.weight, self.targets, bias=self.bias, **self.options, **call
        )

    def gradients(self, stats: Any, create_graph: bool = False) -> list[Tensor]:
        """Gradients of the weighted outputs in hidden, weight and bias, as far as required."""
        inputs = [x for x in (self.hidden, self.weight, self.bias) if x is not None]
        return list(
            torch.autograd.grad(
                (stats.log_probs, stats.entropy),
                [x for x in inputs if x.requires_grad],
                (self.grad_log_probs, self.grad_entropy),
                create_graph=create_graph,
            )
        )

    def trained(self) -> "Problem":
        """The same numbers as leaves that require gradients."""
        bias = None if self.bias is None else self.bias.detach().clone().requires_grad_()
        return self.with_(
            hidden=self.hidden.detach().clone().requires_grad_(),
            weight=self.weight.detach().clone().requires_grad_(),
            bias=bias,
        )

    def truth(self) -> TokenStats:
        """Both statistics in float64 from their definitions, differentiable."""
        keep = self.targets != IGNORE_INDEX
        hidden = self.hidden.double().masked_fill(~keep[..., None], 0.0)
        z = torch.einsum("...d,vd->...v", hidden, self.weight.double())
        if self.bias is not None:
            z = z + self.bias.double()
        z = z * self.options.get("logit_scale", 1.0)
        if (cap := self.options.get("softcap")) is not None:
            z = cap * torch.tanh(z / cap)
        z = z / self.options.get("temperature", 1.0)
        top = z.detach().amax(-1, keepdim=True)
        logsumexp = top + torch.log(torch.exp(z - top).sum(-1, keepdim=True))
        p = torch.exp(z - logsumexp)
        finite = z.masked_fill(z == -torch.inf, 0.0)
        entropy = logsumexp[..., 0] - (p * finite).sum(-1)
        index = self.targets.masked_fill(~keep, 0)[..., None]
        log_probs = (z.gather(-1, index) - logsumexp)[..., 0]
        return TokenStats(
            log_probs=log_probs.masked_fill(~keep, 0.0), entropy=entropy.masked_fill(~keep, 0.0)
        )


def _make(
    n: int = 7,
    d: int = 5,
    v: int = 11,
    *,
    dtype: torch.dtype = torch.float64,
    bias: bool = True,
    ignored: tuple[int, ...] = (),
    spread: float = 1.0,
    **options: Any,
) -> Problem:
    """A random problem whose logits have a standard deviation of about ``spread``."""
    generator = torch.Generator().manual_seed(n + 31 * d + 997 * v)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    targets = torch.randint(v, (n,), generator=generator)
    targets[list(ignored)] = IGNORE_INDEX
    result = torch.float64 if dtype == torch.float64 else torch.float32
    return Problem(
        hidden=normal(n, d),
        weight=normal(v, d) * spread / d**0.5,
        bias=normal(v) if bias else None,
        targets=targets,
        grad_log_probs=normal(n).to(result),
        grad_entropy=normal(n).to(result),
        options=options,
    ).to(dtype)


@pytest.fixture
def make() -> Callable[..., Problem]:
    return _make


class Recorder(TorchDispatchMode):
    """Sees every operator below autograd: how many, matrix products, the largest tensor made."""

    def __init__(self) -> None:
        super().__init__()
        self.products: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
        self.largest = 0
        self.operators = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        self.operators += 1
        if func is torch.ops.aten.addmm.out:
            self.products.append((tuple(args[1].shape), tuple(args[2].shape)))
        if isinstance(result, Tensor):
            self.largest = max(self.largest, result.numel())
        return result


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def cuda_products(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[tuple[torch.dtype, ...]]]:
    """When called, a CPU plays CUDA's ``torch.addmm(..., out_dtype=...)`` and lists its dtypes."""
    calls: list[tuple[torch.dtype, ...]] = []

    def mixed_addmm(
        start: Tensor,
        left: Tensor,
        right: Tensor,
        *,
        beta: float,
        alpha: float,
        out_dtype: torch.dtype,
        out: Tensor,
    ) -> Tensor:
        calls.append((left.dtype, right.dtype, out_dtype))
        product = alpha * (left.float() @ right.float())
        return out.copy_(product if beta == 0 else beta * start + product)

    def play() -> list[tuple[torch.dtype, ...]]:
        monkeypatch.setattr(torch, "addmm", mixed_addmm)
        monkeypatch.setattr(Precision, "_has_mixed_mm", lambda *_: True)
        return calls

    return play


@pytest.fixture(autouse=True)
def _onednn_setting_is_restored() -> Iterator[None]:
    before = torch.backends.mkldnn.matmul.fp32_precision
    yield
    assert torch.backends.mkldnn.matmul.fp32_precision == before
