"""A recipe's ``model.adapter`` -> the configuration that peft builds the adapter from."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from rlent.config.validate import check_keys, short_list
from rlent.errors import ConfigError

KEY = "model.adapter"


def adapter_config(section: Mapping[str, Mapping[str, Any]] | None) -> Any:
    """A ``peft.PeftConfig`` for a causal language model, or None where all weights are trained.

    Raises:
        ConfigError: peft has no such method, or the method no such option.
    """
    if section is None:
        return None
    # Importing peft takes seconds.
    from peft import PEFT_TYPE_TO_CONFIG_MAPPING

    methods = {
        str(method.value).lower(): cls for method, cls in PEFT_TYPE_TO_CONFIG_MAPPING.items()
    }
    ((name, options),) = section.items()
    if name not in methods:
        raise ConfigError(
            "peft has no such method",
            key=f"{KEY}.{name}",
            expected=short_list(methods) or "lora, or another method of peft",
            given=name,
            choices=methods,
        )
    own = [field.name for field in fields(methods[name]) if field.init]
    check_keys(options, own, f"{KEY}.{name}")
    try:
        return methods[name](**{"task_type": "CAUSAL_LM", **options})
    except (TypeError, ValueError) as error:
        raise ConfigError(str(error), key=f"{KEY}.{name}") from error
