"""From the model name of a recipe to something that `from_pretrained` loads."""

from pathlib import Path

from rlent.data.hub import ask_hub
from rlent.data.packaged import PACKAGED_MODELS, packaged_model
from rlent.data.paths import is_path_like, missing_path, neighbours
from rlent.data.small import MODEL, small_model
from rlent.errors import ConfigError

KEY = "model.name"
MADE_HERE = {**dict.fromkeys(PACKAGED_MODELS, packaged_model), MODEL: small_model}
"""Model that needs no hub -> what makes its folder in the cache."""
EXPECTED = "a folder with a model, a hub id, or one of: " + ", ".join(MADE_HERE)


def resolve_model(name: str, *, revision: str | None = None, cache_dir: Path | None = None) -> str:
    """Local folder or hub id of a model: name of one made here, else folder, else hub id.

    A packaged model is converted into `cache_dir` (default: `cache_root()`) at the first call, and
    the small one is trained into it. A hub id stays a hub id; without a network it becomes the
    folder of its snapshot in the Hugging Face cache. Raises ConfigError when none of them has the
    model, or has no such revision.
    """
    folder = Path(name).expanduser()
    if revision is not None and (name in MADE_HERE or folder.exists()):
        raise ConfigError(
            "only models of the hub have revisions", key="model.revision", given=revision
        )
    if make := MADE_HERE.get(name):
        return str(make(name, cache_dir))
    if folder.exists():
        return str(_model_folder(folder))
    if is_path_like(name):
        raise missing_path(name, KEY, expected=EXPECTED)
    answer = ask_hub("model", name, revision)
    if answer.status == "found":
        return name
    if answer.status == "unreachable" and (snapshot := _cached_snapshot(name, revision)):
        return str(snapshot)
    raise ConfigError(
        f"the model '{name}' was not found: no such folder, and {answer.reason}",
        key=KEY,
        expected=EXPECTED,
        given=name,
        choices=[*MADE_HERE, *neighbours(folder)],
    )


def _model_folder(folder: Path) -> Path:
    if not (folder / "config.json").is_file():
        raise ConfigError(
            f"'{folder}' holds no config.json",
            key=KEY,
            expected="a folder written by save_pretrained",
        )
    return folder


def _cached_snapshot(name: str, revision: str | None) -> Path | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(name, revision=revision, local_files_only=True))
    except LocalEntryNotFoundError:
        return None
    # A look at one file of a repository leaves a snapshot that holds no model.
    return folder if (folder / "config.json").is_file() else None
