"""``rlent compare``."""

import argparse
from pathlib import Path

from rlent.launch.arguments import Commands, command


def add(commands: Commands) -> None:
    parser = command(
        commands,
        "compare",
        run,
        "train recipes with several seeds each, and compare them",
        "Runs `rlent train` for every recipe and seed that is not there yet, and writes comparison.md, .csv and .png: "
        "final score and area under the curve with 95% intervals over seeds, paired tests against the first recipe "
        "(t test and exact sign flips), entropy, lengths, time and tokens. Ctrl-C lets each run write a checkpoint; "
        "the same command goes on from there. For example: "
        "rlent compare recipes/beyond_80_20/small.yaml recipes/ce_gppo/small.yaml --seeds 3 --jobs 2",
    )
    parser.add_argument(
        "words",
        nargs="+",
        metavar="RECIPE|KEY=VALUE",
        help="recipe files, the first is what the others are compared with; and values replaced in all of them",
    )
    parser.add_argument(
        "--seeds", type=int, default=3, metavar="K", help="seeds 1 to K (default: %(default)s)"
    )
    parser.add_argument(
        "--score",
        metavar="METRIC",
        help="what is compared (default: held_out/score, or reward where problems are not held out)",
    )
    parser.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="runs at a time (default: %(default)s)"
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("runs/compare"),
        metavar="DIR",
        help="folder of runs and results; what it holds is not run again (default: %(default)s)",
    )
    parser.set_defaults(overrides=[])


def run(options: argparse.Namespace) -> int:
    from rlent.launch.compare import Comparison, compare

    words = [*options.words, *options.overrides]
    return compare(
        Comparison(
            recipes=[Path(word) for word in words if "=" not in word],
            overrides=[word for word in words if "=" in word],
            seeds=options.seeds,
            score=options.score,
            jobs=options.jobs,
            output=options.output,
        )
    )
