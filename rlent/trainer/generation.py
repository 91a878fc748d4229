"""From TRL's generation to a batch that the interventions have seen: the first half of ``EntropyGRPOTrainer``."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from trl.trainer.grpo_trainer import GRPOTrainer

from rlent.advantages import group_advantages
from rlent.errors import ConfigError
from rlent.interventions import Chain, Metrics
from rlent.interventions.stages import Mean, OnAdvantages, OnFilter, OnRewards, OnSelect
from rlent.reduce import Reduce
from rlent.tracking import RolloutLog
from rlent.trainer.batches import Batch, loss_mask, truncated
from rlent.trainer.reference import reference_policy
from rlent.trainer.refill import FreshPrompts, empty_groups, fill_groups, without_given_up
from rlent.trainer.trl_contract import MULTIMODAL
from rlent.types import Rollouts, Selection

ROLLOUTS_ONLY = ("reward_parts", "truncated", "texts", "answers")
"""Entries of a generation batch that its micro-batches do not need."""


class RolloutTrainer(GRPOTrainer):
    """TRL's trainer with the stages of a chain that run once per generation batch."""

    chain: Chain
    reduce: Reduce
    rollout_log: RolloutLog | None

    # TRL annotates these more loosely than it fills them.
    args: Any
    model: Any
    num_generations: Any
    num_generations_eval: Any
    scale_rewards: Any
    _tokenizer: Any

    _scored: list[tuple[Tensor, Tensor]]
    """Log-probabilities and entropies of the scoring passes since the last generation."""
    _reward_parts: Tensor
    """Rewards by function of all ranks' completions of the last generation."""
    _fresh_prompts: FreshPrompts | None
    """Where prompts come from when groups are replaced."""

    def record_metrics(self, metrics: Metrics) -> None:
        raise NotImplementedError

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> Batch:
        batch, keep = self._roll_out(inputs)
        filters = self._filters
        if filters:
            batch, keep = self._refill(batch, keep)
        rollouts = self._rollouts(batch, keep)
        if filters or self.chain.has_stage(OnRewards):
            batch["advantages"] = self._advantages(torch.where(keep, rollouts.reward, torch.nan))
        if self.chain.has_stage(OnAdvantages):
            advantage = batch["advantages"].unsqueeze(1).expand_as(rollouts.mask)
            batch["advantages"], metrics = self.chain.on_advantages(rollouts, advantage)
            self.record_metrics(metrics)
        self._select(batch, rollouts)
        batch["row"] = torch.arange(len(rollouts.mask), device=rollouts.mask.device)
        if self.rollout_log is not None and self._mode == "train":
            self.rollout_log.start(rollouts)
        for name in ROLLOUTS_ONLY:
            del batch[name]
        return self._count_what_is_kept(batch, rollouts, keep) if filters else batch

    @property
    def _filters(self) -> bool:
        return self._mode == "train" and self.chain.has_stage(OnFilter)

    def _roll_out(self, inputs: list[dict[str, Any]]) -> tuple[Batch, Tensor]:
        """Generate once; the batch with rewards after ``on_rewards``, and the rows that ``on_filter`` keeps."""
        self._scored.clear()
        batch = super()._generate_and_score_completions(inputs)
        batch |= self._described(batch, inputs)
        keep = torch.ones_like(batch["truncated"])
        rollouts = self._rollouts(batch, keep)
        if self.chain.has_stage(OnRewards):
            batch["reward"], metrics = self.chain.on_rewards(rollouts)
            rollouts = replace(rollouts, reward=batch["reward"])
            self.record_metrics(metrics)
        if self._filters:
            keep, metrics = self.chain.on_filter(rollouts, keep)
            self.record_metrics(metrics)
        return batch, keep

    def _described(self, batch: Batch, inputs: list[dict[str, Any]]) -> Batch:
        """What the rollouts hold beyond TRL's batch, a row per completion."""
        rows = len(batch["completion_ids"])
        first = self.accelerator.process_index * rows
        parts = self._reward_parts[first : first + rows]
        weights = self.reward_weights.to(parts.device)
        scorable = ~parts.isnan().all(dim=1)
        ids, needs = batch["completion_ids"], self.chain.needs
        further = {
            "group": (first + torch.arange(rows, device=ids.device)) // self._generations,
            "reward_parts": parts,
            "reward": torch.where(scorable, (parts * weights).nansum(dim=1), torch.nan),
            "truncated": truncated(batch, (*self.eos_token_ids, self._tokenizer.pad_token_id)),
            "texts": self._decoded(ids) if "texts" in needs else None,
            "answers": [row["answer"] for row in inputs] if "answer" in inputs[0] else None,
        }
        old_logp, old_entropy = self._old_scores(batch)
        if old_entropy is not None:
            further |= {"old_logp": old_logp, "old_entropy": old_entropy}
        if "ref_logp" in needs and "ref_per_token_logps" not in batch:
            with torch.no_grad(), reference_policy(self) as reference:
                further["ref_per_token_logps"], _ = self._score(reference, batch, self._rows)
        return further

    def _decoded(self, ids: Tensor) -> list[str]:
        return self._tokenizer.batch_decode(ids, skip_special_tokens=True)

    def _rollouts(self, batch: Batch, keep: Tensor) -> Rollouts:
        texts, answers = batch["texts"], batch["answers"]
        return Rollouts(
            prompt_ids=batch["prompt_ids"],
            completion_ids=batch["completion_ids"],
            mask=loss_mask(batch) & keep.unsqueeze(1),
            group=batch["group"],
            old_logp=batch.get("old_per_token_logps", batch.get("old_logp")),
            old_entropy=batch.get("old_entropy"),
            ref_logp=batch.get("ref_per_token_logps"),
            texts=None if texts is None else tuple(texts),
            reward_parts=batch["reward_parts"],
            reward_names=tuple(self.reward_func_names),
            reward=batch["reward"],
            truncated=batch["truncated"],
            answers=None if answers is None else tuple(answers),
            step=self.state.global_step,
            reduce=self.reduce,
        )

    def _refill(self, batch: Batch, keep: Tensor) -> tuple[Batch, Tensor]:
        """Generate from other prompts until no group is empty on any rank, or the rounds are used up."""
        if any(name in batch for name in MULTIMODAL):
            raise ConfigError(
                "completions can only be given up in text-only training", key="interventions"
            )
        size, rounds = self._generations, 0
        while rounds < self.chain.resample_rounds:
            wanted = int(
                self.reduce.max(torch.tensor(len(empty_groups(keep, size))).to(keep.device))
            )
            if wanted == 0:
                break
            assert self._fresh_prompts is not None
            prompts = self._fresh_prompts.draw(wanted)
            fresh, usable = self._roll_out([dict(row) for row in prompts for _ in range(size)])
            pad_token = self._tokenizer.pad_token_id
            batch, keep = fill_groups(batch, keep, fresh, usable, size=size, pad_token=pad_token)
            rounds += 1
        empty = Mean(len(empty_groups(keep, size)), len(keep) // size)
        self.record_metrics({"resampling/rounds": float(rounds), "resampling/empty_groups": empty})
        return batch, keep

    def _count_what_is_kept(self, batch: Batch, rollouts: Rollouts, keep: Tensor) -> Batch:
        batch["kept"] = keep
        batch["num_items_in_batch"] = self.reduce.sum(rollouts.mask.sum())
        batch["sequences_in_batch"] = self.reduce.sum(keep.sum())
        return without_given_up(batch, keep, self.args.steps_per_generation)

    def _select(self, batch: Batch, rollouts: Rollouts) -> None:
        """Add to the batch which tokens learn and which are counted."""
        if self.chain.has_stage(OnSelect):
            everything = Selection(select=rollouts.mask, count=rollouts.mask)
            selection, metrics = self.chain.on_select(rollouts, everything)
            batch["select"], batch["count"] = selection.select, selection.count
            batch["counted_in_batch"] = self.reduce.sum(selection.count.sum())
            self.record_metrics(metrics)

    def _calculate_rewards(
        self, inputs: Any, prompts: Any, completions: Any, completion_ids_list: Any
    ) -> Tensor:
        parts = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        assert isinstance(parts, Tensor)
        self._reward_parts = parts
        return parts

    def _generate_single_turn(self, *args: Any, **kwargs: Any) -> Any:
        # Without one outer context, autocast would round every weight anew for every token.
        with self.accelerator.autocast():
            return super()._generate_single_turn(*args, **kwargs)

    def _get_per_token_logps_and_entropies(self, *args: Any, **kwargs: Any) -> Any:
        """Score as TRL does, and remember the entropies of a scoring pass: the head gives both at once."""
        kwargs["compute_entropy"] = True
        logp, entropy, aux_loss = super()._get_per_token_logps_and_entropies(*args, **kwargs)
        if not torch.is_grad_enabled():
            self._scored.append((logp, entropy))
        return logp, entropy, aux_loss

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
        if not self.chain.needs & {"old_entropy", "old_logp"}:
            return old, None
        for logp, entropy in self._scored:
            if logp is old:
                return logp, entropy
        with torch.no_grad():
            return self._score(self.model, batch, self._rows)

    @property
    def _mode(self) -> str:
        return "train" if self.model.training else "eval"

    @property
    def _rows(self) -> int:
        """Completions that are scored at once."""
        args = self.args
        train = self._mode == "train"
        return args.per_device_train_batch_size if train else args.per_device_eval_batch_size

    @property
    def _generations(self) -> int:
        return self.num_generations if self._mode == "train" else self.num_generations_eval

    def _advantages(self, reward: Tensor) -> Tensor:
        """Group-relative advantages of this rank's rows, from the rewards of all ranks."""
        gathered = self.accelerator.gather(reward)
        assert isinstance(gathered, Tensor)
        advantages = group_advantages(gathered, self._generations, self.scale_rewards)
        first = self.accelerator.process_index * len(reward)
        return advantages[first : first + len(reward)]
