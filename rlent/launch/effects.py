"""What ``rlent replay`` and ``rlent inspect`` share: the recipe's setting, and a run's folder without a run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rlent.config import Recipe, dump_recipe
from rlent.effects import Setting
from rlent.errors import ConfigError
from rlent.interventions import Chain
from rlent.launch.run_folder import METRICS_FILE, RECIPE_FILE, ROLLOUTS_FOLDER
from rlent.tracking import MetricsFile, write_batch
from rlent.trainer.losses import objective_of, ratio_bounds
from rlent.trainer.options import loss_settings, option, written_options

_SCALES = {"group": "group", "True": "group", "batch": "batch", "none": "none", "False": "none"}


def listed(entries: Sequence[str]) -> str:
    """The override of a recipe that ``--interventions`` stands for."""
    return f"interventions=[{', '.join(entries)}]"


def setting_of(recipe: Recipe) -> Setting:
    """What the recipe says of advantages and of the loss.

    Raises:
        ConfigError: it sums rewards after it has normalised them, which is not known here.
    """
    aggregation = option(recipe, "multi_objective_aggregation")
    if aggregation != "sum_then_normalize":
        raise ConfigError(
            "advantages are only known here for rewards that are summed first",
            key="trainer.multi_objective_aggregation",
            expected="sum_then_normalize",
            given=aggregation,
        )
    args = loss_settings(written_options(recipe))
    scale: Any = _SCALES[str(option(recipe, "scale_rewards"))]
    return Setting(
        objective=objective_of(args),
        scale=scale,
        bounds=ratio_bounds(args),
        max_length=option(recipe, "max_completion_length"),
    )


def name_of(links: Chain) -> str:
    """The names of a chain's interventions."""
    return "+".join(link.config.name for link in links.links) or "nothing"


def folder_for(output: Path | None, default: Path) -> Path:
    """The folder to make: the one that was asked for, or ``default`` with a number that no other has.

    Raises:
        ConfigError: the one that was asked for exists.
    """
    if output is None:
        return _free(default)
    if output.exists():
        raise ConfigError(
            "there is something already", key="--output", given=str(output), remedy="name another"
        )
    return output


def _free(wanted: Path) -> Path:
    folder, number = wanted, 1
    while folder.exists():
        number += 1
        folder = wanted.with_name(f"{wanted.name}-{number}")
    return folder


class EffectFolder:
    """A folder in the layout of a run, which ``rlent report`` and ``rlent plot`` read."""

    def __init__(self, folder: Path, recipe: Recipe) -> None:
        folder.mkdir(parents=True)
        (folder / RECIPE_FILE).write_text(dump_recipe(recipe), encoding="utf-8")
        self.path = folder
        self._metrics = MetricsFile(folder / METRICS_FILE)
        self._last = (-1, 0)

    def add(self, rows: Sequence[dict[str, Any]], metrics: dict[str, float]) -> None:
        """A generation batch. Its metrics have the number of the update that follows, as in training."""
        step, (last, batch) = rows[0]["step"], self._last
        self._last = (step, batch + 1 if step == last else 0)
        write_batch(self.path / ROLLOUTS_FOLDER, rows, self._last[1])
        self._metrics.write(step + 1, metrics)
