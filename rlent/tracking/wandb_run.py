"""A Weights & Biases run for a recipe."""

import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlent.errors import ConfigError

if TYPE_CHECKING:
    from rlent.config import Recipe

RUN_ID_FILE = "wandb-run-id"
"""In the run's folder: a resumed run goes on in the same run of Weights & Biases."""


def start_wandb(recipe: "Recipe", folder: Path, environment: Mapping[str, Any]) -> str:
    """Start the run that the trainer logs to, and return its mode.

    Without a mode in the recipe or in ``WANDB_MODE``, a machine that has no API key logs offline, into the run's
    folder, from where ``wandb sync`` uploads it.

    Args:
        environment: the code's version and the packages', for the run's configuration.

    Raises:
        ConfigError: it cannot be started.
    """
    import wandb
    from wandb.errors import Error

    section = recipe.tracking.wandb
    assert section is not None
    mode: Any = section.mode or os.environ.get("WANDB_MODE")
    if mode is None:
        mode = "online" if wandb.api.api_key else "offline"
    known = folder / RUN_ID_FILE
    described = {name: value for name, value in asdict(recipe).items() if name != "source"}
    try:
        run = wandb.init(
            id=known.read_text(encoding="utf-8") if known.exists() else None,
            resume="allow",
            project=section.project,
            name=section.name or recipe.name,
            entity=section.entity,
            group=section.group,
            tags=section.tags,
            mode=mode,
            # W&B's writer is a process of its own that stays in the directory where it was first started.
            dir=str(folder.resolve()),
            config={"recipe": described, "environment": dict(environment)},
        )
    except Error as error:
        raise ConfigError(
            f"Weights & Biases cannot be started: {error}",
            key="tracking.wandb",
            remedy="set tracking.wandb.mode to offline and upload later with wandb sync, or remove the section",
        ) from error
    known.write_text(run.id, encoding="utf-8")
    return mode
