"""The records that cross the package's borders: what comes out, and what every implementation receives."""

from dataclasses import dataclass

from torch import Tensor

from rlent_kernels.transform import LogitTransform

IGNORE_INDEX = -100
"""Target of a row that is not computed, as in ``torch.nn.functional.cross_entropy``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenStats:
    """Statistics of the next-token distribution p = softmax(z) at every row.

    Where the target is ``IGNORE_INDEX`` every number is 0, every id ``IGNORE_INDEX`` and every
    bool False. Numbers are float32, or float64 when hidden is float64. All but the first two are
    None unless they were asked for, and carry no gradient.

    Attributes:
        log_probs: ``log p(target)`` in nats, shape ``[*n]``, differentiable.
        entropy: ``H = -sum_j p_j log p_j`` in nats over the full vocabulary, ``[*n]``,
            differentiable.
        logsumexp: ``log sum_j e^(z_j)``, ``[*n]``.
        varentropy: ``sum_j p_j (log p_j + H)^2``, the variance of the log-probability in square
            nats, ``[*n]``.
        log_sum_sq_probs: ``log sum_j p_j^2``, ``[*n]``.
        mean_logits: ``mean_j z_j``, ``[*n]``; -inf where a token is banned.
        entropy_change: ``p_a (log p_a + H) - sum_j p_j^2 (log p_j + H)`` with a the target,
            ``[*n]``. A step that moves the logits by ``eta * dlog p_a / dz`` changes the entropy
            by ``-eta`` times this number, to first order.
        argmax: id of the most probable token, ``[*n]`` int64; the lowest id among equals.
        is_top1: whether the target is ``argmax``, ``[*n]`` bool.
        top_log_probs: log-probabilities of the ``top_k`` most probable tokens, falling,
            ``[*n k]``.
        top_ids: their ids, ``[*n k]`` int64; equals are in no particular order.
        nucleus_entropy: entropy in nats of p restricted to its nucleus and normalised, ``[*n]``.
            The nucleus is the smallest set of most probable tokens whose mass reaches ``top_p``.
        kept_log_probs: log-probability of the target in p restricted to the tokens of at least
            ``min_p`` times the largest probability and normalised, ``[*n]``; -inf where the target
            is none of them.
    """

    log_probs: Tensor
    entropy: Tensor
    logsumexp: Tensor | None = None
    varentropy: Tensor | None = None
    log_sum_sq_probs: Tensor | None = None
    mean_logits: Tensor | None = None
    entropy_change: Tensor | None = None
    argmax: Tensor | None = None
    is_top1: Tensor | None = None
    top_log_probs: Tensor | None = None
    top_ids: Tensor | None = None
    nucleus_entropy: Tensor | None = None
    kept_log_probs: Tensor | None = None


FURTHER = (
    "logsumexp",
    "varentropy",
    "log_sum_sq_probs",
    "mean_logits",
    "entropy_change",
    "argmax",
    "is_top1",
)
"""Statistics that are asked for by name; ``top_k``, ``top_p`` and ``min_p`` ask for the others by their number."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """Which statistics a call asks for beyond log-probability and entropy."""

    names: tuple[str, ...] = ()
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of ``TokenStats`` that the call fills beyond log-probability and entropy."""
        tops = () if self.top_k is None else ("top_log_probs", "top_ids")
        nucleus = () if self.top_p is None else ("nucleus_entropy",)
        kept = () if self.min_p is None else ("kept_log_probs",)
        return (*self.names, *tops, *nucleus, *kept)


@dataclass(frozen=True, kw_only=True, slots=True)
class LinearHead:
    """A checked problem with its leading dimensions flattened: what an implementation computes.

    Attributes:
        hidden: ``[n d]``.
        weight: ``[v d]``.
        bias: ``[v]`` or None.
        targets: ``[n]`` int64, each in ``[0, v)`` or ``IGNORE_INDEX``.
        transform: the map from raw logits to the logits of the distribution.
    """

    hidden: Tensor
    weight: Tensor
    bias: Tensor | None
    targets: Tensor
    transform: LogitTransform
