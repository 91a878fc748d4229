"""``metrics.jsonl``: one JSON object per logged step, readable while the run goes on."""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


class MetricsFile:
    """Appends one line per call, so that a run that dies keeps every line it wrote."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Write one line. NaN and infinity, which JSON does not know, become null."""
        row = {"step": step, **{name: _plain(value) for name, value in metrics.items()}}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, allow_nan=False) + "\n")

    def forget_after(self, step: int) -> None:
        """Drop the lines of steps after ``step``, which a resumed run takes again."""
        if self._path.exists():
            kept = [row for row in read_metrics(self._path) if row["step"] <= step]
            self._path.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")


def read_metrics(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a metrics file; a last line cut off by a crash is left out."""
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        if line.endswith("\n"):
            yield json.loads(line)


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
