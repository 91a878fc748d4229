"""The tokenizer and the context of a model."""

from pathlib import Path
from typing import Any

from rlent.data.paths import missing_path
from rlent.data.section import DataSection
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


def load_reader(section: DataSection, model: str, revision: str | None) -> Any:
    """What reads the prompts of a data section: the model's tokenizer, or its processor where rows have pictures.

    Raises ConfigError as `load_tokenizer` and `load_processor`.
    """
    load = load_processor if section.pictures else load_tokenizer
    return load(model, revision, section.chat_template)


def load_processor(model: str, revision: str | None, chat_template: str | None = None) -> Any:
    """The processor of a vision-language model, padding on the left, with the chat template of a file if one is named.

    Raises ConfigError when the model takes no pictures, or its processor cannot be loaded.
    """
    from transformers import AutoConfig, AutoProcessor

    config = AutoConfig.from_pretrained(model, revision=revision)
    if config.get_text_config() is config:
        raise ConfigError(
            f"a model of text alone ({config.model_type}) takes no pictures",
            key="model.name",
            given=model,
            remedy="name a vision-language model, or remove data.image",
        )
    try:
        processor: Any = AutoProcessor.from_pretrained(model, revision=revision)
    except (ImportError, OSError, ValueError) as error:
        raise ConfigError(
            f"the processor of the model could not be loaded: {error}",
            key="model.name",
            given=model,
            remedy="pip install torchvision" if isinstance(error, ImportError) else None,
        ) from error
    if getattr(processor, "image_processor", None) is None:
        raise ConfigError(
            "the model has no processor that makes tokens of pictures",
            key="model.name",
            given=model,
            remedy="save the processor of the model it was trained from into its folder",
        )
    processor.tokenizer.padding_side = "left"
    if chat_template is not None:
        processor.chat_template = _template(chat_template)
    return processor


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
