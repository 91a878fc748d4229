"""The small models that are measured, the bytes of tensors, and a comparison of predicted and measured."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from scripts.scaling_model.shapes import Shape


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A predicted number beside the measured one."""

    what: str
    predicted: float
    measured: float

    @property
    def error(self) -> float:
        return abs(self.predicted - self.measured) / max(abs(self.measured), 1.0)


SMALL = Shape(
    name="Llama",
    layers=3,
    hidden=128,
    heads=4,
    kv_heads=2,
    head_dim=32,
    intermediate=320,
    vocabulary=4000,
    qk_norm=False,
)
SMALL_SHAPES = (
    SMALL,
    replace(SMALL, name="Qwen3", qk_norm=True),
    replace(SMALL, name="Qwen3-MoE", qk_norm=True, intermediate=64, experts=8, experts_per_token=2),
)


def small_model(shape: Shape) -> Any:
    """A transformers model of the shape, random weights."""
    import transformers

    options = {
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.hidden,
        "intermediate_size": shape.intermediate,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "tie_word_embeddings": False,
        "bos_token_id": None,
        "eos_token_id": 1,
        "pad_token_id": 0,
    }
    torch.manual_seed(0)
    if shape.experts:
        options |= {
            "moe_intermediate_size": shape.intermediate,
            "num_experts": shape.experts,
            "num_experts_per_tok": shape.experts_per_token,
        }
        return transformers.Qwen3MoeForCausalLM(transformers.Qwen3MoeConfig(**options))
    if shape.qk_norm:
        return transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**options))
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**options))


def bytes_of(tensors: Iterable[Tensor]) -> int:
    """Bytes of the storages of tensors, each once."""
    return sum(storages(tensors).values())


def storages(tensors: Iterable[Tensor]) -> dict[int, int]:
    held = [tensor.untyped_storage() for tensor in tensors]
    # Storages that are freed, or of the device meta, have a size and no address.
    return {storage.data_ptr(): storage.nbytes() for storage in held if storage.data_ptr()}
