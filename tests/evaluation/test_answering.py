"""Answers of the tiny model: whose random numbers, which scores, which entropies."""

import math
from typing import Any

import pytest
import torch

from rlent.errors import ConfigError, RlentError
from rlent.evaluation import Chunk, ProblemSet, in_order
from rlent.rollout.streams import sequence_key, uniform
from tests.evaluation.examples import all_answers, answerer, sums
from tests.tiny import tiny_model, tiny_tokenizer


@pytest.mark.parametrize("count", [1, 7, 8])
@pytest.mark.parametrize("samples", [0, 1, 3, 20])
@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_chunks_hold_every_problem_once(count: int, samples: int, batch_size: int) -> None:
    problems = sums(count, samples=samples, batch_size=batch_size)
    for kind, completions in (("greedy", 1), ("sampled", samples)):
        chunks = [chunk for chunk in problems.chunks if chunk.kind == kind]
        held = [place for chunk in chunks for place in range(chunk.start, chunk.stop)]
        assert held == (list(range(count)) if completions else [])
        for chunk in chunks:
            size = chunk.stop - chunk.start
            assert size == 1 or size * completions <= batch_size
    assert len({chunk.name for chunk in problems.chunks}) == len(problems.chunks)


def by_hand(problems: ProblemSet, place: int, sample: int | None) -> tuple[list[int], list[float]]:
    """Tokens and entropies of one completion, one forward pass over everything per token."""
    model, tokenizer = tiny_model().eval(), tiny_tokenizer()
    ids = tokenizer(problems.rows[place]["prompt"])["input_ids"]
    tokens: list[int] = []
    entropies: list[float] = []
    while len(tokens) < problems.length and 1 not in tokens:
        with torch.no_grad():
            logits = model(torch.tensor([ids + tokens])).logits[0, -1].double()
        if sample is not None:
            logits = logits / problems.temperature
        probs = logits.softmax(-1).tolist()
        entropies.append(-sum(p * math.log(p) for p in probs))
        if sample is None:
            tokens.append(probs.index(max(probs)))
            continue
        target = uniform(sequence_key(problems.seed, place, sample), len(tokens))
        above = [place for place in range(len(probs)) if sum(probs[: place + 1]) > target]
        tokens.append(above[0])
    return tokens, entropies


@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_a_completion_follows_from_seed_problem_and_sample(batch_size: int) -> None:
    problems = sums(samples=3, batch_size=batch_size, temperature=0.7, seed=11)
    tokenizer = tiny_tokenizer()
    answers = in_order(all_answers(problems))
    assert len(answers) == 7 * 4
    for answer in answers:
        tokens, entropies = by_hand(problems, answer.problem, answer.sample)
        assert answer.completion == tokenizer.decode(tokens, skip_special_tokens=True)
        assert answer.length == len(tokens)
        assert answer.finish == ("eos" if 1 in tokens else "length")
        assert answer.entropy == pytest.approx(sum(entropies) / len(entropies), abs=1e-5)
        assert answer.score == float(len(tokens) % 2 == 0)
        assert answer.prompt == problems.rows[answer.problem]["prompt"]
        assert answer.reference == str(answer.problem)


def test_another_seed_draws_others() -> None:
    first, second = (
        [answer.completion for answer in all_answers(sums(samples=2, seed=seed)) if answer.sample]
        for seed in (0, 1)
    )
    assert first != second


def test_the_same_chunk_gives_the_same_bits() -> None:
    problems = sums(samples=3)
    assert all_answers(problems) == all_answers(problems)


def test_the_reward_sees_what_a_trainer_would_show_it() -> None:
    seen: list[dict[str, Any]] = []

    def watching(**given: Any) -> list[float]:
        seen.append(given)
        return [0.0] * len(given["completions"])

    problems = sums(2, samples=2, reward=watching)
    answerer().answer(problems, Chunk(kind="sampled", start=0, stop=2))
    (given,) = seen
    prompts = [row["prompt"] for row in problems.rows]
    assert given["prompts"] == [prompts[0]] * 2 + [prompts[1]] * 2
    assert given["answer"] == ["0", "0", "1", "1"]
    assert "prompt" not in given
    texts = tiny_tokenizer().batch_decode(given["completion_ids"], skip_special_tokens=True)
    assert given["completions"] == texts


@pytest.mark.parametrize("nothing", [None, math.nan])
def test_no_score_is_none(nothing: float | None) -> None:
    problems = sums(2, reward=lambda completions, **_: [nothing] * len(completions))
    assert [answer.score for answer in all_answers(problems)] == [None, None]


@pytest.mark.parametrize(
    ("scores", "message"),
    [([1.0], "gave 1 scores for 2 completions"), ([1.0, math.inf], "an infinite score")],
)
def test_scores_that_are_none_at_all(scores: list[float], message: str) -> None:
    with pytest.raises(RlentError, match=message):
        all_answers(sums(2, reward=lambda **_: scores))


def test_options_reach_the_chat_template() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = "{{ messages[0]['content'] }}{% if extra %} 9 9 9{% endif %}"
    problems = sums(1, rows=[{"prompt": [{"role": "user", "content": "1 + 1 ="}]}])
    chunk = problems.chunks[0]
    plain = answerer(tokenizer=tokenizer).answer(problems, chunk)
    more = answerer(tokenizer=tokenizer, template_options={"extra": True}).answer(problems, chunk)
    assert plain[0].completion != more[0].completion
    assert plain[0].prompt == "user: 1 + 1 ="
    assert plain[0].reference is None


def test_a_model_that_the_engine_cannot_sample_from() -> None:
    from transformers import MambaConfig, MambaForCausalLM

    model = MambaForCausalLM(MambaConfig(hidden_size=8, num_hidden_layers=1, vocab_size=30))
    with pytest.raises(ConfigError) as caught:
        answerer(model=model)
    assert caught.value.key == "model.name"
    assert "transformers" not in str(caught.value.remedy)
