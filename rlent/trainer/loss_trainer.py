"""What the trainers for given answers have in common: rlent's head, exact means, and whole checkpoints."""

from contextlib import AbstractContextManager
from functools import partial
from typing import Any

from torch import Tensor
from trl.models.utils import disable_gradient_checkpointing

from rlent.errors import ConfigError
from rlent.interventions import Metrics
from rlent.interventions.stages import Mean
from rlent.losses import Head, Loss
from rlent.reduce import distributed
from rlent.trainer.batches import Batch
from rlent.trainer.guarded_trainer import Guard
from rlent.trainer.head import TokenOutput, install_token_head
from rlent.trainer.loss_config import TokenLossConfig
from rlent.trainer.metrics import MeanMetrics, masked
from rlent.trainer.teachers import (
    fixed_head,
    load_teacher,
    refuse_unfit_adapter,
    transform_of,
    transformers_model,
)
from rlent.trainer.whole_checkpoints import WholeCheckpoints
from rlent_kernels import IGNORE_INDEX, FixedHead


class LossTrainer(Guard, WholeCheckpoints):
    """Mixed into TRL's trainers for given answers: scores micro-batches and knows no loss's name.

    Call ``_set_up`` after TRL's own ``__init__``.
    """

    loss: Any
    """A ``Loss`` of the kind that the trainer is for."""
    accelerator: Any
    _metrics: dict[str, Any]

    def _set_up(self, loss: Loss) -> None:
        self.loss = loss
        self.reduce = distributed()
        self.skipped_steps = 0
        self._losses = []
        self._staging = None
        self._loss_to_go_on = None
        self._means = MeanMetrics(self.accelerator.device)
        self._refuse_what_the_head_cannot_do()
        base = self._transformers_model(self.model)
        install_token_head(base, temperature=1.0)
        self._transform = transform_of(base)
        self._teachers = {
            role: load_teacher(name, f"loss.{loss.name}.{role}", base, self.accelerator)
            for role, name in loss.teachers.items()
        }

    def _refuse_what_the_head_cannot_do(self) -> None:
        if getattr(self, "aux_loss_enabled", False):
            raise ConfigError(
                "the token head gives no load-balancing loss of a mixture of experts",
                key="trainer.router_aux_loss_coef",
                remedy="set trainer.router_aux_loss_coef to 0",
            )
        refuse_unfit_adapter(self.accelerator.unwrap_model(self.model), "model.adapter")

    def _transformers_model(self, model: Any) -> Any:
        return transformers_model(self.accelerator.unwrap_model(model))

    # Scoring -----------------------------------------------------------------------------------------------------

    def _score(
        self, model: Any, inputs: dict[str, Tensor], labels: Tensor, fixed: dict[str, FixedHead]
    ) -> TokenOutput:
        """The policy on a micro-batch, with what the loss measures inside the head."""
        measure = None
        if self.loss.in_head:
            measure = partial(_measure, self.loss, labels[:, 1:], fixed)
        return model(**inputs, labels=labels, fused_lm_head=True, measure=measure)

    def _fixed_heads(self, inputs: dict[str, Tensor]) -> dict[str, FixedHead]:
        """The loss's further models on a micro-batch."""
        with self.accelerator.autocast(), self._without_checkpointing():
            return {
                role: fixed_head(teacher, self._transformers_model(teacher), inputs)
                for role, teacher in self._teachers.items()
            }

    def _without_checkpointing(self) -> AbstractContextManager[Any]:
        return disable_gradient_checkpointing(self.model, self.args.gradient_checkpointing_kwargs)

    # Metrics -----------------------------------------------------------------------------------------------------

    def record_metrics(self, metrics: Metrics) -> None:
        """Add to the metrics of the next log line; every rank must give the same names."""
        for name, value in metrics.items():
            mean = value if isinstance(value, Mean) else Mean(value, 1)
            self._means.add(name, mean)

    def _record_tokens(self, output: TokenOutput, mask: Tensor) -> None:
        assert output.entropy is not None
        self.record_metrics({"entropy": masked(output.entropy, mask)})

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        super().log({**logs, **self._means.flush(self.reduce)}, start_time)

    # Checkpoints -------------------------------------------------------------------------------------------------

    def _rank_state(self) -> dict[str, Any]:
        return {
            "ranks": self.accelerator.num_processes,
            "rows_per_step": self._rows_per_step,
            "means": self._means.state_dict(),
            "loss": (self._tr_loss, self._globalstep_last_logged),
            "skipped_steps": self.skipped_steps,
        }

    def _load_rank_state(self, state: dict[str, Any]) -> None:
        self._check_rows(state)
        self._means.load_state_dict(state["means"])
        self.skipped_steps = state["skipped_steps"]
        self._loss_to_go_on = state["loss"]


def tokens_of(batch: Batch) -> dict[str, Tensor]:
    """What a model is given of a micro-batch."""
    return {name: batch[name] for name in ("input_ids", "attention_mask")}


def labels_of(batch: Batch, learnt: Tensor) -> Tensor:
    """The tokens that are learnt, -100 elsewhere."""
    return batch["input_ids"].masked_fill(~learnt.bool(), IGNORE_INDEX)


def own_args(args: Any, expected: type[TokenLossConfig]) -> Any:
    """``args``. Raises ConfigError for TRL's plain configuration, whose options nobody has checked."""
    if not isinstance(args, expected):
        raise ConfigError(
            "args must refuse the options of TRL that a loss owns",
            expected=f"{expected.__name__}, which takes the other options of TRL",
            given=type(args).__name__,
        )
    return args


def _measure(
    loss: Loss,
    targets: Tensor,
    fixed: dict[str, FixedHead],
    head: Any,
    hidden: Tensor,
    **transform: Any,
) -> dict[str, Tensor]:
    """What the loss measures inside the policy's head."""
    return loss.measure(
        Head(
            hidden=hidden,
            weight=head.weight,
            bias=head.bias,
            targets=targets.to(hidden.device),
            transform=transform,
        ),
        fixed,
    )
