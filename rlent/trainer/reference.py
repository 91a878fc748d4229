"""The reference policy: loading it, and what is asked of it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.utils import use_adapter

from rlent.distributions import Statistic
from rlent.interventions import Chain
from rlent_kernels import IGNORE_INDEX

REFERENCE_NEEDS = frozenset({"ref_logp", "ref_kl"})


@contextmanager
def reference_loaded(args: GRPOConfig, chain: Chain) -> Iterator[None]:
    """TRL loads a reference policy only if ``beta`` is positive; inside, it does so for an intervention as well."""
    beta = args.beta
    if chain.needs & REFERENCE_NEEDS and beta == 0.0:
        args.beta = 1.0
    try:
        yield
    finally:
        args.beta = beta


@contextmanager
def reference_policy(trainer: Any) -> Iterator[Any]:
    """The reference model, or the policy without the adapter that is being trained."""
    if trainer.ref_model is not None:
        yield trainer.ref_model
        return
    policy = trainer.accelerator.unwrap_model(trainer.model)
    with use_adapter(policy, adapter_name="ref" if "ref" in policy.peft_config else None):
        yield trainer.model


class Asking:
    """A model that is asked for more than TRL asks, and whose answers are kept.

    Args:
        prompts: score prompts too, of which TRL asks nothing.
        further: keyword arguments of the token head, beside those that TRL passes.
    """

    def __init__(self, model: Any, *, prompts: bool = False, **further: Any) -> None:
        self._model = model
        self._prompts = prompts
        self._further = further
        self.answers: list[Any] = []

    def __call__(self, **inputs: Any) -> Any:
        if self._prompts:
            padding = inputs["attention_mask"] == 0
            inputs["labels"] = inputs["input_ids"].masked_fill(padding, IGNORE_INDEX)
        answer = self._model(**inputs, **self._further)
        self.answers.append(answer)
        return answer

    @property
    def answer(self) -> Any:
        """The only one."""
        (answer,) = self.answers
        return answer

    def statistics(self, width: int) -> dict[Statistic, Tensor]:
        """Statistics [n width] of the last tokens, of all answers."""
        asked: Sequence[Statistic] = self._further["statistics"]
        return {
            each: torch.cat([answer.statistics[each][:, -width:] for answer in self.answers])
            for each in asked
        }


def on_whole_sequence(rows: Tensor, length: int) -> Tensor:
    """``rows`` [b t] of the completions as positions [b length - 1] that predict the next token."""
    prompt = torch.zeros(len(rows), length - 1 - rows.size(1), dtype=torch.bool, device=rows.device)
    return torch.cat([prompt, rows], dim=1)
