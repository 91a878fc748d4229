"""Which models are refused, and that a model comes out of a call as it went in."""

import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from peft import LoraConfig, PromptTuningConfig, get_peft_model
from transformers import (
    BambaConfig,
    BloomConfig,
    Gemma3Config,
    Gemma3nTextConfig,
    JambaConfig,
    Lfm2Config,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MiniMaxConfig,
    MptConfig,
    PreTrainedConfig,
    Qwen3NextConfig,
    RecurrentGemmaConfig,
    RwkvConfig,
    T5Config,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING,
)

from rlent.errors import ConfigError
from rlent.rollout import Branching, LiveSequence, RolloutEngine, Sampling
from rlent.rollout.models import check_filled
from tests.rollout.examples import PROMPTS, greedy_tokens, make_model, tokens_of

REFUSED = [
    MambaConfig(),
    RwkvConfig(),
    JambaConfig(),
    BambaConfig(),
    Qwen3NextConfig(),
    MiniMaxConfig(),
    RecurrentGemmaConfig(),
    Lfm2Config(num_hidden_layers=2, layer_types=["conv", "full_attention"]),
    Gemma3nTextConfig(),
    BloomConfig(),
    MptConfig(),
    T5Config(),
    Gemma3Config(),
]


def without_weights(config: PreTrainedConfig) -> Any:
    mapping = (
        MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING
        if config.is_encoder_decoder
        else MODEL_FOR_CAUSAL_LM_MAPPING
    )
    with torch.device("meta"):
        return mapping[type(config)](config)


@pytest.mark.parametrize("config", REFUSED, ids=lambda config: config.model_type)
def test_models_with_another_state_are_refused_by_name(config: PreTrainedConfig) -> None:
    model = without_weights(config)
    with pytest.raises(ConfigError) as caught:
        RolloutEngine(model=model, sampling=Sampling(max_new_tokens=2))
    error = caught.value
    assert type(model).__name__ in error.problem
    assert config.model_type in error.problem
    assert error.key == "rollout.engine"
    assert error.remedy == "rollout.engine: transformers"


def test_a_layer_that_leaves_the_cache_empty_is_noticed() -> None:
    with pytest.raises(ConfigError, match=r"no keys and values in layers \[1\]"):
        check_filled(make_model(), [5, 0, 5], 5)


class Forgetful(LlamaForCausalLM):
    """Keeps no keys and values in its last layer, and says so nowhere."""

    def forward(
        self,
        input_ids: Any = None,
        attention_mask: Any = None,
        position_ids: Any = None,
        past_key_values: Any = None,
        logits_to_keep: int = 0,
        **options: Any,
    ) -> Any:
        attention = self.model.layers[-1].self_attn
        whole = type(attention).forward
        attention.forward = lambda *args, **kwargs: whole(
            attention, *args, **{**kwargs, "past_key_values": None}
        )
        return super().forward(
            input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            logits_to_keep=logits_to_keep,
            **options,
        )


def test_a_model_that_says_nothing_is_noticed_in_its_prefill() -> None:
    model = Forgetful(LlamaConfig(**{**make_model().config.to_dict(), "architectures": None}))
    engine = RolloutEngine(model=model, sampling=Sampling(max_new_tokens=2))
    with pytest.raises(ConfigError, match=r"Forgetful keeps no keys and values in layers \[2\]"):
        engine.generate(PROMPTS, 1, seed=0)


def modes(model: Any) -> list[bool]:
    return [module.training for module in model.modules()]


def raising(live: Sequence[LiveSequence]) -> list[int]:
    raise KeyError("the hook broke")


@pytest.mark.parametrize("fails", [False, True])
def test_the_modes_of_all_modules_are_restored(fails: bool) -> None:
    model = make_model()
    model.train()
    model.model.layers[1].eval()
    model.gradient_checkpointing_enable()
    before = modes(model)
    engine = RolloutEngine(
        model=model,
        sampling=Sampling(max_new_tokens=3),
        branching=Branching(hook=raising, max_branches=1) if fails else None,
    )
    if fails:
        with pytest.raises(KeyError, match="the hook broke"):
            engine.generate(PROMPTS, 1, seed=0)
    else:
        engine.generate(PROMPTS, 1, seed=0)
    assert modes(model) == before
    assert model.is_gradient_checkpointing
    assert torch.is_grad_enabled()
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_dropout_and_gradient_checkpointing_are_off_meanwhile() -> None:
    model = make_model()
    expected = [greedy_tokens(model, prompt, 12) for prompt in PROMPTS]
    for layer in model.model.layers:
        layer.self_attn.attention_dropout = 0.9
    model.gradient_checkpointing_enable()
    model.enable_input_require_grads()
    model.train()
    engine = RolloutEngine(model=model, sampling=Sampling(max_new_tokens=12, temperature=0.0))
    assert tokens_of(engine.generate(PROMPTS, 1, seed=0).completions) == expected
    loss = model(input_ids=torch.tensor(PROMPTS[1:2]), labels=torch.tensor(PROMPTS[1:2])).loss
    loss.backward()
    assert model.model.layers[0].mlp.up_proj.weight.grad is not None


def test_a_training_step_in_the_same_autocast_context_has_its_gradients() -> None:
    model = make_model().train()
    engine = RolloutEngine(model=model, sampling=Sampling(max_new_tokens=3))
    ids = torch.tensor(PROMPTS[1:2])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        engine.generate(PROMPTS, 1, seed=0)
        model(input_ids=ids, labels=ids).loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def with_lora(model: Any) -> Any:
    adapted = get_peft_model(
        model, LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    )
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.5)
    return adapted


def test_lora_wrappers() -> None:
    bare = [greedy_tokens(make_model(), prompt, 10) for prompt in PROMPTS]
    model = with_lora(make_model()).train()
    engine = RolloutEngine(model=model, sampling=Sampling(max_new_tokens=10, temperature=0.0))
    made = tokens_of(engine.generate(PROMPTS, 1, seed=0).completions)
    assert model.training
    model.eval()
    whole = model.merge_and_unload()
    assert made == [greedy_tokens(whole, prompt, 10) for prompt in PROMPTS]
    assert made != bare


def test_virtual_prompt_tokens_are_refused() -> None:
    model = get_peft_model(
        make_model(), PromptTuningConfig(num_virtual_tokens=3, task_type="CAUSAL_LM")
    )
    with pytest.raises(ConfigError, match="virtual tokens before the prompt"):
        RolloutEngine(model=model, sampling=Sampling(max_new_tokens=2))


def test_settings_and_hooks_load_no_transformers() -> None:
    code = "import rlent.rollout, sys; assert 'transformers' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
