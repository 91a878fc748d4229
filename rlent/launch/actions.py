"""What each command of ``rlent`` does with its arguments; returns the exit status.

The commands import what they use themselves: ``rlent --help`` and a typo in a recipe must answer at once.
"""

import argparse
import os
from pathlib import Path


def train(options: argparse.Namespace) -> int:
    from rlent.config import load_recipe

    recipe = load_recipe(options.recipe, options.overrides)
    from rlent.launch.train import train

    return train(recipe, resume=options.resume)


def launch(options: argparse.Namespace) -> int:
    from rlent.config import load_recipe
    from rlent.launch.launcher import Launch, command_of, run

    recipe = load_recipe(options.recipe, options.overrides)
    launch = Launch(
        train=[
            str(options.recipe),
            *options.overrides,
            *(["--resume"] if options.resume else []),
        ],
        written=options.command_line,
        name=recipe.name,
        nodes=options.nodes,
        processes_per_node=options.processes_per_node,
        head=options.head,
        max_restarts=options.max_restarts,
    )
    command = command_of(launch, os.environ)
    if options.dry_run:
        print(command)
        return 0
    run(command)
    return 0


def merge(options: argparse.Namespace) -> int:
    from rlent.launch.merge import merge

    return merge(options.folder, options.output)


def check(options: argparse.Namespace) -> int:
    from rlent.config import dump_recipe, load_recipe

    recipe = load_recipe(options.recipe, options.overrides)
    from rlent.launch.loss_run import prepare_loss
    from rlent.launch.prepare import prepare
    from rlent.launch.run_folder import new_run_folder
    from rlent.launch.show import show_deepspeed, show_plan

    folder = new_run_folder(recipe)
    prepared = (prepare if recipe.loss is None else prepare_loss)(recipe, folder)
    show_plan(prepared, folder)
    show_deepspeed(prepared)
    if options.resolved:
        print(f"\n{dump_recipe(recipe)}", end="")
    return 0


def eval(options: argparse.Namespace) -> int:
    from rlent.config import load_recipe

    samples = [] if options.samples is None else [f"evaluation.samples={options.samples}"]
    recipe = load_recipe(options.recipe, [*options.overrides, *samples])
    from rlent.launch.evaluate import evaluate

    return evaluate(
        recipe, checkpoint=options.checkpoint, output=options.output, names=options.sets
    )


def select(options: argparse.Namespace) -> int:
    from rlent.launch.select import select

    return select(options.folder, options.top, options.output)


def cold_start(options: argparse.Namespace) -> int:
    from rlent.launch.cold_start import cold_start

    return cold_start(
        options.file,
        options.output,
        rates=options.rates,
        hardest=options.hardest,
        easiest=options.easiest,
    )


def next_tokens(options: argparse.Namespace) -> int:
    from rlent.data.next_tokens import Curriculum
    from rlent.errors import ConfigError
    from rlent.launch.next_tokens import next_tokens

    try:
        curriculum = Curriculum(
            budget=options.budget, least_budget=options.least_budget, decay=options.decay
        )
    except ValueError as error:
        raise ConfigError(str(error), where="command line") from error
    return next_tokens(
        options.file,
        options.output,
        curriculum,
        model=options.model,
        column=options.column,
        window=options.window,
        steps=options.steps,
        prompts=options.prompts,
        seed=options.seed,
    )


def data(options: argparse.Namespace) -> int:
    from rlent.config import load_recipe

    recipe = load_recipe(options.recipe, options.overrides)
    from rlent.launch.data_page import show_data

    return show_data(recipe, rows=options.rows)


def interventions(options: argparse.Namespace) -> int:
    if options.markdown:
        from rlent.launch.interventions_page import page

        print(page(), end="")
        return 0
    from rlent.launch.interventions_table import print_table

    print_table()
    return 0


def conformance(options: argparse.Namespace) -> int:
    from rlent.conformance import run_conformance

    return run_conformance(options.folder)


def report(options: argparse.Namespace) -> int:
    from rlent.launch.report import report

    return report(options.runs, options.output, options.completions)


def plot(options: argparse.Namespace) -> int:
    from rlent.launch.report import plot

    return plot(options.runs, options.output)


def calibrate(options: argparse.Namespace) -> int:
    from rlent.launch.calibrate import calibrate

    return calibrate(options.folder, problems=options.problems, alpha=options.alpha)


def difficulty(options: argparse.Namespace) -> int:
    from rlent.evaluation.difficulty import DifficultyThresholds
    from rlent.launch.difficulty import difficulty

    thresholds = DifficultyThresholds(alpha=options.alpha, beta=options.beta, gamma=options.gamma)
    return difficulty(options.folder, thresholds, options.output, probe=options.probe)


def replay(options: argparse.Namespace) -> int:
    from rlent.launch.replay import replay

    return replay(options.run_folder, options.interventions, options.overrides, options.output)


def inspect(options: argparse.Namespace) -> int:
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


def compare(options: argparse.Namespace) -> int:
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
