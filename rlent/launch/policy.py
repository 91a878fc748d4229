"""A model as it is loaded to generate, without a trainer."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from rlent.config import Model
from rlent.launch.weights import Weights


def load_policy(weights: Weights, model: Model, device: torch.device) -> Any:
    """The model in the recipe's type and with its options, on a device."""
    from transformers import AutoModelForCausalLM

    loaded: Any = AutoModelForCausalLM.from_pretrained(
        weights.path, revision=weights.revision, dtype=model.dtype, **model.options
    )
    return loaded.to(device)


def end_tokens(model: Any, tokenizer: Any) -> tuple[int, ...]:
    """The tokens that end a completion, as in training: the tokenizer's, and those of the generation settings."""
    ends = model.generation_config.eos_token_id
    listed = [ends] if isinstance(ends, int) else ends or []
    return tuple(dict.fromkeys([tokenizer.eos_token_id, *listed]))


def arithmetic(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """A context in which products are computed in ``precision``."""
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, dtype=getattr(torch, precision))
