"""Further models that a loss compares with, and what is asked of any model but the policy."""

from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, DistributedType
from torch import Tensor
from transformers import AutoModelForCausalLM
from trl.models.utils import prepare_deepspeed

from rlent.data import resolve_model
from rlent.errors import ConfigError
from rlent.losses import Transform
from rlent.sharding import gathered, release, whole_shape
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


def load_teacher(name: str, key: str, policy: Any, accelerator: Accelerator) -> Any:
    """A model, or a folder with an adapter on one, frozen, in the policy's type, with rlent's token head.

    Raises:
        ConfigError: no such model, one whose vocabulary or treatment of logits is not the policy's, or an adapter that
            these losses cannot read.
    """
    model = _load(teacher_path(name, key), policy.dtype)
    refuse_unfit_adapter(model, key)
    base = transformers_model(model)
    _check_fits(base, policy, name, key)
    model.requires_grad_(False).eval()
    install_token_head(base, temperature=1.0)
    if not _under_deepspeed(accelerator):
        return model.to(accelerator.device)
    # DeepSpeed's engine, as TRL's reference has it: under stage 3 transformers has loaded the weights in parts, which
    # only an engine puts together, and it turns them into the type that the policy computes in. A whole copy on every
    # rank would need the memory that stage 3 is there to save.
    return prepare_deepspeed(model, accelerator)


def forget_teacher(model: Any, accelerator: Accelerator) -> None:
    """What must be done before a model's memory can be free."""
    if _under_deepspeed(accelerator):
        release(model)


def _under_deepspeed(accelerator: Accelerator) -> bool:
    return accelerator.distributed_type == DistributedType.DEEPSPEED


def _load(path: str, dtype: torch.dtype) -> Any:
    if not (Path(path) / ADAPTER_FILE).is_file():
        return AutoModelForCausalLM.from_pretrained(path, dtype=dtype)
    # Importing peft takes seconds.
    from peft import PeftConfig, PeftModel

    config = PeftConfig.from_pretrained(path)
    below = str(config.base_model_name_or_path)
    base = AutoModelForCausalLM.from_pretrained(below, revision=config.revision, dtype=dtype)
    return PeftModel.from_pretrained(base, path, config=config, autocast_adapter_dtype=False)


def transformers_model(model: Any) -> Any:
    """The model below an adapter, or the model itself; neither is wrapped for many processes."""
    return model.get_base_model() if hasattr(model, "peft_config") else model


def refuse_unfit_adapter(model: Any, key: str) -> None:
    """Raises ConfigError for an adapter with tokens before those of the answers, or one that changes the output head.

    The head's products are taken from its weight, so that an adapter on it would have no effect.
    """
    if any(config.is_prompt_learning for config in getattr(model, "peft_config", {}).values()):
        raise ConfigError(
            "adapters that add virtual tokens have no place in these losses",
            key=key,
            expected="lora, or another adapter of the weights",
        )
    head = transformers_model(model).get_output_embeddings()
    if hasattr(head, "base_layer") or hasattr(head, "token_adapter"):
        raise ConfigError(
            "the adapter changes the output head, whose weight is read as it is",
            key=key,
            remedy="name a merged model (rlent merge), or leave the head out of what the adapter changes",
        )


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
    sizes = [whole_shape(each.get_output_embeddings().weight)[0] for each in (model, policy)]
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
