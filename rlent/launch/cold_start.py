"""``rlent cold-start``: of several solutions of every problem, the one whose length fits the problem's difficulty."""

import json
from pathlib import Path
from typing import Any

from rlent.data.adaptive_lengths import (
    Solution,
    median_lengths,
    nearest_to_target,
    target_length,
)
from rlent.data.records import json_line_records
from rlent.errors import ConfigError
from rlent.evaluation import by_pass_variance
from rlent.evaluation.store import read_set

Row = dict[str, Any]


def cold_start(
    file: Path,
    output: Path,
    *,
    rates: Path | None,
    hardest: float | None,
    easiest: float | None,
) -> int:
    """Write the chosen rows of ``file``, each with its ``pass_rate`` and ``target_length``.

    Args:
        file: JSON lines with ``prompt``, ``length`` in tokens, and ``pass_rate`` if ``rates`` is None.
        rates: folder of an evaluated set, whose drawn completions say the pass rate of every prompt.
        hardest: length at pass rate 0; None is the median of the solutions there.
        easiest: length at pass rate 1, alike.

    Raises:
        ConfigError: a row lacks one of its columns or holds another type, a prompt was not evaluated, or the file to
            write exists.
    """
    if output.exists():
        raise ConfigError("the file exists", key="--output", given=str(output))
    measured = None if rates is None else _measured(rates)
    rows = [_with_rate(row, where, measured) for where, row in _rows(file)]
    solutions = [
        Solution(problem=_key(row), pass_rate=row["pass_rate"], length=row["length"])
        for row in rows
    ]
    if hardest is None or easiest is None:
        found = median_lengths(solutions)
        hardest = found[0] if hardest is None else hardest
        easiest = found[1] if easiest is None else easiest
    lines = []
    for place in nearest_to_target(solutions, hardest=hardest, easiest=easiest):
        rate = solutions[place].pass_rate
        target = target_length(rate, hardest=hardest, easiest=easiest)
        lines.append(json.dumps(rows[place] | {"target_length": target}, ensure_ascii=False))
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    print(f"Target lengths from {hardest:g} tokens at pass rate 0 to {easiest:g} at pass rate 1")
    print(f"Wrote {len(lines)} of {len(rows)} solutions to {output}")
    return 0


def _rows(file: Path) -> list[tuple[str, Row]]:
    """The rows, each with its place."""
    if not file.is_file():
        raise ConfigError("the file does not exist", given=str(file), where="command line")
    rows = []
    for record in json_line_records(file):
        where = f"{file}:{record.line}"
        if record.row is None:
            raise ConfigError(record.reason, where=where)
        rows.append((where, record.row))
    return rows


def _with_rate(row: Row, where: str, measured: dict[str, float] | None) -> Row:
    if "prompt" not in row:
        raise ConfigError("the row has no column prompt", where=where)
    length = row.get("length")
    if not isinstance(length, int) or isinstance(length, bool) or length < 1:
        raise ConfigError("length must be a number of tokens", where=where, given=length)
    if measured is not None:
        if _key(row) not in measured:
            raise ConfigError(
                "the prompt is not in the evaluated set, or was not scored", where=where
            )
        return row | {"pass_rate": measured[_key(row)]}
    rate = row.get("pass_rate")
    if not isinstance(rate, int | float) or isinstance(rate, bool) or not 0 <= rate <= 1:
        raise ConfigError(
            "pass_rate must be in [0, 1]",
            where=where,
            given=rate,
            remedy="add the column, or name an evaluated set with --rates",
        )
    return row | {"pass_rate": float(rate)}


def _key(row: Row) -> str:
    return json.dumps(row["prompt"], sort_keys=True)


def _measured(folder: Path) -> dict[str, float]:
    """Pass rates of an evaluated set's drawn completions, by prompt."""
    ranked = by_pass_variance(read_set(folder, "--rates"))
    return {_key(each.row()): each.correct / each.samples for each in ranked}
