"""The passes over completions that exist: log-probabilities, entropies and what else is asked of a distribution."""

from typing import Any

import torch
from torch import Tensor

from rlent.distributions import Statistic
from rlent.interventions import Chain
from rlent.sharding import gathered
from rlent.trainer.batches import Batch, loss_mask
from rlent.trainer.head import Reference
from rlent.trainer.micro_batch_trainer import MicroBatchTrainer
from rlent.trainer.native_rollout import Captured
from rlent.trainer.reference import Asking, on_whole_sequence, reference_policy
from rlent.trainer.trl_contract import MULTIMODAL


def _entry(statistic: Statistic) -> str:
    """Where a batch holds a statistic of the generating policy's distributions."""
    return f"old_statistics/{statistic}"


class ScoringTrainer(MicroBatchTrainer):
    """The trainer that scores completions, once for everybody who reads the scores."""

    chain: Chain

    _scored: list[tuple[Tensor, Tensor]]
    """Log-probabilities and entropies of the scoring passes since the last generation."""
    _captured: Captured | None
    """What the engine noted of the completions that are being scored."""

    def _get_per_token_logps_and_entropies(self, *args: Any, **kwargs: Any) -> Any:
        """Score as TRL does, and remember the entropies of a scoring pass: the head gives both at once."""
        width, device = args[3], args[1].device
        if (captured := self._take_captured(width, device)) is not None:
            return *captured, None
        kwargs["compute_entropy"] = True
        logp, entropy, aux_loss = super()._get_per_token_logps_and_entropies(*args, **kwargs)
        if not torch.is_grad_enabled():
            self._scored.append((logp, entropy))
        return logp, entropy, aux_loss

    def _take_captured(self, width: int, device: torch.device) -> tuple[Tensor, Tensor] | None:
        """The engine's scores in place of TRL's scoring pass, which comes before any other of a generation batch."""
        args = self.args
        scored_by_trl = (
            args.gradient_accumulation_steps % (args.steps_per_generation * args.num_iterations)
            != 0
        )
        if torch.is_grad_enabled() or self._captured is None or not scored_by_trl:
            return None
        if self._scored:
            return None
        self._scored.append(self._captured.padded(width, device))
        return self._scored[0]

    def _score(self, model: Any, inputs: Batch, rows: int | None = None) -> tuple[Tensor, Tensor]:
        """Log-probability and entropy of every completion token, ``rows`` completions at a time."""
        ids, attended = inputs["completion_ids"], inputs["completion_mask"]
        logp, entropy, _ = self._get_per_token_logps_and_entropies(
            model,
            torch.cat([inputs["prompt_ids"], ids], dim=1),
            torch.cat([inputs["prompt_mask"], attended], dim=1),
            ids.size(1),
            batch_size=rows,
            **{name: inputs.get(name) for name in MULTIMODAL},
        )
        return logp, entropy

    def _old_scores(self, batch: Batch) -> tuple[Tensor | None, Tensor | None]:
        """Log-probability and entropy under the generating policy, scored once more only if TRL did not."""
        old = batch.get("old_per_token_logps")
        for logp, entropy in self._scored:
            if logp is old:
                return logp, entropy
        if self._captured is not None:
            ids = batch["completion_ids"]
            return self._captured.padded(ids.size(1), ids.device)
        if self.chain.old_statistics:
            return self._scored[-1]
        if not self.chain.needs & {"old_entropy", "old_logp"}:
            return old, None
        with torch.no_grad():
            return self._score(self.model, batch, self._rows)

    def _old_statistics(self, batch: Batch) -> Batch:
        """Statistics of the generating policy's distributions, from a scoring pass: no engine notes them."""
        if not self.chain.old_statistics:
            return {}
        asking = Asking(self.model, statistics=self.chain.old_statistics)
        with torch.no_grad():
            self._score(asking, batch, self._rows)
        found = asking.statistics(batch["completion_ids"].size(1))
        return {_entry(each): values for each, values in found.items()}

    def _old_statistics_of(self, batch: Batch) -> dict[Statistic, Tensor]:
        return {each: batch[_entry(each)] for each in self.chain.old_statistics}

    @property
    def _rows(self) -> int:
        """Completions that are scored at once."""
        args = self.args
        train = self._mode == "train"
        return args.per_device_train_batch_size if train else args.per_device_eval_batch_size

    def _reference_at(self, inputs: Batch) -> Reference:
        """The reference policy at the tokens that learn."""
        mask = loss_mask(inputs)
        with torch.no_grad(), reference_policy(self) as reference:
            asked = Asking(reference, return_hidden=True)
            self._score(asked, inputs)
            head = self._transformers_model(reference).get_output_embeddings()
        hidden = asked.answer.hidden
        rows = on_whole_sequence(inputs.get("select", mask) & mask, hidden.size(1) + 1)
        weight, bias = gathered(head.weight), None if head.bias is None else gathered(head.bias)
        return Reference(hidden=hidden, weight=weight, bias=bias, rows=rows)

    def _transformers_model(self, model: Any) -> Any:
        unwrapped: Any = self.accelerator.unwrap_model(model)
        return unwrapped.get_base_model() if hasattr(unwrapped, "peft_config") else unwrapped
