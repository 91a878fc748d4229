"""``rlent calibrate``."""

import argparse
from pathlib import Path

from rlent.launch.arguments import Commands, command


def add(commands: Commands) -> None:
    parser = command(
        commands,
        "calibrate",
        run,
        "entropy thresholds from an evaluation: when to stop, and which candidates to keep",
        "Reads the completions that rlent eval has written. From the first problems of the set it computes the "
        "entropies at or below which a greedy answer is taken (arXiv 2510.08146) and, if there are drawn completions, "
        "the total entropy up to which candidates are kept so that a set holds a correct one with probability "
        "1 - alpha (arXiv 2509.00461), and says what both do to the other problems. For example: "
        "rlent calibrate runs/evaluations/grpo/small-arithmetic/held_out --problems 32",
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="of a set's results")
    parser.add_argument(
        "--problems",
        type=int,
        required=True,
        metavar="N",
        help="problems to calibrate on, the first of the set; the others are tried",
    )
    parser.add_argument(
        "--alpha",
        type=float,
        default=0.1,
        metavar="SHARE",
        help="sets that may lack a correct candidate (default: %(default)s)",
    )


def run(options: argparse.Namespace) -> int:
    from rlent.launch.calibrate import calibrate

    return calibrate(options.folder, problems=options.problems, alpha=options.alpha)
