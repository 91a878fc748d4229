"""The peak of the token head."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch

from scripts.scaling_model.formulas import Head, head_peak
from scripts.scaling_model.shapes import FLOAT32
from scripts.scaling_model.small_models import Comparison


def check_head(cases: Iterable[tuple[int, int, int]], vocabulary: int) -> Iterator[Comparison]:
    """Peaks of (positions, rows, learning) in both types."""
    for dtype in (torch.float32, torch.bfloat16):
        for positions, rows, learning in cases:
            hidden = 64
            head = Head(
                positions=positions,
                rows=rows,
                learning=learning,
                hidden=hidden,
                vocabulary=vocabulary,
                tile=cpu_tile(positions, vocabulary),
                size=dtype.itemsize,
                widened=dtype == torch.bfloat16,
            )
            case = f"{positions} positions, {rows} scored, {learning} learning, {str(dtype).split('.')[1]}"
            yield Comparison(
                what=f"token head, {case}",
                predicted=head_peak(head),
                measured=measured_head(head, dtype),
            )


def cpu_tile(rows: int, vocabulary: int) -> tuple[int, int]:
    from rlent_kernels.plan import default_tile

    return default_tile(rows, vocabulary, FLOAT32, torch.device("cpu"))


def measured_head(head: Head, dtype: torch.dtype) -> int:
    """Most bytes that torch's allocator gives out beyond the inputs, in forward and backward."""
    from rlent_kernels import token_stats

    generator = torch.Generator().manual_seed(0)
    hidden = (
        torch.randn(head.positions, head.hidden, generator=generator).to(dtype).requires_grad_()
    )
    weight = (
        torch.randn(head.vocabulary, head.hidden, generator=generator).to(dtype).requires_grad_()
    )
    targets = torch.randint(0, head.vocabulary, (head.positions,), generator=generator)
    targets[head.rows :] = -100
    factor = (torch.arange(head.positions) < head.learning).float()

    def work() -> None:
        (token_stats(hidden, weight, targets).log_probs * factor).sum().backward()

    return allocated_peak(work)


def allocated_peak(work: Callable[[], None]) -> int:
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        work()
    profiler: Any = record.profiler
    events = [event for event in profiler.kineto_results.events() if event.name() == "[memory]"]
    held = most = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most
