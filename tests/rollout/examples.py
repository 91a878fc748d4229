"""Tiny models of many families, made on the spot, and the plain loops that the engine is compared with."""

import math
from typing import Any

import torch
from torch import Tensor
from transformers import (
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GemmaConfig,
    GemmaForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    GptOssConfig,
    GptOssForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from rlent.rollout import Completion

VOCABULARY = 96
WINDOW = 6
"""Of layers with a sliding window: shorter than every sequence below."""
PROMPTS = [[5, 6, 7], [8, 9, 10, 11, 12, 13, 14, 15, 16], [17], [5, 6, 7], [18, 19, 20, 21]]
"""Ragged; the fourth is the first again."""

_SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 256,
    "initializer_range": 0.3,  # wide enough that greedy completions do not repeat one token
    "tie_word_embeddings": False,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": 0,
}
_GPT2_SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "n_embd": 32,
    "n_layer": 3,
    "n_head": 4,
    "n_positions": 256,
    "initializer_range": 0.3,
    "tie_word_embeddings": False,
    "bos_token_id": None,
    "eos_token_id": None,
}
_MIXED = {
    "sliding_window": WINDOW,
    "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
}
FAMILIES = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**_SIZES)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**_SIZES)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**_SIZES)),
    "mistral": lambda: MistralForCausalLM(MistralConfig(**_SIZES, sliding_window=WINDOW)),
    "gemma": lambda: GemmaForCausalLM(GemmaConfig(**_SIZES)),
    "gemma2": lambda: Gemma2ForCausalLM(Gemma2Config(**_SIZES, **_MIXED)),
    "gemma3": lambda: Gemma3ForCausalLM(Gemma3TextConfig(**_SIZES, **_MIXED)),
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(**_GPT2_SIZES)),
    "gpt_oss": lambda: GptOssForCausalLM(
        GptOssConfig(
            **_SIZES,
            **_MIXED,
            num_local_experts=4,
            num_experts_per_tok=2,
            rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        )
    ),
    "cohere": lambda: CohereForCausalLM(CohereConfig(**_SIZES)),
}


def make_model(family: str = "llama", *, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return FAMILIES[family]().eval()


def full_logits(model: Any, prompt: list[int], tokens: list[int]) -> Tensor:
    """``[t v]`` float64 logits of every completion token, in one pass without a cache, of this sequence alone."""
    with torch.no_grad():
        output = model(input_ids=torch.tensor([prompt + tokens]), use_cache=False)
    return output.logits[0, len(prompt) - 1 : -1].double()


def greedy_tokens(model: Any, prompt: list[int], length: int) -> list[int]:
    """By transformers' ``generate``, of this sequence alone."""
    made = model.generate(
        torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        max_new_tokens=length,
        do_sample=False,
        pad_token_id=0,
    )
    return made[0, len(prompt) :].tolist()


def log_softmax(logits: list[float]) -> list[float]:
    largest = max(logits)
    total = math.log(sum(math.exp(value - largest) for value in logits)) + largest
    return [value - total for value in logits]


def entropy(log_probs: list[float]) -> float:
    return -sum(math.exp(value) * value for value in log_probs if value > -math.inf)


def tokens_of(completions: tuple[Completion, ...]) -> list[list[int]]:
    return [completion.token_ids.tolist() for completion in completions]
