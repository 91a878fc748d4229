"""``rlent replay``."""

import argparse
from pathlib import Path

from rlent.launch.arguments import Commands, command, interventions_argument, override_argument


def add(commands: Commands) -> None:
    parser = command(
        commands,
        "replay",
        run,
        "what other interventions would have done to a run's rollouts, without a model",
        "Reads the rollouts that a run has saved, and applies the interventions to them as the trainer would at the "
        "first update on each. Prints a table: tokens selected, their entropy and weight, completions that something "
        "is learnt from, and the first-order change of entropy, as recorded, under plain GRPO, and under these "
        "interventions. Writes RUN/replays/NAME with the rollouts, the metrics of every step and report.html. What "
        "needs more than was saved, such as a reference policy or a second update, is refused by name. For example: "
        'rlent replay runs/quickstart --interventions "forking_tokens: {fraction: 0.1}" dynamic_sampling',
    )
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="folder of a run")
    override_argument(parser)
    interventions_argument(parser, required=True)
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="DIR",
        help="a folder to make (default: RUN/replays/NAME)",
    )


def run(options: argparse.Namespace) -> int:
    from rlent.launch.replay import replay

    return replay(options.run_folder, options.interventions, options.overrides, options.output)
