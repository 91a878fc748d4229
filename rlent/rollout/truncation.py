"""Tokens that may not be drawn: each function gives the scores of the others, and -inf.

What is kept is what the classes of the same names in ``transformers.generation.logits_process`` keep, with at least one
token each; sums are float64, so a token may differ where a float32 sum meets a bound exactly.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

_CANDIDATES = 1024
"""Tokens that ``keep_top_p`` looks at before it sorts a whole vocabulary, which takes eight times as long on a CPU."""
_FLOOR = -1e4
"""Stands for -inf in ``p log p``: its exponential is 0 all the same, and 0 times it is not NaN."""

Scores = Float[Tensor, "b v"]


def nats(probs: Scores, log_probs: Scores) -> Float[Tensor, " b"]:
    """Entropy ``-sum p log p``; tokens of probability 0 add nothing."""
    return -torch.linalg.vecdot(probs, log_probs.clamp(min=_FLOOR))


def keep_top_k(scores: Scores, k: int) -> Scores:
    """The ``k`` largest, and whatever ties with the smallest of them."""
    smallest = scores.topk(min(k, scores.shape[1])).values[:, -1:]
    return _without(scores, scores < smallest)


def keep_top_p(scores: Scores, p: float) -> Scores:
    """The fewest most probable tokens whose probabilities sum to at least ``p``."""
    total = scores.logsumexp(-1, keepdim=True)
    values, order = scores.topk(min(_CANDIDATES, scores.shape[1]))
    mass = (values - total).exp().cumsum(-1, dtype=torch.float64)
    if bool((mass[:, -1] < p).any()):
        values, order = scores.sort(descending=True)
        mass = (values - total).exp().cumsum(-1, dtype=torch.float64)
    above = mass.roll(1, dims=-1)
    above[:, 0] = 0.0
    kept = torch.where(above < p, values, -torch.inf)
    return torch.full_like(scores, -torch.inf).scatter(1, order, kept)


def keep_min_p(scores: Scores, p: float) -> Scores:
    """Tokens at least ``p`` times as probable as the most probable one."""
    return _without(scores, scores < scores.amax(-1, keepdim=True) + math.log(p))


def keep_typical(scores: Scores, mass: float) -> Scores:
    """Tokens in the order of ``|-log p - H|`` until they hold ``mass``, and whatever ties with the last of them."""
    log_probs = scores.log_softmax(-1)
    probs = log_probs.exp()
    distance = (log_probs + nats(probs, log_probs).unsqueeze(1)).abs()
    nearest, order = distance.sort()
    held = probs.gather(1, order).cumsum(-1, dtype=torch.float64)
    last = (held < mass).sum(-1, keepdim=True).clamp(max=scores.shape[1] - 1)
    return _without(scores, distance > nearest.gather(1, last))


def _without(scores: Scores, removed: Bool[Tensor, "b v"]) -> Scores:
    return scores.masked_fill(removed, -torch.inf)
