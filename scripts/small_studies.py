"""The claims of the methods, tried on the small task: every configuration with several seeds, two at a time.

    python scripts/small_studies.py OUT [STUDY ...] [--seeds 1 2 3]

Each run is `rlent train RECIPE OVERRIDES trainer.seed=S` on one CPU core, and stays in OUT. What is there already is
not run again. Prints a table and draws OUT/<study>.png: means over seeds, with their range.
"""

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from rlent.report.studies import Curve, draw_study, print_study, read_curve
from scripts.rlent_command import rlent

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Study:
    """Configurations that are compared, as (recipe, overrides), and the metrics that are looked at."""

    runs: dict[str, tuple[str, tuple[str, ...]]]
    metrics: tuple[str, ...]


FORKING = "beyond_80_20/small"
FEWER = ("interventions.forking_tokens.keep=lowest", "interventions.forking_tokens.fraction=0.8")
REPEATED = ("trainer.steps_per_generation=1", "trainer.num_iterations=4")
TWICE = ("trainer.steps_per_generation=2", "trainer.num_iterations=2", "trainer.max_steps=200")
RELATIVE = "interventions.entropy_band={edges: quantile, weight_low: 0.3, weight_high: 0.3}"

STUDIES = {
    "forking": Study(
        runs={
            "all tokens": (FORKING, ("interventions=[]",)),
            "highest 20%": (FORKING, ()),
            "lowest 80%": (FORKING, FEWER),
        },
        metrics=("held_out/score", "reward", "entropy"),
    ),
    "clipping": Study(
        runs={
            "clipped": ("ce_gppo/small", ("interventions=[]",)),
            "CE-GPPO": ("ce_gppo/small", ()),
            "GPPO": ("ce_gppo/small", ("interventions.clip_preserve.keep_low=1.0",)),
        },
        metrics=("held_out/score", "entropy", "clip_ratio/region_mean"),
    ),
    "clipping_twice": Study(
        runs={
            "clipped": ("ce_gppo/small", ("interventions=[]", *TWICE)),
            "CE-GPPO": ("ce_gppo/small", TWICE),
        },
        metrics=("held_out/score", "entropy", "clip_ratio/region_mean"),
    ),
    "clipping_repeated": Study(
        runs={
            "clipped": ("ce_gppo/small", ("interventions=[]", *REPEATED)),
            "CE-GPPO": ("ce_gppo/small", REPEATED),
            "GPPO": ("ce_gppo/small", ("interventions.clip_preserve.keep_low=1.0", *REPEATED)),
        },
        metrics=("held_out/score", "entropy", "clip_ratio/region_mean"),
    ),
    "band": Study(
        runs={
            "vote": (
                "spine/small",
                (
                    "interventions.entropy_band.weight_low=0",
                    "interventions.entropy_band.weight_high=0",
                ),
            ),
            "vote, all tokens": ("spine/small_ttrl", ()),
            "vote, band in nats": ("spine/small", ()),
            "vote, quantile band": ("spine/small", (RELATIVE,)),
        },
        metrics=("held_out/score", "forking_tokens/entropy_kept", "entropy"),
    ),
    "weighted": Study(
        runs={
            "GRPO": ("gtpo/small", ("interventions=[dynamic_sampling: {zero_variance: drop}]",)),
            "GTPO": ("gtpo/small", ()),
            "GRPO-S": ("gtpo/small_grpo_s", ()),
        },
        metrics=(
            "held_out/score",
            "entropy",
            "entropy_weighted_reward/advantage_correct_high_entropy",
            "entropy_weighted_reward/advantage_correct_low_entropy",
        ),
    ),
}


def folder_of(out: Path, study: str, configuration: str, seed: int) -> Path:
    return out / f"{study}.{configuration.replace(' ', '_').replace(',', '')}.{seed}"


def run(folder: Path, recipe: str, overrides: tuple[str, ...], seed: int) -> None:
    if (folder / "curves.png").exists():
        return
    path = str(ROOT / "recipes" / f"{recipe}.yaml")
    own = (f"trainer.seed={seed}", f"output_dir={folder.parent}", f"name={folder.name}")
    rlent(folder.parent / f"{folder.name}.log", "train", path, *overrides, *own)


def curves(out: Path, study: str, seeds: list[int]) -> dict[str, dict[str, list[Curve]]]:
    """Metric -> configuration -> a curve per seed."""
    chosen = STUDIES[study]
    return {
        metric: {
            name: [read_curve(folder_of(out, study, name, seed), metric) for seed in seeds]
            for name in chosen.runs
        }
        for metric in chosen.metrics
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("out", type=Path)
    parser.add_argument("studies", nargs="*", metavar="STUDY", help=", ".join(STUDIES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    options = parser.parse_args()
    names = options.studies or list(STUDIES)
    options.out.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(2) as pool:
        for job in [
            pool.submit(run, folder_of(options.out, study, name, seed), *arguments, seed)
            for study in names
            for name, arguments in STUDIES[study].runs.items()
            for seed in options.seeds
        ]:
            job.result()
    for study in names:
        measured = curves(options.out, study, options.seeds)
        print(f"\n{study}")
        print_study(measured)
        draw_study(measured, options.out / f"{study}.png")


if __name__ == "__main__":
    main()
