"""The token head inside a model: log-probability and entropy as from full logits, generation untouched."""

import pytest
import torch
from transformers import (
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    PreTrainedModel,
)

from rlent.errors import ConfigError
from rlent.trainer.head import install_token_head
from tests.tiny import tiny_model

SMALL = {
    "vocab_size": 40,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": 1,
}


def models() -> dict[str, PreTrainedModel]:
    torch.manual_seed(0)
    return {
        "tied": tiny_model(tie=True),
        "untied": tiny_model(tie=False),
        "soft cap": Gemma2ForCausalLM(
            Gemma2Config(**SMALL, head_dim=8, final_logit_softcapping=2.0)
        ),
        "logit scale": CohereForCausalLM(CohereConfig(**SMALL, logit_scale=0.3)),
        "logits scaling": GraniteForCausalLM(GraniteConfig(**SMALL, logits_scaling=4.0)),
    }


@pytest.mark.parametrize("name", models())
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_head_equals_full_logits(name: str, temperature: float) -> None:
    model = models()[name].eval()
    ids = torch.randint(5, 30, (3, 9), generator=torch.Generator().manual_seed(1))
    labels = ids.clone()
    labels[:, :4] = -100
    logits = model(input_ids=ids).logits[:, :-1].double() / temperature
    logp = logits.log_softmax(-1)
    expected_logp = logp.gather(-1, ids[:, 1:, None]).squeeze(-1)
    expected_entropy = -(logp.exp() * logp).sum(-1)

    install_token_head(model, temperature)
    output = model(input_ids=ids, labels=labels, fused_lm_head=True)
    scored = labels[:, 1:] != -100
    assert torch.allclose(output.log_probs[scored].double(), expected_logp[scored], atol=1e-5)
    assert torch.allclose(output.entropy[scored].double(), expected_entropy[scored], atol=1e-5)
    assert not output.log_probs[~scored].any()


def test_generation_is_what_it_was() -> None:
    ids = torch.randint(5, 30, (2, 5), generator=torch.Generator().manual_seed(1))
    plain = tiny_model().generate(input_ids=ids, max_new_tokens=5, do_sample=False)
    model = tiny_model()
    install_token_head(model, 0.7)
    assert torch.equal(model.generate(input_ids=ids, max_new_tokens=5, do_sample=False), plain)


def test_two_logit_factors_are_refused() -> None:
    model = tiny_model()
    model.config.logit_scale = 2.0
    model.config.logits_scaling = 3.0
    with pytest.raises(ConfigError, match="logit_scale and logits_scaling"):
        install_token_head(model, 1.0)
