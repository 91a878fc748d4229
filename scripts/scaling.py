"""Memory, traffic and time of large policies by formula, and the formulas against small models that are measured.

python scripts/scaling.py table     # the tables of docs/scaling.md
python scripts/scaling.py check     # small models on this CPU: predicted, measured, error
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from scripts.benchmarks.harness import table
from scripts.scaling_model.measured_activations import check_activations
from scripts.scaling_model.measured_cache import check_cache
from scripts.scaling_model.measured_head import check_head
from scripts.scaling_model.measured_operators import check_operators
from scripts.scaling_model.measured_states import check_states, run_rank
from scripts.scaling_model.small_models import SMALL_SHAPES, Comparison
from scripts.scaling_model.tables import print_tables


@dataclass(frozen=True, kw_only=True)
class Extent:
    """How much is measured."""

    precisions: tuple[str, ...] = ("float32", "bfloat16")
    length: int = 256
    heads: list[tuple[int, int, int]] = field(
        default_factory=lambda: [
            (512, 512, 512),
            (512, 256, 64),
            (2048, 2048, 2048),
            (2048, 1024, 256),
        ]
    )
    vocabulary: int = 20_000


QUICK = Extent(precisions=("bfloat16",), length=128, heads=[(512, 256, 64), (2048, 1024, 256)])


def comparisons(extent: Extent) -> Iterator[Comparison]:
    yield from check_states(extent.precisions)
    yield from check_activations(SMALL_SHAPES, extent.length)
    yield from check_cache(SMALL_SHAPES[1:], [(40, 100), (40, 600)])
    yield from check_head(extent.heads, extent.vocabulary)
    yield from check_operators()


def print_check(extent: Extent, tolerance: float) -> int:
    """0 if no error is above the tolerance."""
    worst = 0.0
    rows = []
    for one in comparisons(extent):
        rows.append([one.what, f"{one.predicted:,.0f}", f"{one.measured:,.0f}", f"{one.error:.1%}"])
        worst = max(worst, one.error)
    print(table(["bytes", "predicted", "measured", "error"], rows))
    print(f"\nlargest error {worst:.1%}, allowed {tolerance:.0%}")
    return int(worst > tolerance)


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("table", help="print the tables of docs/scaling.md; takes no time")
    check = commands.add_parser(
        "check",
        help="measure small models and compare",
        description="Measure small models on this CPU, also with two processes under DeepSpeed, and print what the "
        "formulas say beside what was measured. Exit status 1 if they differ by more than the tolerance.",
    )
    check.add_argument("--quick", action="store_true", help="fewer types and sizes")
    check.add_argument(
        "--tolerance", type=float, default=0.1, help="largest relative error (default: %(default)s)"
    )
    rank = commands.add_parser("rank")  # one process of `check`
    rank.add_argument("folder", type=Path)
    rank.add_argument("precision")
    return top


def main() -> int:
    options = parser().parse_args()
    if options.command == "table":
        return print_tables()
    if options.command == "rank":
        return run_rank(options.folder, options.precision)
    return print_check(QUICK if options.quick else Extent(), options.tolerance)


if __name__ == "__main__":
    sys.exit(main())
