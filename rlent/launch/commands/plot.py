"""``rlent plot``."""

import argparse

from rlent.launch.arguments import Commands, command, run_arguments


def add(commands: Commands) -> None:
    parser = command(
        commands,
        "plot",
        run,
        "draw the figures of a run as PNG and PDF",
        "Curves with their spread over seeds, and for every run the distribution of entropy over training, the entropy "
        "of each position, and the forking tokens of the first and the last steps. The style is for paper; use it for "
        'your own figures with matplotlib.style.use("rlent.report.print").',
    )
    run_arguments(parser, "the folder plots in the run's folder, or here for several runs")


def run(options: argparse.Namespace) -> int:
    from rlent.launch.report import plot

    return plot(options.runs, options.output)
