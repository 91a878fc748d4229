"""``rlent cold-start``."""

import argparse
from pathlib import Path

from rlent.launch.arguments import Commands, command


def add(commands: Commands) -> None:
    parser = command(
        commands,
        "cold-start",
        run,
        "of several solutions of every problem, take the one whose length fits how hard the problem is",
        "Reads JSON lines with prompt, length (tokens) and pass_rate, several for a prompt, and writes for each prompt "
        "the row whose length is nearest to (1 - p) L(0) + p L(1), p its pass rate (AdaCS of ARES, arXiv 2510.08457). "
        "For example: rlent cold-start solutions.jsonl --rates runs/evaluations/NAME/CHECKPOINT/held_out "
        "-o chosen.jsonl",
    )
    parser.add_argument("file", type=Path, metavar="FILE.jsonl")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.jsonl")
    parser.add_argument(
        "--rates",
        type=Path,
        metavar="DIR",
        help="take pass rates from this set, which `rlent eval --samples K` has written, by prompt",
    )
    parser.add_argument(
        "--hardest",
        type=float,
        metavar="L",
        help="length at pass rate 0 (default: the median of the solutions of problems that are never solved)",
    )
    parser.add_argument(
        "--easiest",
        type=float,
        metavar="L",
        help="length at pass rate 1 (default: the median of the solutions of problems that are always solved)",
    )


def run(options: argparse.Namespace) -> int:
    from rlent.launch.cold_start import cold_start

    return cold_start(
        options.file,
        options.output,
        rates=options.rates,
        hardest=options.hardest,
        easiest=options.easiest,
    )
