"""``rlent merge``: an adapter and the model below it become one model."""

from pathlib import Path

from rlent.errors import ConfigError
from rlent.launch.show import say
from rlent.launch.weights import ADAPTER_FILE, folder_with_model

MERGED_FOLDER = "merged"


def merge(folder: Path, output: Path | None) -> int:
    """Write the merged model of a run, a checkpoint or an adapter folder; returns the exit status.

    Raises:
        ConfigError: the folder holds no adapter, or the output exists.
    """
    adapter = folder_with_model(folder, key="RUN")
    if not (adapter / ADAPTER_FILE).is_file():
        raise ConfigError(
            f"'{adapter}' holds no adapter",
            key="RUN",
            expected=f"a folder with {ADAPTER_FILE}, or a run that has trained one",
            remedy="nothing has to be merged where all weights were trained: use that folder",
        )
    target = output or folder / MERGED_FOLDER
    if target.exists():
        raise ConfigError(
            "exists already", key="--output", given=str(target), remedy="name another folder"
        )
    # Importing peft and transformers takes seconds.
    from peft import AutoPeftModelForCausalLM
    from transformers import AutoTokenizer

    model = AutoPeftModelForCausalLM.from_pretrained(adapter, dtype="auto").merge_and_unload()
    model.save_pretrained(target)
    AutoTokenizer.from_pretrained(adapter).save_pretrained(target)
    say(f"merged model   {target}")
    return 0
