"""Contrastive DPO: rejected tokens that a model of wrong answers likes, and one of right answers does not, count most.

"Critical Tokens Matter: Token-Level Contrastive Estimation Enhances LLM's Reasoning Capability", arXiv 2411.19943
(ICML 2025). Two models, tuned on right and on wrong answers, give every token of a rejected answer a score (Eq. 1)::

    log s_t = (1 + b) log P_pos(y_t) - b log P_neg(y_t) - log Z        Z: sum over the vocabulary

which is low at critical tokens, and the loss of a pair is ::

    -log sigmoid( gamma sum_t log pi/pi_ref (y_w) - gamma sum_t (1 - s_t) log pi/pi_ref (y_l) )

The scores are computed once, before training, and carry no gradient. Preferred answers are not weighted.

Read in the paper and in the released code, which differs: ``as_released`` is its form. There the sigmoid is taken of
every single position, preferred and rejected tokens paired by their index, and averaged over all positions of the
padded micro-batch, padding included (log 2 each); gamma is 0.1 where the paper says 1; the end token has the weight
1, of which the paper does not speak. Mended: for Qwen models the released weight of the end token is 0 in all but the
longest row. With scores of 0 the paper's form is DPO. Published settings: b = 1, 3 epochs, learning rate 4e-5, LoRA.
Recipe::

    loss: {cdpo: {positive: runs/positive/model, negative: runs/negative/model}}
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import logsigmoid

from rlent.interventions.stages import Mean
from rlent.losses.contract import Answers, PairLosses, ScoredLoss, Transform
from rlent.numerics import fill
from rlent.released import take_released_settings
from rlent_kernels import IGNORE_INDEX, Contrast, FixedHead, contrast_log_probs

_RELEASED = {"level": "position", "gamma": 0.1, "score_end": False}


@dataclass(frozen=True, kw_only=True)
class CDPO(ScoredLoss):
    """DPO whose rejected tokens weigh ``1 - s_t``, by the contrast of a right and a wrong model."""

    name: ClassVar[str] = "cdpo"
    paper: ClassVar[str] = "Critical Tokens Matter, arXiv 2411.19943"

    positive: str
    """Folder, adapter's folder or name of the model tuned on right answers."""
    negative: str
    """The same of the model tuned on wrong answers."""
    contrast: float = 1.0
    """How far the score is pushed from the wrong model, ``b`` of Eq. 1."""
    gamma: float = 1.0
    """Scale of the implied reward, positive; ``beta`` of DPO."""
    level: Literal["pair", "position"] = "pair"
    """One sigmoid for each pair, or one for each position of the padded micro-batch."""
    score_end: bool = True
    """Whether the end token has a score as all others, or the weight 1."""
    as_released: bool = False
    """The released code: ``level: position``, ``gamma: 0.1``, ``score_end: false``."""

    def __post_init__(self) -> None:
        if self.as_released:
            take_released_settings(self, _RELEASED)
        if not self.gamma > 0:
            raise ValueError(f"gamma must be positive, got {self.gamma}")
        if self.contrast < 0:
            raise ValueError(f"contrast must not be negative, got {self.contrast}")

    @property
    def leaves_end_out(self) -> bool:
        return not self.score_end

    @property
    def scorers(self) -> Mapping[str, str]:
        return {"positive": self.positive, "negative": self.negative}

    def score(
        self, fixed: Mapping[str, FixedHead], targets: Int[Tensor, "b t"], transform: Transform
    ) -> Float[Tensor, "b t"]:
        contrast = Contrast(towards=fixed["positive"], away=fixed["negative"], base=self.contrast)
        log_score = contrast_log_probs(contrast, targets, **transform)
        return fill(log_score.exp(), targets != IGNORE_INDEX)

    def per_pair(self, chosen: Answers, rejected: Answers) -> PairLosses:
        assert rejected.score is not None
        score = fill(rejected.score, rejected.mask)
        difference = chosen.log_ratio - (1 - score) * rejected.log_ratio
        tokens = rejected.mask.sum()
        return PairLosses(
            losses=cdpo_loss(difference, gamma=self.gamma, level=self.level),
            chosen_reward=self.gamma * chosen.log_ratio.detach().sum(1),
            rejected_reward=self.gamma * rejected.log_ratio.detach().sum(1),
            metrics={f"{self.name}/score": Mean(score.sum(), tokens)},
        )


def cdpo_loss(
    difference: Float[Tensor, "b t"], *, gamma: float, level: Literal["pair", "position"]
) -> Float[Tensor, " b"]:
    """Loss of each pair from preferred minus weighted rejected log-ratios, position by position."""
    if level == "pair":
        return -logsigmoid(gamma * difference.sum(1))
    return -logsigmoid(gamma * difference).mean(1)
