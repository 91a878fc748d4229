"""``rlent report``."""

import argparse

from rlent.launch.arguments import Commands, command, run_arguments


def add(commands: Commands) -> None:
    parser = command(
        commands,
        "report",
        run,
        "see what entropy did: a run as one HTML page",
        "Writes one file that opens in any browser, from disk, without a network: curves with their spread over seeds, "
        "the entropy of kept, dropped, correct and wrong tokens over training, every completion with each token shaded "
        "by its entropy, forking tokens of the first and the last steps, rewards, lengths, time. Runs that differ in "
        "their seed alone are drawn as one line with a band: rlent report runs/seed1 runs/seed2 -o seeds.html",
    )
    run_arguments(parser, "report.html in the run's folder, or here for several runs")
    parser.add_argument(
        "--completions",
        type=int,
        default=10_000,
        metavar="N",
        help="completions the page holds; of more, whole groups are taken evenly over the run (default: %(default)s)",
    )


def run(options: argparse.Namespace) -> int:
    from rlent.launch.report import report

    return report(options.runs, options.output, options.completions)
