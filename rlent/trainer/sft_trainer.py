"""``TokenSFTTrainer``: TRL's SFTTrainer with a loss over single tokens of completions."""

from typing import Any

import torch
from torch import Tensor
from trl.trainer.sft_trainer import SFTTrainer

from rlent.losses import Answers, CompletionLoss
from rlent.numerics import fill
from rlent.trainer.batches import Batch
from rlent.trainer.loss_config import TokenSFTConfig
from rlent.trainer.loss_trainer import LossTrainer, own_args, tokens_of
from rlent_kernels import IGNORE_INDEX


class TokenSFTTrainer(LossTrainer, SFTTrainer):
    """Training on completions whose loss sees every token.

    Used as TRL's trainer, with rows of ``prompt`` and ``completion`` or of ``text``, plus:

    Args:
        loss: one of ``rlent.losses`` over completions.
        args: a ``TokenSFTConfig``; plain SFTConfig is refused.

    The loss is averaged over all tokens or sequences of the optimiser step, over all processes, so that the gradient
    does not depend on how the step is split.

    Raises:
        ConfigError: an option or a model does not fit the loss.
    """

    _tag_names = ["trl", "sft", "rlent"]  # noqa: RUF012 (TRL's own attribute)
    _name = "TokenSFT"
    loss_is_scaled_for_ga = True

    loss: CompletionLoss

    def __init__(
        self,
        model: Any,
        *positional: Any,
        loss: CompletionLoss,
        args: TokenSFTConfig,
        **kwargs: Any,
    ) -> None:
        super().__init__(model, *positional, args=own_args(args, TokenSFTConfig), **kwargs)
        self._set_up(loss)

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: torch.device) -> Tensor:
        """Tokens, or sequences with a token to learn, of the optimiser step on all ranks."""
        items = torch.zeros((), dtype=torch.int64, device=device)
        for batch in batch_samples:
            learnt = _learnt(self._seen(batch)["labels"]).to(device)
            items += learnt.sum() if self.loss.average == "tokens" else learnt.any(1).sum()
        return self.reduce.sum(items)

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        assert not return_outputs
        assert num_items_in_batch is not None
        answers = self._answers(model, inputs)
        result = self.loss.per_token(answers)
        self.record_metrics(result.metrics)
        learnt = fill(result.losses, answers.mask)
        if self.loss.average == "sequences":
            learnt = learnt.sum(1) / answers.mask.sum(1).clamp(min=1)
        # Data parallelism averages the gradients of the ranks.
        loss = learnt.sum() / num_items_in_batch.clamp(min=1) * self.accelerator.num_processes
        self._remember(inputs, loss)
        return loss

    def _answers(self, model: Any, batch: Batch) -> Answers:
        batch = self._seen(batch)
        tokens, mask = tokens_of(batch), _learnt(batch["labels"])
        output = self._score(model, tokens, batch["labels"], self._fixed_heads(tokens))
        self._record_tokens(output, mask)
        assert output.log_probs is not None
        return Answers(
            logp=output.log_probs, ref_logp=None, mask=mask, measured=output.measured or {}
        )

    def _seen(self, batch: Batch) -> Batch:
        return one_late(batch) if self.loss.off_by_one else batch


def one_late(batch: Batch) -> Batch:
    """The batch with every label one position later, behind which a token of padding makes room for the last."""

    def with_column(values: Tensor, value: int, *, first: bool) -> Tensor:
        column = torch.full_like(values[:, :1], value)
        return torch.cat([column, values] if first else [values, column], dim=1)

    return {
        "input_ids": with_column(batch["input_ids"], 0, first=False),
        "attention_mask": with_column(batch["attention_mask"], 0, first=False),
        "labels": with_column(batch["labels"], IGNORE_INDEX, first=True),
    }


def _learnt(labels: Tensor) -> Tensor:
    """Positions [b t-1] whose next token is learnt."""
    return labels[:, 1:] != IGNORE_INDEX
