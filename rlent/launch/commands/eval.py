"""``rlent eval``."""

import argparse

from rlent.launch.arguments import Commands, command, recipe_arguments


def add(commands: Commands) -> None:
    parser = command(
        commands,
        "eval",
        run,
        "evaluate a checkpoint on the sets of a recipe",
        "Answers the held-out problems of the recipe and every set of evaluation.sets: greedily for pass@1, and with "
        "evaluation.samples=K also K drawn times for avg@K, pass@k and maj@K. Prints each number with a 95% interval "
        "over problems, and writes summary.json, problems.parquet and every completion as Parquet. An evaluation that "
        "was stopped or killed goes on where it was when the same command is given again. Several processes share the "
        "work: torchrun --nproc-per-node=2 -m rlent eval ... "
        "For example: rlent eval recipes/quickstart.yaml --checkpoint runs/quickstart --samples 8",
    )
    recipe_arguments(parser)
    parser.add_argument(
        "--checkpoint",
        metavar="C",
        help="a checkpoint folder (runs/NAME/checkpoint-20), a run folder (its model, or its newest checkpoint while "
        "there is none), or a model by folder or name; by default the model that the recipe starts from",
    )
    parser.add_argument(
        "--output",
        metavar="DIR",
        help="folder of the results (default: OUTPUT_DIR/evaluations/NAME/CHECKPOINT)",
    )
    parser.add_argument(
        "--samples",
        type=int,
        metavar="K",
        help="short for evaluation.samples=K; sets that say their own number keep it",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME",
        dest="sets",
        help="evaluate this set alone (held_out, or a key of evaluation.sets); can be given several times",
    )


def run(options: argparse.Namespace) -> int:
    from rlent.config import load_recipe

    samples = [] if options.samples is None else [f"evaluation.samples={options.samples}"]
    recipe = load_recipe(options.recipe, [*options.overrides, *samples])
    from rlent.launch.evaluate import evaluate

    return evaluate(
        recipe, checkpoint=options.checkpoint, output=options.output, names=options.sets
    )
