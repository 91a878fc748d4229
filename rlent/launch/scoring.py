"""Tokens under a model: log-probability, entropy, and what pushing each of them does to the entropy."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rlent.trainer.head import logit_transform
from rlent_kernels import IGNORE_INDEX, TokenStats, token_stats


def score_tokens(
    model: Any, sequences: Sequence[tuple[Sequence[int], Sequence[int]]], temperature: float
) -> list[TokenStats]:
    """Statistics [t] of every completion's tokens, ``entropy_change`` among them.

    Args:
        sequences: prompt and completion of each, which are run together.
        temperature: at which they were sampled.
    """
    ids, attended, targets = (values.to(model.device) for values in _laid_out(sequences))
    head = model.get_output_embeddings()
    scale, softcap = logit_transform(model)
    with torch.no_grad():
        hidden = model.base_model(
            input_ids=ids, attention_mask=attended, use_cache=False
        ).last_hidden_state
        stats = token_stats(
            hidden[:, :-1],
            head.weight,
            targets[:, 1:],
            bias=head.bias,
            temperature=temperature,
            logit_scale=scale,
            softcap=softcap,
            also=("entropy_change",),
        )
    return [
        _of_row(stats, row, len(prompt) - 1, len(prompt) + len(completion) - 1)
        for row, (prompt, completion) in enumerate(sequences)
    ]


def _laid_out(
    sequences: Sequence[tuple[Sequence[int], Sequence[int]]],
) -> tuple[Tensor, Tensor, Tensor]:
    """Ids, attention mask and targets [b s], filled up on the right, where nothing before looks."""
    width = max(len(prompt) + len(completion) for prompt, completion in sequences)
    shape = (len(sequences), width)
    ids, attended = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
    targets = torch.full(shape, IGNORE_INDEX)
    for row, (prompt, completion) in enumerate(sequences):
        size = len(prompt) + len(completion)
        ids[row, :size] = torch.tensor([*prompt, *completion])
        attended[row, :size] = 1
        targets[row, len(prompt) : size] = torch.tensor([*completion])
    return ids, attended, targets


def _of_row(stats: TokenStats, row: int, start: int, stop: int) -> TokenStats:
    assert stats.entropy_change is not None
    return TokenStats(
        log_probs=stats.log_probs[row, start:stop].cpu(),
        entropy=stats.entropy[row, start:stop].cpu(),
        entropy_change=stats.entropy_change[row, start:stop].cpu(),
    )
