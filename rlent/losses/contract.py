"""What a loss over given answers is, and what it sees.

A loss is a frozen dataclass of options. It says what it reads (completions, or pairs of a preferred and a rejected
answer), which further models it needs, and gives one number per token or per pair; batching, averaging over ranks,
the optimiser and the checkpoints are the trainer's.

Axis names: ``b`` rows, ``t`` positions that predict a token, ``d`` width of the model. A masked position may hold
anything and never influences a result.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from jaxtyping import Bool, Float, Int
from torch import Tensor

from rlent.interventions.stages import Metrics
from rlent.numerics import log_ratio
from rlent_kernels import FixedHead

Transform = Mapping[str, Any]
"""``temperature``, ``logit_scale`` and ``softcap`` of the model's logits, as ``rlent_kernels`` takes them."""

REFERENCE = "reference"
"""Role of the policy as it was before training."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Head:
    """The policy's linear head at work, inside the model's forward; what is made of it carries gradient."""

    hidden: Float[Tensor, "b t d"]
    weight: Float[Tensor, "v d"]
    bias: Float[Tensor, " v"] | None
    targets: Int[Tensor, "b t"]
    """Next tokens, -100 where the loss does not look."""
    transform: Transform

    @property
    def rows(self) -> Bool[Tensor, "b t"]:
        """Positions at which the loss looks."""
        return self.targets != -100


@dataclass(frozen=True, kw_only=True, slots=True)
class Answers:
    """Answers of a micro-batch under the current policy; ``logp`` and ``measured`` carry gradient."""

    logp: Float[Tensor, "b t"]
    ref_logp: Float[Tensor, "b t"] | None
    """Under the reference policy; None unless the loss compares with it."""
    mask: Bool[Tensor, "b t"]
    measured: Mapping[str, Tensor]
    """``[b t]`` each: what ``Loss.measure`` gave."""
    score: Float[Tensor, "b t"] | None = None
    """What ``ScoredLoss.score`` gave before training; None for other losses and for preferred answers."""

    @property
    def log_ratio(self) -> Float[Tensor, "b t"]:
        """``log pi/pi_ref`` of every token, 0 where the mask does not hold."""
        assert self.ref_logp is not None
        return log_ratio(self.logp, self.ref_logp, self.mask)


@dataclass(frozen=True, kw_only=True, slots=True)
class PairLosses:
    """What a preference loss gives for ``b`` pairs; the trainer averages over pairs."""

    losses: Float[Tensor, " b"]
    chosen_reward: Float[Tensor, " b"]
    """Reward that the policy implies, without gradient."""
    rejected_reward: Float[Tensor, " b"]
    metrics: Metrics


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenLosses:
    """What a loss over completions gives; the trainer averages as ``CompletionLoss.average`` says."""

    losses: Float[Tensor, "b t"]
    metrics: Metrics


@dataclass(frozen=True, kw_only=True)
class Loss:
    """A loss over answers that are given; one entry of a recipe's ``loss`` section."""

    name: ClassVar[str]
    paper: ClassVar[str]
    reads: ClassVar[Literal["completions", "preferences"]]

    @property
    def measures_against(self) -> frozenset[str]:
        """Roles of the models whose heads ``measure`` is given: ``REFERENCE`` and those of ``teachers``."""
        return frozenset()

    @property
    def teachers(self) -> Mapping[str, str]:
        """Role -> folder or name of a further model, held in memory during training."""
        return {}

    @property
    def in_head(self) -> bool:
        """Whether ``measure`` is to be called."""
        return False

    def measure(self, head: Head, fixed: Mapping[str, FixedHead]) -> dict[str, Tensor]:
        """``[b t]`` each: what the loss needs of whole distributions, 0 where ``head.rows`` does not hold."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class CompletionLoss(Loss):
    """A loss over tokens of completions."""

    reads: ClassVar[Literal["completions"]] = "completions"
    average: ClassVar[Literal["tokens", "sequences"]]
    """Over all tokens of the optimiser step, or over its sequences of the mean over each one's tokens."""

    @property
    def off_by_one(self) -> bool:
        """Whether to look at the prediction behind each token in place of the one of it, as a released code does."""
        return False

    def per_token(self, answers: Answers) -> TokenLosses:
        """The loss of every token."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class PreferenceLoss(Loss):
    """A loss over pairs of a preferred and a rejected answer to one prompt."""

    reads: ClassVar[Literal["preferences"]] = "preferences"

    def per_pair(self, chosen: Answers, rejected: Answers) -> PairLosses:
        """The loss of every pair."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class ScoredLoss(PreferenceLoss):
    """A preference loss that reads a score of every rejected token, computed once before training."""

    @property
    def leaves_end_out(self) -> bool:
        """Whether the score of the token that ends an answer is 0."""
        return False

    @property
    def scorers(self) -> Mapping[str, str]:
        """Role -> folder or name of a model that ``score`` is given; in memory only while scores are computed."""
        raise NotImplementedError

    def score(
        self, fixed: Mapping[str, FixedHead], targets: Int[Tensor, "b t"], transform: Transform
    ) -> Float[Tensor, "b t"]:
        """The score of every target, 0 where it is -100."""
        raise NotImplementedError
