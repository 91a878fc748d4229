"""A probe that predicts a problem's difficulty from its prompt, before anything is written.

DiffAdapt (arXiv 2510.19669, read in an account alone): an MLP of two layers on the last layer's hidden state of the
prompt's last token, cross-entropy, AdamW at 1e-3, 100 epochs; the language model is frozen. Unverified and therefore
this file's: as many hidden units as the state has, ReLU, all problems in one batch, AdamW's own weight decay 0.01.
"""

from collections.abc import Sequence
from typing import get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from rlent.evaluation.difficulty import Difficulty

EPOCHS = 100
LEARNING_RATE = 1e-3

_LABELS: tuple[Difficulty, ...] = get_args(Difficulty)


def fit_probe(
    states: Float[Tensor, "n d"], labels: Sequence[Difficulty], *, seed: int = 0
) -> nn.Sequential:
    """The probe of these prompts' hidden states; ``seed`` is that of its first weights."""
    width = states.shape[1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        probe = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, len(_LABELS)))
    probe.to(states.dtype)
    targets = torch.tensor([_LABELS.index(label) for label in labels])
    optimizer = torch.optim.AdamW(probe.parameters(), lr=LEARNING_RATE, weight_decay=0.01)
    for _ in range(EPOCHS):
        optimizer.zero_grad()
        nn.functional.cross_entropy(probe(states), targets).backward()
        optimizer.step()
    return probe


def predict(probe: nn.Sequential, states: Float[Tensor, "n d"]) -> list[Difficulty]:
    """The most probable label of each prompt."""
    with torch.no_grad():
        return [_LABELS[place] for place in probe(states).argmax(-1).tolist()]
