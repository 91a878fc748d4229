"""Methods that learn from given answers or texts, on the small task beside GRPO: the same budget, several seeds.

    python scripts/first_wave_study.py OUT [--seeds 1 2 3]

Each method takes 100 optimiser steps on 64 answers each. What a method must train first is trained with the same seed.
Then `rlent eval` asks the 128 held-out problems of recipes/small/grpo.yaml, greedily and four times at temperature 1.
Prints accuracy (greedy), entropy of the drawn answers' tokens, and training time relative to GRPO's. Everything stays
in OUT, and what is there already is not run again.
"""

import argparse
import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parent.parent))

from rlent.report.statistics import estimate
from scripts.rlent_command import rlent

ROOT = Path(__file__).parent.parent
STEPS = "trainer.max_steps=100"
ANSWERS = (STEPS, "trainer.per_device_train_batch_size=64")
PAIRS = (STEPS, "trainer.per_device_train_batch_size=32")
CROSS_ENTROPY = "loss={diversity_or_precision: {beta: 0}}"


@dataclass(frozen=True)
class Method:
    """A recipe, what is replaced in it, and key -> method for the models that it takes from others."""

    recipe: str
    overrides: tuple[str, ...]
    models: tuple[tuple[str, str], ...] = ()


FIRST = {
    "right answers": Method("cdpo/small_positive", ANSWERS),
    "wrong answers": Method("cdpo/small_negative", ANSWERS),
    "reversed DPO": Method("align_distil/small_reverse", PAIRS),
}
"""What others need, and is in no table."""

METHODS = {
    "GRPO": Method("small/grpo", (*ANSWERS, "evaluation.every=100")),
    "cross-entropy": Method("diversity_or_precision/small", (*ANSWERS, CROSS_ENTROPY)),
    "Diversity or Precision": Method("diversity_or_precision/small", ANSWERS),
    "DPO": Method("align_distil/small_dpo", PAIRS),
    "TDPO1": Method("tdpo/small", (*PAIRS, "loss={tdpo: {variant: 1}}")),
    "TDPO2": Method("tdpo/small", PAIRS),
    "cDPO": Method(
        "cdpo/small",
        PAIRS,
        (("loss.cdpo.positive", "right answers"), ("loss.cdpo.negative", "wrong answers")),
    ),
    "AlignDistil": Method(
        "align_distil/small",
        ANSWERS,
        (
            ("loss.align_distil.dpo_model", "DPO"),
            ("loss.align_distil.reverse_model", "reversed DPO"),
        ),
    ),
    "RMT": Method("rmt/small", (*ANSWERS, "data.size=928", "evaluation.every=100")),
    "RMT without joint loss": Method(
        "rmt/small", (*ANSWERS, "data.size=928", "evaluation.every=100", "interventions=[]")
    ),
}


def folder_of(out: Path, name: str, seed: int) -> Path:
    return out / f"{name.lower().replace(' ', '_')}_{seed}"


def train(out: Path, name: str, seed: int) -> None:
    folder = folder_of(out, name, seed)
    if (folder / "curves.png").exists():
        return
    method = (FIRST | METHODS)[name]
    models = [f"{key}={folder_of(out, other, seed) / 'model'}" for key, other in method.models]
    recipe = ROOT / "recipes" / f"{method.recipe}.yaml"
    own = [f"trainer.seed={seed}", f"output_dir={out}", f"name={folder.name}"]
    rlent(folder.with_suffix(".log"), "train", str(recipe), *method.overrides, *models, *own)


def evaluate(out: Path, name: str, seed: int) -> None:
    """Ask a copy of the model: of a model in its run, that run's own held-out problems are asked for."""
    folder = folder_of(out, name, seed)
    results = folder / "evaluation"
    if (results / "summary.json").exists():
        return
    model = out / "models" / folder.name
    shutil.copytree(folder / "model", model, dirs_exist_ok=True)
    recipe = str(ROOT / "recipes" / "small" / "grpo.yaml")
    words = ["--checkpoint", str(model), "--samples", "4", "--output", str(results)]
    rlent(folder.with_suffix(".eval.log"), "eval", recipe, *words)


def seconds(folder: Path) -> float:
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return next(
        row["train_runtime"] for line in lines if "train_runtime" in (row := json.loads(line))
    )


def held_out(folder: Path) -> tuple[float, float]:
    """Greedy accuracy, and entropy of the drawn answers' tokens in nats."""
    summary = json.loads((folder / "evaluation" / "summary.json").read_text(encoding="utf-8"))
    return summary["held_out"]["metrics"]["pass@1"]["value"], summary["held_out"]["sampled"][
        "entropy"
    ]


def print_table(out: Path, seeds: list[int]) -> None:
    grpo = median(seconds(folder_of(out, "GRPO", seed)) for seed in seeds)
    print("| method | seeds | accuracy | entropy, nats | time |\n|---|---|---|---:|---:|")
    for name in METHODS:
        folders = [folder_of(out, name, seed) for seed in seeds]
        scores, entropies = zip(*map(held_out, folders), strict=True)
        each = " / ".join(f"{score:.3f}" for score in scores)
        score = estimate(scores)
        bounds = "" if score.low is None else f" [{score.low:.3f}, {score.high:.3f}]"
        print(
            f"| {name} | {each} | {score.mean:.3f}{bounds} | "
            f"{sum(entropies) / len(seeds):.3f} | {median(map(seconds, folders)) / grpo:.2f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    options = parser.parse_args()
    out = options.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    for seed in options.seeds:
        for name in [*FIRST, *METHODS]:
            train(out, name, seed)
        for name in METHODS:
            evaluate(out, name, seed)
    print_table(out, options.seeds)


if __name__ == "__main__":
    main()
