"""``rlent inspect``."""

import argparse
from pathlib import Path

from rlent.launch.arguments import Commands, command, interventions_argument, override_argument


def add(commands: Commands) -> None:
    parser = command(
        commands,
        "inspect",
        run,
        "sample from a model, and see what interventions would do to it, without training",
        "Samples completions with rlent's own engine and scores them. Shows for plain GRPO, for each intervention "
        "alone and for all of them together which tokens would be selected and weighted, and the first-order effect on "
        "entropy: exact over the vocabulary, per unit of a step on the logits. Prints a table and writes "
        "inspections/MODEL/report.html. Further settings are those of a recipe: data.style=plain, "
        "trainer.temperature=0.7, trainer.num_generations=4. For example: "
        "rlent inspect runs/quickstart --prompts problems.jsonl --interventions forking_tokens steer",
    )
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="a packaged model, a folder, a hub name, a run or a checkpoint",
    )
    override_argument(parser)
    parser.add_argument(
        "--prompts",
        required=True,
        metavar="FILE",
        help="rows with a question, and an answer that the rewards read (.jsonl, .parquet, .csv), or anything else "
        "that data.name of a recipe can be",
    )
    interventions_argument(parser, required=False)
    parser.add_argument(
        "--rewards",
        nargs="+",
        default=["math_answer"],
        metavar="ENTRY",
        help="as in a recipe; advantages are made of them (default: math_answer)",
    )
    parser.add_argument(
        "--size", type=int, default=16, metavar="N", help="most prompts (default: %(default)s)"
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="DIR",
        help="a folder to make (default: inspections/MODEL)",
    )


def run(options: argparse.Namespace) -> int:
    from rlent.launch.inspect_model import Request, inspect_model

    return inspect_model(
        Request(
            model=options.model,
            prompts=options.prompts,
            interventions=options.interventions,
            rewards=options.rewards,
            size=options.size,
            overrides=options.overrides,
            output=options.output,
        )
    )
