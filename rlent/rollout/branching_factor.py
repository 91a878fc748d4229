"""How many ways a model has to go on, from what was noted of sampled completions.

"How Alignment Shrinks the Generative Horizon", arXiv 2506.17871: the branching factor of a prompt, from ``M`` sampled
completions with ``N_m`` tokens each and ``N`` their mean length::

    BF = exp( - mean_m (1 / N_m) sum_t log p(y_t) )     if N > limit: the surprisal has converged to the entropy rate
    BF = exp( mean of H_t over all tokens )             otherwise

and the mean over prompts. ``p`` is the distribution that is given: with rlent's engine the full one at the sampling
temperature, where the paper's experiments cut it to a nucleus of 0.9. If tokens were drawn from a truncated
distribution, the first line is a cross-entropy. The paper takes M = 50, temperature 1, a limit of 50 and at most 512
tokens. Read: an account of the paper, and its released code (golden cases ``branching_factor``). That ``N`` is the mean
length where lengths differ is rlent's choice.

As released, a position counts while more than 3 completions reach it, up to the 0.95 quantile of lengths. With
``K`` such positions, the first line is for ``K > limit``, over the first K tokens of the completions that have as many,
and the second is the mean over positions of the mean entropy there. Both agree where all lengths are equal.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

ASYMPTOTIC_LIMIT = 50
"""Tokens above which the surprisal stands for the entropy."""
_FEWEST = 4
"""Completions that must reach a position of the release's."""
_LENGTHS = 0.95
"""Quantile of the lengths beyond which the release does not look."""

PerToken = Sequence[Float[Tensor, " _"]]


def branching_factor(
    log_probs: PerToken,
    entropies: PerToken,
    *,
    limit: int = ASYMPTOTIC_LIMIT,
    as_released: bool = False,
) -> float:
    """Branching factor of one prompt, from the tokens of its completions (nats).

    Raises:
        ValueError: there is no token, or none that the released form looks at.
    """
    noted = [
        (logp.double(), entropy.double())
        for logp, entropy in zip(log_probs, entropies, strict=True)
        if len(logp)
    ]
    if not noted:
        raise ValueError("a branching factor needs a completion with a token")
    if as_released:
        return math.exp(_released([p for p, _ in noted], [h for _, h in noted], limit))
    if sum(len(logp) for logp, _ in noted) / len(noted) > limit:
        return math.exp(-sum(float(logp.mean()) for logp, _ in noted) / len(noted))
    return math.exp(float(torch.cat([entropy for _, entropy in noted]).mean()))


def _released(log_probs: PerToken, entropies: PerToken, limit: int) -> float:
    lengths = [len(logp) for logp in log_probs]
    longest = int(torch.tensor(lengths).double().quantile(_LENGTHS))
    reaching = [sum(length > place for length in lengths) for place in range(longest)]
    counted = next((place for place, n in enumerate(reaching) if n < _FEWEST), longest)
    if counted == 0:
        raise ValueError(f"the released form needs {_FEWEST} completions")
    if counted > limit:
        whole = [float(logp[:counted].mean()) for logp in log_probs if len(logp) >= counted]
        return -sum(whole) / len(whole)
    means = [
        torch.stack([entropy[place] for entropy in entropies if len(entropy) > place]).mean()
        for place in range(counted)
    ]
    return float(torch.stack(means).mean())
