"""The token head against what people use.

Every contender gets the same hidden states, weight and targets and computes, forward and backward,

    loss = sum_i c_i (log_probs_i + 0.1 entropy_i)

with c_i = 0 on all but a ``share`` of the rows: entropy is wanted everywhere, gradients on the selected tokens. Those
that give no entropy (marked) compute sum_i c_i log_probs_i, which is less work. ``products`` are the bare matrix
products: one in forward, four with backward, ``share`` of the last three; ``x products`` is the time relative to them.
Gradients are compared with rlent's before anything is timed.
"""

import argparse
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rlent_kernels import token_loss, token_stats
from scripts.benchmarks.harness import interleaved, machine, peak_bytes, table, write

SIZES = {
    "smollm2-135m": (576, 49152),
    "qwen3-0.6b": (1024, 151936),
    "qwen3-8b": (4096, 151936),
    "qwen3-32b": (5120, 151936),
}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
ENTROPY = 0.1


@dataclass(frozen=True, kw_only=True)
class Case:
    """One head, one batch, one share of selected rows."""

    hidden: Tensor
    weight: Tensor
    targets: Tensor
    coefficient: Tensor

    @classmethod
    def make(
        cls, rows: int, width: int, vocabulary: int, dtype: torch.dtype, share: float, device: str
    ) -> "Case":
        generator = torch.Generator(device).manual_seed(0)
        normal: dict[str, Any] = {"generator": generator, "device": device}
        selected = (
            torch.rand(rows, **normal) < share if share < 1 else torch.ones(rows, device=device)
        )
        return cls(
            hidden=torch.randn(rows, width, **normal).to(dtype).requires_grad_(),
            weight=(2.0 * torch.randn(vocabulary, width, **normal) / width**0.5)
            .to(dtype)
            .requires_grad_(),
            targets=torch.randint(vocabulary, (rows,), **normal),
            coefficient=selected.float() / rows,
        )

    def gradients(self, loss: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(loss, (self.hidden, self.weight))


@dataclass(frozen=True, kw_only=True)
class Contender:
    """``loss`` of a case; ``missing`` says why it cannot run on a device, or None."""

    loss: Callable[[Case], Tensor]
    entropy: bool = True
    missing: Callable[[str], str | None] = lambda device: None


def rlent(impl: str) -> Callable[[Case], Tensor]:
    def loss(case: Case) -> Tensor:
        stats = token_stats(case.hidden, case.weight, case.targets, impl=impl)
        return (case.coefficient * (stats.log_probs + ENTROPY * stats.entropy)).sum()

    return loss


def rlent_in_forward(case: Case) -> Tensor:
    def loss(log_probs: Tensor, entropy: Tensor, rows: Tensor) -> Tensor:
        return case.coefficient[rows] * (log_probs + ENTROPY * entropy)

    return token_loss(case.hidden, case.weight, case.targets, loss).loss


def full_logits(case: Case) -> Tensor:
    log_p = torch.log_softmax((case.hidden @ case.weight.T).float(), dim=-1)
    target = log_p.gather(1, case.targets[:, None])[:, 0]
    entropy = -(log_p.exp() * log_p).sum(-1)
    return (case.coefficient * (target + ENTROPY * entropy)).sum()


compiled_full_logits = torch.compile(full_logits)


def trl_head(case: Case) -> Tensor:
    from trl.trainer import utils

    outputs = utils._ChunkedLogProbFunction.apply(
        case.hidden,
        case.weight,
        None,
        case.targets,
        1.0,
        utils._CHUNKED_LOGPROB_CHUNK_SIZE,
        None,
        1.0,
        ("log_probs", "entropy"),
    )
    return (case.coefficient * (outputs[0] + ENTROPY * outputs[1])).sum()


def liger(case: Case) -> Tensor:
    """Liger's fused linear GRPO loss at ratio 1 with advantage -c: its gradient is that of sum_i c_i log_probs_i."""
    from liger_kernel.chunked_loss import LigerFusedLinearGRPOLoss

    rows = len(case.targets)
    head = LigerFusedLinearGRPOLoss(
        beta=0.0, loss_type="dr_grpo", max_completion_length=1, use_ref_model=False
    )
    loss, _ = head(
        case.hidden[:, None],
        case.weight,
        case.targets[:, None],
        torch.ones(rows, 1, device=case.hidden.device),
        -case.coefficient * rows,
    )
    return loss


def cut_cross_entropy(case: Case) -> Tensor:
    from cut_cross_entropy import linear_cross_entropy

    nll = linear_cross_entropy(case.hidden, case.weight, case.targets, reduction="none")
    return -(case.coefficient * nll).sum()


def needs_gpu(package: str) -> Callable[[str], str | None]:
    def missing(device: str) -> str | None:
        if device != "cuda":
            return "its kernels need a GPU"
        return not_installed(package)

    return missing


def not_installed(package: str) -> str | None:
    from importlib.util import find_spec

    return None if find_spec(package) else f"pip install {package.replace('_', '-')}"


CONTENDERS = {
    "rlent": Contender(loss=rlent("auto")),
    "rlent, torch": Contender(
        loss=rlent("torch"),
        missing=lambda device: None if device == "cuda" else "is rlent on a CPU",
    ),
    "rlent, loss in forward": Contender(loss=rlent_in_forward),
    "full logits": Contender(loss=full_logits),
    "full logits, torch.compile": Contender(
        loss=compiled_full_logits,
        missing=lambda device: None if device == "cuda" or shutil.which("g++") else "needs g++",
    ),
    "trl fused head": Contender(loss=trl_head, missing=lambda device: not_installed("trl")),
    "liger GRPO loss": Contender(loss=liger, entropy=False, missing=needs_gpu("liger_kernel")),
    "cut-cross-entropy": Contender(
        loss=cut_cross_entropy, entropy=False, missing=needs_gpu("cut_cross_entropy")
    ),
}


def products(case: Case, share: float, *, backward: bool) -> None:
    """The floor: the logits; with ``backward``, those of the selected rows again, and both gradients."""
    hidden, weight = case.hidden.detach(), case.weight.detach()
    hidden @ weight.T
    if backward:
        chosen = hidden[: max(1, round(len(hidden) * share))]
        logits = chosen @ weight.T
        logits @ weight
        logits.T @ chosen


def check(contender: Contender, case: Case) -> float:
    """Largest relative difference (2-norm) of the gradients from those of rlent on the same loss."""

    def expected(case: Case) -> Tensor:
        stats = token_stats(case.hidden, case.weight, case.targets)
        bonus = ENTROPY * stats.entropy if contender.entropy else 0.0
        return (case.coefficient * (stats.log_probs + bonus)).sum()

    pairs = zip(case.gradients(contender.loss(case)), case.gradients(expected(case)), strict=True)
    return max(((a - b).float().norm() / b.float().norm()).item() for a, b in pairs)


def measure(
    size: str, dtype: str, share: float, device: str, rows: int, repeats: int
) -> list[dict[str, Any]]:
    """One row per contender."""
    case = Case.make(rows, *SIZES[size], DTYPES[dtype], share, device)
    running = {name: item for name, item in CONTENDERS.items() if item.missing(device) is None}
    differences = {name: check(item, case) for name, item in running.items()}
    peaks = {
        name: peak_bytes(lambda item=item: case.gradients(item.loss(case)))
        for name, item in running.items()
    }
    forward = interleaved(
        {
            "products": lambda: products(case, share, backward=False),
            **{name: (lambda item=item: item.loss(case)) for name, item in running.items()},
        },
        repeats,
    )
    both = interleaved(
        {
            "products": lambda: products(case, share, backward=True),
            **{
                name: (lambda item=item: case.gradients(item.loss(case)))
                for name, item in running.items()
            },
        },
        repeats,
    )
    setting = {"size": size, "dtype": dtype, "share": share, "rows": rows}
    results = [
        {
            **setting,
            "contender": name,
            "entropy": name == "products" or running[name].entropy,
            "forward_s": forward[name],
            "forward_backward_s": both[name],
            "x_products": both[name] / both["products"],
            "peak_mib": peaks[name] / 2**20 if name in peaks else None,
            "gradient_difference": differences.get(name),
        }
        for name in both
    ]
    print(f"measured {setting}", file=sys.stderr, flush=True)
    absent = {name: item.missing(device) for name, item in CONTENDERS.items()}
    return results + [
        {**setting, "contender": name, "missing": why} for name, why in absent.items() if why
    ]


def report(results: list[dict[str, Any]]) -> str:
    header = [
        "head",
        "forward (s)",
        "with backward (s)",
        "x products",
        "trl / this",
        "peak (MiB)",
        "gradients differ by",
    ]
    parts, settings = (
        [],
        dict.fromkeys((r["size"], r["dtype"], r["share"], r["rows"]) for r in results),
    )
    for setting in settings:
        here = [r for r in results if (r["size"], r["dtype"], r["share"], r["rows"]) == setting]
        times = {r["contender"]: r["forward_backward_s"] for r in here if "missing" not in r}
        rows = []
        for r in here:
            if "missing" in r:
                rows.append([r["contender"], f"not run: {r['missing']}", *[""] * 5])
                continue
            trl, peak, difference = (
                times.get("trl fused head"),
                r["peak_mib"],
                r["gradient_difference"],
            )
            rows.append(
                [
                    r["contender"] + ("" if r["entropy"] else " (no entropy)"),
                    f"{r['forward_s']:.4f}",
                    f"{r['forward_backward_s']:.4f}",
                    f"{r['x_products']:.2f}",
                    "" if trl is None else f"{trl / r['forward_backward_s']:.2f}",
                    "" if peak is None else f"{peak:.0f}",
                    "" if difference is None else f"{difference:.0e}",
                ]
            )
        size, dtype, share, count = setting
        parts.append(f"{size}, {dtype}, {count} rows, share {share}\n\n{table(header, rows)}")
    return "\n\n".join(parts)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="bench.py kernels",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    gpu = torch.cuda.is_available()
    small = ["smollm2-135m"]
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES) if gpu else small)
    parser.add_argument(
        "--dtypes", nargs="+", choices=DTYPES, default=["bfloat16"] if gpu else list(DTYPES)
    )
    parser.add_argument(
        "--shares", nargs="+", type=float, default=[1.0, 0.5, 0.2], help="of rows with a gradient"
    )
    parser.add_argument(
        "--rows", type=int, default=8192 if gpu else 2048, help="tokens in the batch"
    )
    parser.add_argument(
        "--repeats", type=int, default=5, help="measured rounds; medians are reported"
    )
    parser.add_argument("--out", type=Path, help="folder for kernels.md and kernels.json")
    args = parser.parse_args(arguments)
    device = "cuda" if gpu else "cpu"
    results = []
    for size in args.sizes:
        for dtype in args.dtypes:
            for share in args.shares:
                results += measure(size, dtype, share, device, args.rows, args.repeats)
    where = machine("trl")
    heading = ", ".join(
        f"{name} {value}" if name != "device" else value for name, value in where.items()
    )
    write(
        args.out,
        "kernels",
        f"{heading}\n\n{report(results)}",
        {"machine": where, "results": results},
    )
