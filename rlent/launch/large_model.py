"""The second model of the decoding rule ``two_models``."""

from pathlib import Path
from typing import Any

from rlent.data import load_tokenizer, resolve_model
from rlent.errors import ConfigError
from rlent.launch.weights import Weights
from rlent.rollout import Decoding
from rlent.rollout.decoding import TwoModels


def find_large_model(decoding: Decoding | None, tokenizer: Any) -> Weights | None:
    """Its weights; None under any other rule.

    Raises:
        ConfigError: there is no such model, or its tokenizer has another vocabulary.
    """
    rule = None if decoding is None else decoding.rule
    if not isinstance(rule, TwoModels):
        return None
    key = f"evaluation.decoding.{rule.name}.large_model"
    try:
        path = resolve_model(rule.large_model)
    except ConfigError as error:
        error.key = key
        raise
    if load_tokenizer(path, None, None).get_vocab() != tokenizer.get_vocab():
        raise ConfigError(
            "the two models must share a vocabulary, token by token",
            key=key,
            given=rule.large_model,
        )
    return Weights(path=path, revision=None, label=Path(rule.large_model).name)
