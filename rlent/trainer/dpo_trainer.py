"""``TokenDPOTrainer``: TRL's DPOTrainer with a loss over single tokens of preferred and rejected answers."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from trl.trainer.dpo_trainer import DPOTrainer

from rlent.interventions.stages import Mean
from rlent.losses import REFERENCE, Answers, PairLosses, PreferenceLoss, ScoredLoss
from rlent.trainer.batches import Batch
from rlent.trainer.head import TokenOutput, install_token_head
from rlent.trainer.loss_config import TokenDPOConfig
from rlent.trainer.loss_trainer import LossTrainer, labels_of, own_args, tokens_of
from rlent.trainer.reference import reference_policy
from rlent.trainer.scores import COLUMN, ScoreCollator, with_scores
from rlent.trainer.teachers import head_of
from rlent_kernels import FixedHead


class TokenDPOTrainer(LossTrainer, DPOTrainer):
    """Preference training whose loss sees every token of both answers.

    Used as TRL's trainer, with rows of ``prompt``, ``chosen`` and ``rejected``, plus:

    Args:
        loss: one of ``rlent.losses`` over pairs.
        args: a ``TokenDPOConfig``; plain DPOConfig is refused.

    Raises:
        ConfigError: an option or a model does not fit the loss.
    """

    _tag_names = ["trl", "dpo", "rlent"]  # noqa: RUF012 (TRL's own attribute)
    _name = "TokenDPO"

    loss: PreferenceLoss

    def __init__(
        self,
        model: Any,
        *positional: Any,
        loss: PreferenceLoss,
        args: TokenDPOConfig,
        **kwargs: Any,
    ) -> None:
        super().__init__(model, *positional, args=own_args(args, TokenDPOConfig), **kwargs)
        self._set_up(loss)
        if self.ref_model is not None:
            install_token_head(self._transformers_model(self.ref_model), temperature=1.0)
        if isinstance(loss, ScoredLoss):
            self.data_collator = ScoreCollator.like(self.data_collator)
            self.train_dataset = with_scores(self, loss)

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        columns: Any = self._signature_columns
        if COLUMN not in columns:
            self._signature_columns = [*columns, COLUMN]

    def _compute_loss(self, model: Any, inputs: Batch, return_outputs: bool = False) -> Tensor:
        assert not return_outputs
        tokens, labels = tokens_of(inputs), labels_of(inputs, inputs["completion_mask"])
        mask = inputs["completion_mask"][:, 1:].bool()
        ref_logp, fixed = self._reference(tokens, labels)
        output = self._score(model, tokens, labels, {**fixed, **self._fixed_heads(tokens)})
        self._record_tokens(output, mask)
        chosen, rejected = _halves(output, ref_logp, mask)
        rejected = replace(rejected, score=inputs.get("rejected_scores"))
        pairs = self.loss.per_pair(chosen, rejected)
        self._record_pairs(pairs, chosen, rejected)
        return pairs.losses.mean()

    def _reference(
        self, tokens: dict[str, Tensor], labels: Tensor
    ) -> tuple[Tensor, dict[str, FixedHead]]:
        """Log-probabilities under the reference policy, and its head where the loss measures against it."""
        wanted = REFERENCE in self.loss.measures_against
        with (
            torch.no_grad(),
            self._without_checkpointing(),
            self.accelerator.autocast(),
            reference_policy(self) as reference,
        ):
            answer = reference(**tokens, labels=labels, fused_lm_head=True, return_hidden=wanted)
            fixed = {}
            if wanted:
                fixed[REFERENCE] = head_of(self._transformers_model(reference), answer.hidden)
        return answer.log_probs, fixed

    def _record_pairs(self, pairs: PairLosses, chosen: Answers, rejected: Answers) -> None:
        count = len(pairs.losses)
        margins = pairs.chosen_reward - pairs.rejected_reward
        of_pairs = {
            "rewards/chosen": pairs.chosen_reward,
            "rewards/rejected": pairs.rejected_reward,
            "rewards/accuracies": (margins > 0).float(),
            "rewards/margins": margins,
            "logps/chosen": chosen.logp.detach().sum(1),
            "logps/rejected": rejected.logp.detach().sum(1),
        }
        means = {name: Mean(values.sum(), count) for name, values in of_pairs.items()}
        self.record_metrics({**means, **pairs.metrics})


def _halves(output: TokenOutput, ref_logp: Tensor, mask: Tensor) -> tuple[Answers, Answers]:
    """The preferred answers, which stand first in a micro-batch, and the rejected ones."""
    assert output.log_probs is not None
    measured = {name: values.chunk(2) for name, values in (output.measured or {}).items()}
    chosen, rejected = (
        Answers(
            logp=output.log_probs.chunk(2)[half],
            ref_logp=ref_logp.chunk(2)[half],
            mask=mask.chunk(2)[half],
            measured={name: halves[half] for name, halves in measured.items()},
        )
        for half in (0, 1)
    )
    return chosen, rejected
