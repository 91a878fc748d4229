"""A Weights & Biases run for a recipe."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rlent.config import Recipe, Wandb

RUN_ID_FILE = "wandb-run-id"
"""In the run's folder: a resumed run goes on in the same run of Weights & Biases."""


def start_wandb(section: "Wandb", recipe: "Recipe", folder: Path) -> str:
    """Start the run that the trainer logs to, and return its mode.

    Without a mode in the recipe or in ``WANDB_MODE``, a machine that has no API key logs offline, into the run's
    folder, from where ``wandb sync`` uploads it.
    """
    import wandb

    mode: Any = section.mode or os.environ.get("WANDB_MODE")
    if mode is None:
        mode = "online" if wandb.api.api_key else "offline"
    known = folder / RUN_ID_FILE
    run = wandb.init(
        id=known.read_text(encoding="utf-8") if known.exists() else None,
        resume="allow",
        project=section.project,
        name=section.name or recipe.name,
        entity=section.entity,
        group=section.group,
        tags=section.tags,
        mode=mode,
        dir=str(folder),
        config={"recipe": {k: v for k, v in asdict(recipe).items() if k != "source"}},
    )
    known.write_text(run.id, encoding="utf-8")
    return mode
