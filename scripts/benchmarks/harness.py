"""What every benchmark shares: interleaved repeats, peak memory, and a report as Markdown and JSON."""

import ctypes
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

Work = Callable[[], Any]


def interleaved(works: Mapping[str, Work], repeats: int) -> dict[str, float]:
    """Median seconds of each work: one unmeasured round, then ``repeats`` rounds in the order A B C, A B C."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for round_number in range(repeats + 1):
        for name, work in works.items():
            elapsed = _timed(work)
            if round_number:
                seconds[name].append(elapsed)
    return {name: statistics.median(values) for name, values in seconds.items()}


def measured(works: Mapping[str, Work], repeats: int) -> tuple[dict[str, float], dict[str, int]]:
    """Median seconds and largest ``peak_bytes`` of long works, interleaved; nothing is run to warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    peaks = dict.fromkeys(works, 0)
    for _ in range(repeats):
        for name, work in works.items():
            peak = peak_bytes(lambda name=name, work=work: seconds[name].append(_timed(work)))
            peaks[name] = max(peaks[name], peak)
    return {name: statistics.median(values) for name, values in seconds.items()}, peaks


def _timed(work: Work) -> float:
    _finish_gpu()
    start = time.perf_counter()
    work()
    _finish_gpu()
    return time.perf_counter() - start


def _finish_gpu() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def peak_bytes(work: Work) -> int:
    """Most memory that ``work`` holds beyond what was held before: allocated on a GPU, resident on a CPU (Linux)."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        return torch.cuda.max_memory_allocated() - before
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again at what is resident now
    before = _resident("VmRSS")
    work()
    return _resident("VmHWM") - before


def _resident(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise LookupError(f"no {field} in /proc/self/status")


def machine(*packages: str) -> dict[str, Any]:
    """Where a measurement was made, and with which versions."""
    versions = {name: metadata.version(name) for name in ("torch", *packages)}
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else _cpu_name()
    return {
        "device": device,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        **versions,
    }


def _cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return platform.processor()


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first column is text, the others numbers."""
    lines = ["| " + " | ".join(header) + " |", "|---|" + "---:|" * (len(header) - 1)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def write(out: Path | None, name: str, markdown: str, results: Mapping[str, Any]) -> None:
    """Print the report, and write ``name.md`` and ``name.json`` into ``out``; the command line is part of both."""
    command = "python " + " ".join(sys.argv)
    print(markdown)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / f"{name}.md").write_text(f"{markdown}\n\n`{command}`\n")
        content = json.dumps({"command": command, **results}, indent=1)
        (out / f"{name}.json").write_text(content + "\n")
