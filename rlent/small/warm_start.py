"""A small Llama that has read some thousand workings of the task, noise included.

It learns what ``rlent.small.task`` writes, forks and mistakes with their probabilities, and is the policy that
reinforcement learning starts from. The sizes are about the smallest that learn it in a minute or two on two CPU cores:
with two layers, or the usual initial weights (0.02) and rotary base (10000), finding the next operation takes longer.
"""

import math
import random
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Int
from torch import Tensor
from tqdm import tqdm

from rlent.small.task import OPERATIONS, draw_question, work
from rlent.small.tokenizer import VOCABULARY, small_tokenizer

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

STEPS = 800
WORKINGS_PER_STEP = 32
LEARNING_RATE = 2e-3
WARM_UP = 0.05
"""Share of the steps in which the learning rate rises; it falls to 0 in the others, as a cosine."""
EOS, PAD = VOCABULARY["<eos>"], VOCABULARY["<pad>"]
IGNORED = -100
CONTEXT = 128


def write_small_model(folder: Path, *, steps: int = STEPS, seed: int = 0) -> None:
    """Make the model, teach it and save it with its tokenizer; the same seed gives the same weights.

    torch's random numbers are left as they were.
    """
    model = new_model(seed)
    teach(model, steps=steps, seed=seed)
    model.save_pretrained(folder)
    small_tokenizer().save_pretrained(folder)


def new_model(seed: int) -> "LlamaForCausalLM":
    """The model before training: about a million parameters, float32."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=160,
        intermediate_size=480,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=CONTEXT,
        rope_parameters={"rope_type": "default", "rope_theta": 30.0},
        initializer_range=0.08,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=EOS,
        pad_token_id=PAD,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config)


def teach(model: "LlamaForCausalLM", *, steps: int, seed: int) -> list[float]:
    """Cross-entropy on fresh workings with AdamW; the loss of every step, in nats per token.

    Questions only condition: the loss is over the tokens of the working and the end after it.
    """
    rng = random.Random(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps))
    losses = []
    model.train()
    for _ in tqdm(range(steps), desc="warm start", unit="step", disable=None):
        ids, labels = draw_batch(rng)
        loss = model(input_ids=ids, labels=labels, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        losses.append(loss.item())
    return losses


def draw_batch(rng: random.Random) -> tuple[Int[Tensor, "b t"], Int[Tensor, "b t"]]:
    """Tokens of fresh questions and workings, padded on the right, and the labels of the workings."""
    rows = [_draw_row(rng) for _ in range(WORKINGS_PER_STEP)]
    length = max(len(question) + len(working) for question, working in rows)
    ids = torch.full((len(rows), length), PAD)
    labels = torch.full_like(ids, IGNORED)
    for row, (question, working) in enumerate(rows):
        start, end = len(question), len(question) + len(working)
        ids[row, :end] = torch.tensor(question + working)
        labels[row, start:end] = ids[row, start:end]
    return ids, labels


def _draw_row(rng: random.Random) -> tuple[list[int], list[int]]:
    question = draw_question(rng, rng.choice(OPERATIONS))
    return _ids(question.text), [*_ids(work(question, rng)), EOS]


def _ids(text: str) -> list[int]:
    return [VOCABULARY[word] for word in text.split()]


def _rate(step: int, steps: int) -> float:
    """Learning rate of a step, as a share of the highest."""
    rising = min(1.0, (step + 1) / (WARM_UP * steps))
    return rising * 0.5 * (1 + math.cos(math.pi * step / steps))
