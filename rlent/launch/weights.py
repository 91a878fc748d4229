"""What ``rlent eval --checkpoint`` names: a checkpoint, a run, or a model."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlent.checkpoints import newest_whole
from rlent.config import Recipe
from rlent.data import resolve_model
from rlent.errors import ConfigError
from rlent.launch.run_folder import MODEL_FOLDER, RECIPE_FILE
from rlent.launch.show import say

OPTION = "--checkpoint"
ADAPTER_FILE = "adapter_config.json"
_WEIGHTS = (".safetensors", ".bin")


@dataclass(frozen=True, kw_only=True, slots=True)
class Weights:
    """A model that can be loaded."""

    path: str
    """Folder or hub name."""
    revision: str | None
    label: str
    """A short name for a folder."""
    run: Path | None = None
    """The run that trained them, if they lie in its folder."""

    @property
    def base(self) -> str:
        """Where the model's configuration is: for an adapter, that of the model below it."""
        if not (Path(self.path) / ADAPTER_FILE).is_file():
            return self.path
        from peft import PeftConfig

        return str(PeftConfig.from_pretrained(self.path).base_model_name_or_path)

    @property
    def identity(self) -> list[Any]:
        """What tells these weights from others: files with size and time of change, or the commit on the hub.

        Of an adapter, the name of the model below it as well.
        """
        folder = Path(self.path)
        if not folder.is_dir():
            return [self.path, hub_commit(self.path, self.revision)]
        files = sorted(path for path in folder.iterdir() if path.suffix in _WEIGHTS)
        found = [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in files]
        return found if self.base == self.path else [*found, self.base]


def hub_commit(model: str, revision: str | None) -> str | None:
    """Commit of a model on the hub; None for a folder of one's own."""
    from transformers.utils import hub

    return hub.extract_commit_hash(hub.cached_file(model, "config.json", revision=revision), None)


def find_weights(recipe: Recipe, checkpoint: str | None) -> Weights:
    """The weights that ``checkpoint`` names, or the recipe's own model where it names none.

    A run folder stands for its trained model, or for its newest checkpoint as long as there is none.

    Raises:
        ConfigError: no such folder or model, or a folder without weights.
    """
    if checkpoint is None:
        name, revision = recipe.model.name, recipe.model.revision
        path = resolve_model(name, revision=revision)
        return Weights(path=path, revision=revision, label=Path(name).name)
    folder = Path(checkpoint).expanduser()
    if not folder.is_dir():
        return _named_model(checkpoint)
    found = folder_with_model(folder, key=OPTION)
    run = found.parent if (found.parent / RECIPE_FILE).is_file() else None
    label = found.resolve().name if run is None else f"{run.resolve().name}-{found.name}"
    return Weights(path=str(found), revision=None, label=label, run=run)


def _named_model(name: str) -> Weights:
    try:
        return Weights(path=resolve_model(name), revision=None, label=Path(name).name)
    except ConfigError as error:
        error.key, error.where = OPTION, "command line"
        raise


def _holds_model(folder: Path) -> bool:
    return (folder / "config.json").is_file() or (folder / ADAPTER_FILE).is_file()


def folder_with_model(folder: Path, *, key: str) -> Path:
    """``folder`` itself, the trained model of a run, or its newest checkpoint.

    Raises:
        ConfigError: none of these is there; ``key`` is what named the folder on the command line.
    """
    if _holds_model(folder):
        return folder
    model = folder / MODEL_FOLDER
    found = model if _holds_model(model) else newest_whole(folder, say)
    if found is None:
        raise ConfigError(
            f"the folder '{folder}' holds no model and no checkpoint",
            key=key,
            expected="a run folder, a checkpoint in it, or a model",
            where="command line",
        )
    return found
