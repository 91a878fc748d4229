"""``rlent difficulty``."""

import argparse
from pathlib import Path

from rlent.launch.arguments import Commands, command


def add(commands: Commands) -> None:
    parser = command(
        commands,
        "difficulty",
        run,
        "label the problems of an evaluated set as easy, normal or hard, by accuracy and entropy",
        "A problem is normal if its drawn completions' accuracy is at least ALPHA and their tokens' mean entropy at "
        "most BETA, else hard if the accuracy is below GAMMA, else easy (DiffAdapt, arXiv 2510.19669). Writes each "
        "problem with its label and the label's temperature and token limit, and prints which share of the tokens "
        "those limits would keep. The paper's thresholds could not be verified, so there are no defaults. For "
        "example: rlent difficulty runs/evaluations/grpo/small-arithmetic/held_out --alpha 0.5 --beta 0.35 "
        "--gamma 0.25 -o rows.jsonl",
    )
    parser.add_argument(
        "folder",
        type=Path,
        metavar="DIR",
        help="folder of one set that `rlent eval --samples K` has written",
    )
    parser.add_argument(
        "--alpha", type=float, required=True, metavar="A", help="least accuracy of normal problems"
    )
    parser.add_argument(
        "--beta",
        type=float,
        required=True,
        metavar="B",
        help="highest mean entropy of normal problems, in nats",
    )
    parser.add_argument(
        "--gamma",
        type=float,
        required=True,
        metavar="C",
        help="accuracy below which problems that are not normal are hard",
    )
    parser.add_argument(
        "--probe",
        metavar="MODEL",
        help="try to predict the labels from this model's hidden states of the prompts: fitted on the first half of "
        "the problems, tried on the other",
    )
    parser.add_argument(
        "--save-probe",
        type=Path,
        metavar="DIR",
        help="write the probe of --probe, fitted on all problems, for evaluation.difficulty of `rlent eval`",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE.jsonl")


def run(options: argparse.Namespace) -> int:
    from rlent.evaluation.difficulty import DifficultyThresholds
    from rlent.launch.difficulty import difficulty

    thresholds = DifficultyThresholds(alpha=options.alpha, beta=options.beta, gamma=options.gamma)
    return difficulty(
        options.folder,
        thresholds,
        options.output,
        probe=options.probe,
        save_probe=options.save_probe,
    )
