"""Further models that a loss compares with, and what is asked of any model but the policy."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from rlent.data import resolve_model
from rlent.errors import ConfigError
from rlent.losses import Transform
from rlent.sharding import gathered
from rlent.trainer.head import install_token_head, logit_transform
from rlent_kernels import FixedHead

ADAPTER_FILE = "adapter_config.json"


def teacher_path(name: str, key: str) -> str:
    """Folder or hub name of a model, or folder of an adapter. Raises ConfigError at ``key`` when there is none."""
    folder = Path(name).expanduser()
    if (folder / ADAPTER_FILE).is_file():
        return str(folder)
    try:
        return resolve_model(name)
    except ConfigError as error:
        error.key = key
        raise


def load_teacher(name: str, key: str, policy: Any, device: torch.device) -> Any:
    """A model, or a folder with an adapter on one, frozen, in the policy's type, with rlent's token head.

    Raises:
        ConfigError: no such model, or one whose vocabulary or treatment of logits is not the policy's.
    """
    model: Any = AutoModelForCausalLM.from_pretrained(teacher_path(name, key), dtype=policy.dtype)
    _check_fits(model, policy, name, key)
    model.requires_grad_(False).eval()
    install_token_head(model, temperature=1.0)
    return model.to(device)


def transform_of(model: Any) -> Transform:
    """What the model does to its logits, as the kernels take it."""
    scale, softcap = logit_transform(model)
    return {"temperature": 1.0, "logit_scale": scale, "softcap": softcap}


@torch.no_grad()
def fixed_head(model: Any, base: Any, inputs: dict[str, Tensor]) -> FixedHead:
    """Last hidden states ``[b t-1 d]`` of a model on tokens, with its head.

    Args:
        model: what is called, wrapped or not.
        base: the transformers model inside.
    """
    ignored = torch.full_like(inputs["input_ids"], -100)
    output = model(**inputs, labels=ignored, fused_lm_head=True, return_hidden=True)
    return head_of(base, output.hidden)


def head_of(base: Any, hidden: Tensor) -> FixedHead:
    """A model's head with the hidden states that it is applied to."""
    head = base.get_output_embeddings()
    bias = None if head.bias is None else gathered(head.bias)
    return FixedHead(hidden=hidden, weight=gathered(head.weight), bias=bias)


def _check_fits(model: Any, policy: Any, name: str, key: str) -> None:
    sizes = [len(each.get_output_embeddings().weight) for each in (model, policy)]
    if sizes[0] != sizes[1]:
        raise ConfigError(
            "the model has another vocabulary than the one that is trained",
            key=key,
            given=f"{name} with {sizes[0]} tokens",
            expected=f"{sizes[1]} tokens",
        )
    if logit_transform(model) != logit_transform(policy):
        raise ConfigError(
            "the model scales its logits in another way than the one that is trained",
            key=key,
            given=name,
        )
