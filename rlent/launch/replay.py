"""``rlent replay``: what other interventions would have done to the rollouts of a run, without a model."""

from collections.abc import Sequence
from pathlib import Path

from rlent.config import Recipe, load_recipe
from rlent.effects import (
    Setting,
    Tally,
    apply_chain,
    batch_of,
    changed_rows,
    check_without_training,
    effect_metrics,
    sampled_entropy_effect,
    tally_table,
)
from rlent.errors import ConfigError
from rlent.interventions import Chain, chain
from rlent.launch.effects import EffectFolder, folder_for, listed, name_of, setting_of
from rlent.launch.report import PAGE_FILE, run_files
from rlent.launch.show import say
from rlent.report.page import write_page
from rlent.report.runs import RunFiles
from rlent.tracking import read_batches

FOLDER = "replays"
"""In the run's folder, unless another place is asked for."""


def replay(run: Path, entries: Sequence[str], overrides: Sequence[str], output: Path | None) -> int:
    """Apply interventions to a run's rollouts; returns the exit status.

    Raises:
        ConfigError: no run or no rollouts, or an intervention that needs what was not saved; nothing is written then.
    """
    (files,) = run_files([run])
    if not files.recipe.is_file():
        raise ConfigError(
            "the run has no recipe, which says what its rewards weigh", expected=str(files.recipe)
        )
    recipe = load_recipe(files.recipe, [*overrides, listed(entries)])
    with recipe.source.locating():
        links = chain(recipe.interventions)
        check_without_training(links)
        setting = setting_of(recipe)
    if not any(files.rollouts.glob("*.parquet")):
        raise ConfigError(
            "the run has saved no rollouts",
            expected=f"{files.rollouts}/*.parquet",
            remedy="train with tracking.rollouts: true",
        )
    folder = EffectFolder(folder_for(output, run / FOLDER / name_of(links)), recipe)
    tallies = _replayed(files, recipe, links, setting, folder)
    page = folder.path / PAGE_FILE
    write_page(run_files([folder.path]), page)
    say(f"{tally_table(tallies)}\n")
    say(f"replay  {folder.path}\nreport  {page}")
    return 0


def _replayed(
    files: RunFiles, recipe: Recipe, links: Chain, setting: Setting, folder: EffectFolder
) -> dict[str, Tally]:
    plain = chain([])
    weights = {reward.name: reward.weight for reward in recipe.rewards}
    tallies = {"as recorded": Tally(), "plain GRPO": Tally(), name_of(links): Tally()}
    recorded, without, with_links = tallies.values()
    for rows in read_batches(files.rollouts):
        rollouts = batch_of(rows, weights)
        assert rollouts.old_entropy is not None
        recorded.add(rows, rows)
        for each, tally in ((plain, without), (links, with_links)):
            effect = apply_chain(each, rollouts, rollouts.old_entropy, setting)
            entropy_effect = sampled_entropy_effect(effect)
            changed = changed_rows(rows, effect, entropy_effect)
            tally.add(changed, rows)
            if each is links:
                folder.add(changed, effect_metrics(effect, entropy_effect))
    return tallies
