"""AlignDistil: distillation from a DPO model, pushed away at every token from one that was trained in reverse.

"AlignDistil: Token-Level Language Model Alignment as Adaptive Policy Distillation", arXiv 2503.02832 (ACL 2025). With
the logits z_d of a DPO model and z_r of a model trained by DPO on the same pairs, preferred and rejected exchanged::

    TVD_t = sum_v |p_d - p_r|                                  between 0 and 2
    w_t   = beta2 TVD_t + 0.001
    z*_t  = z_d + w_t (z_d - z_r)
    L     = mean over answers of the mean over tokens of  (beta / w_t) KL( pi(.|s_t) || softmax(z*_t) )

over the tokens of preferred answers (the paper's off-policy form) and the whole vocabulary, with gradient in pi
alone. Whatever w_t, the optimum is the teacher ``softmax(z*_t)``.

Read in the released code and the figure of its front page, which agree in the push; the paper's text was not. Mended:
the released mask is off by one. It leaves out the prediction of an answer's first token and takes in the one after
its last; ``as_released`` does so too. The released temperature of the teacher is 1 in all its scripts and is no
option here; the on-policy form, which distils on the policy's own answers, is none of this trainer's. Released
settings: beta 0.1, beta2 10, learning rate 1e-6, 128 answers, 1 epoch, on UltraFeedback. Recipe::

    loss: {align_distil: {dpo_model: runs/dpo/model, reverse_model: runs/reverse/model}}
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from jaxtyping import Float
from torch import Tensor

from rlent.interventions.stages import Mean
from rlent.losses.contract import Answers, CompletionLoss, Head, TokenLosses
from rlent.numerics import fill
from rlent_kernels import Contrast, FixedHead, contrast_kl

TEACHER_KL, PUSH = "teacher_kl", "push"
LEAST_PUSH = 1e-3


@dataclass(frozen=True, kw_only=True)
class AlignDistil(CompletionLoss):
    """Divergence from a teacher that two preference models make together."""

    name: ClassVar[str] = "align_distil"
    paper: ClassVar[str] = "AlignDistil, arXiv 2503.02832"
    average: ClassVar[Literal["sequences"]] = "sequences"

    dpo_model: str
    """Folder, adapter's folder or name of the model trained by DPO."""
    reverse_model: str
    """The same of the model trained by DPO with preferred and rejected answers exchanged."""
    beta: float = 0.1
    """Scale of the loss, positive; the ``beta`` that both models were trained with."""
    beta2: float = 10.0
    """How much of the distance between both models the teacher is pushed by; the released on-policy runs have 15."""
    as_released: bool = False
    """Look one position too late, as the released code does."""

    def __post_init__(self) -> None:
        if not self.beta > 0:
            raise ValueError(f"beta must be positive, got {self.beta}")
        if self.beta2 < 0:
            raise ValueError(f"beta2 must not be negative, got {self.beta2}")

    @property
    def in_head(self) -> bool:
        return True

    @property
    def teachers(self) -> Mapping[str, str]:
        return {"dpo_model": self.dpo_model, "reverse_model": self.reverse_model}

    @property
    def measures_against(self) -> frozenset[str]:
        return frozenset(self.teachers)

    @property
    def off_by_one(self) -> bool:
        return self.as_released

    def measure(self, head: Head, fixed: Mapping[str, FixedHead]) -> dict[str, Tensor]:
        """Divergence from the teacher, and how far it is pushed, at every token."""
        contrast = Contrast(
            towards=fixed["dpo_model"],
            away=fixed["reverse_model"],
            base=LEAST_PUSH,
            rate=self.beta2,
        )
        divergence, push = contrast_kl(
            head.hidden, head.weight, contrast, head.rows, bias=head.bias, **head.transform
        )
        return {TEACHER_KL: divergence, PUSH: push}

    def per_token(self, answers: Answers) -> TokenLosses:
        divergence, push = answers.measured[TEACHER_KL], answers.measured[PUSH]
        count = answers.mask.sum()
        metrics = {
            f"{self.name}/{name}": Mean(fill(values.detach(), answers.mask).sum(), count)
            for name, values in ((TEACHER_KL, divergence), (PUSH, push))
        }
        losses = adaptive_distillation(divergence, fill(push, answers.mask, 1.0), self.beta)
        return TokenLosses(losses=losses, metrics=metrics)


def adaptive_distillation(
    divergence: Float[Tensor, "b t"], push: Float[Tensor, "b t"], beta: float
) -> Float[Tensor, "b t"]:
    """``(beta / w_t) KL(pi || teacher)``: the further the teacher is pushed, the less its divergence counts."""
    return beta / push * divergence
