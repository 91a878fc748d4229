"""Which models the engine can sample from, and the state that they are in meanwhile."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from rlent.errors import ConfigError

_ARGUMENTS = frozenset(
    {"input_ids", "attention_mask", "position_ids", "past_key_values", "logits_to_keep"}
)
"""What the engine passes, and what a decoder with keys and values per token takes."""
_KEY_VALUE_LAYERS = (DynamicLayer, DynamicSlidingWindowLayer)


def check_model(model: Any) -> None:
    """Raise ConfigError unless the model's whole state is the keys and values of every token in every layer.

    Refused are encoder-decoders, models of text and something else, state-space, hybrid, linear-attention and
    indexed-attention models, models whose layers share keys and values, decoders that take no positions (Bloom, MPT),
    and adapters that put virtual tokens before the prompt.
    """
    if reason := _why_not(model):
        base = _base(model)
        raise ConfigError(
            f"{type(base).__name__} ({base.config.model_type}) {reason}",
            key="rollout.engine",
            expected="a decoder whose state is one key and one value per token and layer",
            remedy="rollout.engine: transformers",
        )


def check_filled(model: Any, columns_per_layer: list[int], width: int) -> None:
    """Raise ConfigError if a layer of the model did not write its keys and values in the prefill."""
    missing = [number for number, columns in enumerate(columns_per_layer) if columns != width]
    if missing:
        raise ConfigError(
            f"{type(_base(model)).__name__} keeps no keys and values in layers {missing}",
            key="rollout.engine",
            remedy="rollout.engine: transformers",
        )


def layer_count(model: Any) -> int:
    return _base(model).config.num_hidden_layers


@contextmanager
def generating(model: Any) -> Iterator[None]:
    """Evaluation mode without gradients; every module's own mode is restored.

    Evaluation mode turns dropout off, and gradient checkpointing, under which layers drop their cache. ``no_grad``
    rather than ``inference_mode``: whatever the model or autocast keep from here may meet a training step.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode


def _base(model: Any) -> Any:
    """The model inside a PEFT wrapper."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _why_not(model: Any) -> str | None:
    base = _base(model)
    config = base.config
    if config.is_encoder_decoder:
        return "is an encoder-decoder"
    if config.get_text_config() is not config:
        return "is not a model of text alone"
    if missing := _ARGUMENTS - set(inspect.signature(base.forward).parameters):
        return f"takes no {', '.join(sorted(missing))}"
    if getattr(base, "_is_stateful", False):
        return "has a recurrent state"
    layers = DynamicCache(config=config).layers
    others = {type(layer).__name__ for layer in layers if type(layer) not in _KEY_VALUE_LAYERS}
    if others:
        return f"has layers whose state is not one key and value per token ({', '.join(sorted(others))})"
    adapters = getattr(model, "peft_config", {}).values()
    if any(adapter.is_prompt_learning for adapter in adapters):
        return "has an adapter that puts virtual tokens before the prompt"
    return None
