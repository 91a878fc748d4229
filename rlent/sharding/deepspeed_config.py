"""A recipe's ``engine`` section -> the JSON that DeepSpeed reads.

Values that the trainer knows are left to it as ``auto``: batch size, gradient accumulation and clipping.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlent.errors import ConfigError

if TYPE_CHECKING:
    from rlent.config import Engine

KEPT_BY_THE_TRAINER = (
    "train_micro_batch_size_per_gpu",
    "gradient_accumulation_steps",
    "gradient_clipping",
)
"""Keys that a file must leave as ``auto`` or leave out: the recipe's ``trainer`` section says them."""


def deepspeed_config(engine: "Engine", precision: str) -> dict[str, Any] | None:
    """DeepSpeed's configuration, or None where the recipe does without DeepSpeed.

    Args:
        precision: type of the arithmetic, ``float32``, ``bfloat16`` or ``float16``.

    Raises:
        ConfigError: the file that replaces the generated configuration cannot be used.
    """
    if engine.deepspeed is not None:
        return _from_file(Path(engine.deepspeed), precision)
    if engine.zero is None:
        return None
    return {
        "zero_optimization": _zero(engine),
        "bf16": {"enabled": precision == "bfloat16"},
        "fp16": {"enabled": precision == "float16"},
        **dict.fromkeys(KEPT_BY_THE_TRAINER, "auto"),
        # The optimiser is the trainer's (torch's AdamW by default), also where its state lies in main memory.
        "zero_force_ds_cpu_optimizer": False,
        "zero_allow_untested_optimizer": True,
    }


def _zero(engine: "Engine") -> dict[str, Any]:
    zero: dict[str, Any] = {"stage": engine.zero}
    if engine.zero == 0:
        return zero
    zero["contiguous_gradients"] = True
    if engine.overlap_communication is not None:
        zero["overlap_comm"] = engine.overlap_communication
    if engine.bucket_size is not None:
        zero |= {
            "reduce_bucket_size": engine.bucket_size,
            "allgather_bucket_size": engine.bucket_size,
        }
    if engine.offload != "none":
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": True}
    if engine.offload == "all":
        zero["offload_param"] = {"device": "cpu", "pin_memory": True}
    if engine.zero == 3:
        zero["stage3_gather_16bit_weights_on_model_save"] = True
        if engine.keep_gathered is not None:
            zero["stage3_param_persistence_threshold"] = engine.keep_gathered
    return zero


def _from_file(path: Path, precision: str) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError("no such file", key="engine.deepspeed", given=str(path)) from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ConfigError(
            f"cannot be read as JSON: {error}", key="engine.deepspeed", given=str(path)
        ) from error
    if not isinstance(config, dict) or "zero_optimization" not in config:
        raise ConfigError(
            "not a DeepSpeed configuration",
            key="engine.deepspeed",
            expected="a JSON object with zero_optimization",
            given=str(path),
        )
    for name in KEPT_BY_THE_TRAINER:
        if config.get(name, "auto") != "auto":
            raise ConfigError(
                f"{path} sets {name}, which the recipe's trainer section says",
                key="engine.deepspeed",
                expected=f'"{name}": "auto"',
                given=config[name],
            )
    for name, meant in (("bf16", "bfloat16"), ("fp16", "float16")):
        enabled = config.get(name, {}).get("enabled", "auto")
        if enabled != "auto" and enabled != (precision == meant):
            raise ConfigError(
                f"{path} sets {name}.enabled, but engine.precision is {precision}",
                key="engine.deepspeed",
                expected=f'"{name}": {{"enabled": "auto"}}',
                given=enabled,
            )
    return config
