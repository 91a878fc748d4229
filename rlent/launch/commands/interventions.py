"""``rlent interventions``."""

import argparse

from rlent.launch.arguments import Commands, command


def add(commands: Commands) -> None:
    parser = command(
        commands,
        "interventions",
        run,
        "list the interventions, surrogates and losses a recipe can name",
        "Name, paper, stages, needs, and every option with its default.",
    )
    parser.add_argument(
        "--markdown",
        action="store_true",
        help="print the page docs/interventions.md: options explained, and which interventions compose",
    )


def run(options: argparse.Namespace) -> int:
    if options.markdown:
        from rlent.launch.interventions_page import page

        print(page(), end="")
        return 0
    from rlent.launch.interventions_table import print_table

    print_table()
    return 0
