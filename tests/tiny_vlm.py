"""Vision-language models and processors small enough for tests, made on the spot with PIL alone."""

from typing import Any, Literal

import torch
from PIL import Image
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedModel,
    ProcessorMixin,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from tests.tiny import tiny_tokenizer

Family = Literal["llava", "qwen2_5_vl"]

_IMAGE = {
    "llava": "<image>",
    "qwen2_5_vl": "<|vision_start|><|image_pad|><|vision_end|>",
}
_SPECIAL = ["<image>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
_SIDE = 16
_PATCH = 8
_TEXT: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.2,
    "bos_token_id": None,
    "eos_token_id": 1,
    "pad_token_id": 0,
}


class ImagesOnly(Qwen2_5_VLProcessor):
    """Qwen2.5-VL's processor without the one for videos, which needs torchvision."""

    def __init__(
        self, image_processor: Any = None, tokenizer: Any = None, chat_template: str | None = None
    ) -> None:
        self.image_token, self.video_token = "<|image_pad|>", "<|video_pad|>"
        self.image_token_id = tokenizer.convert_tokens_to_ids(self.image_token)
        self.video_token_id = tokenizer.convert_tokens_to_ids(self.video_token)
        ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)


def tiny_processor(family: Family) -> ProcessorMixin:
    """Tokenizer, PIL image processor and chat template of one family."""
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(_SPECIAL, special_tokens=True)
    tokenizer.chat_template = None
    template = _chat_template(_IMAGE[family])
    if family == "llava":
        return LlavaProcessor(
            CLIPImageProcessorPil(
                size={"shortest_edge": _SIDE}, crop_size={"height": _SIDE, "width": _SIDE}
            ),
            tokenizer,
            patch_size=_PATCH,
            vision_feature_select_strategy="default",
            num_additional_image_tokens=1,
            chat_template=template,
        )
    images = Qwen2VLImageProcessorPil(
        patch_size=_PATCH,
        merge_size=2,
        temporal_patch_size=2,
        size={"shortest_edge": _SIDE**2, "longest_edge": 4 * _SIDE**2},
    )
    return ImagesOnly(images, tokenizer, chat_template=template)


def tiny_vlm(family: Family, *, seed: int = 0) -> PreTrainedModel:
    """Two layers of text over a vision tower of two layers, random weights."""
    tokenizer = tiny_tokenizer()
    number = {token: len(tokenizer) + place for place, token in enumerate(_SPECIAL)}
    size = len(tokenizer) + len(_SPECIAL)
    torch.manual_seed(seed)
    if family == "llava":
        vision = CLIPVisionConfig(
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=_SIDE,
            patch_size=_PATCH,
        )
        text = LlamaConfig(vocab_size=size, **_TEXT)
        config = LlavaConfig(
            vision_config=vision, text_config=text, image_token_index=number["<image>"]
        )
        return LlavaForConditionalGeneration(config)
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": size,
            "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2]},
            **_TEXT,
        },
        vision_config={
            "depth": 2,
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_heads": 2,
            "patch_size": _PATCH,
            "out_hidden_size": 32,
            "fullatt_block_indexes": [1],
        },
        image_token_id=number["<|image_pad|>"],
        video_token_id=number["<|video_pad|>"],
        vision_start_token_id=number["<|vision_start|>"],
        vision_end_token_id=number["<|vision_end|>"],
    )
    return Qwen2_5_VLForConditionalGeneration(config)


def picture(colour: tuple[int, int, int]) -> Image.Image:
    return Image.new("RGB", (_SIDE, _SIDE), colour)


def _chat_template(image: str) -> str:
    return (
        "{% for m in messages %}{{ '<' + m['role'] + '> ' }}"
        "{% if m['content'] is string %}{{ m['content'] }}{% else %}{% for part in m['content'] %}"
        "{% if part['type'] == 'image' %}" + image + "{% else %}{{ part['text'] }}{% endif %}"
        "{% endfor %}{% endif %}{{ ' ' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<assistant> ' }}{% endif %}"
    )
