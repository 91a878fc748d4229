"""The tokenizer and the context of a model."""

from pathlib import Path
from typing import Any

from rlent.data.paths import missing_path
from rlent.errors import ConfigError

KEY = "data.chat_template"


def load_tokenizer(model: str, revision: str | None, chat_template: str | None = None) -> Any:
    """The tokenizer of a folder or hub id, padding on the left, with the chat template of a file if one is named.

    Raises ConfigError when the file is missing or blank.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model, revision=revision, padding_side="left")
    if chat_template is not None:
        tokenizer.chat_template = _template(chat_template)
    return tokenizer


def context_length(model: str, revision: str | None) -> int:
    """Longest sequence that the model was built for, in tokens."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(model, revision=revision).get_text_config()
    return config.max_position_embeddings


def _template(name: str) -> str:
    from jinja2 import Environment, TemplateSyntaxError

    path = Path(name).expanduser()
    if not path.is_file():
        raise missing_path(name, KEY, expected="a file with a Jinja chat template")
    text = path.read_text(encoding="utf-8")
    if not text.strip():
        raise ConfigError(f"the chat template '{name}' is blank", key=KEY)
    try:
        Environment(extensions=["jinja2.ext.loopcontrols"]).parse(text)
    except TemplateSyntaxError as error:
        raise ConfigError(
            f"{name}:{error.lineno}: not a Jinja template: {error.message}", key=KEY
        ) from error
    return text
