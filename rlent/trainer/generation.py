"""From TRL's generation to a batch that the interventions have seen: the first half of ``EntropyGRPOTrainer``."""

from collections import defaultdict
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from rlent.advantages import group_advantages
from rlent.errors import ConfigError, RewardError
from rlent.interventions.stages import Mean, OnAdvantages, OnFilter, OnRewards, OnSelect
from rlent.objective import Objective
from rlent.tracking import RolloutLog
from rlent.trainer.batches import Batch, has_images, loss_mask, truncated
from rlent.trainer.engine_trainer import EngineTrainer
from rlent.trainer.metrics import MeanMetrics
from rlent.trainer.reference import reference_policy
from rlent.trainer.refill import (
    FreshPrompts,
    Refill,
    Share,
    empty_groups,
    without_given_up,
)
from rlent.trainer.reward_errors import rewards_of_all_ranks
from rlent.types import Rollouts, Selection

ROLLOUTS_ONLY = ("reward_parts", "truncated", "texts", "answers", "budgets")
"""Entries of a generation batch that its micro-batches do not need."""


class RolloutTrainer(EngineTrainer):
    """The trainer with the stages of a chain that run once per generation batch."""

    rollout_log: RolloutLog | None
    objective: Objective

    # TRL annotates these more loosely than it fills them.
    num_generations_eval: Any
    scale_rewards: Any

    _reward_parts: Tensor
    """Rewards by function of all ranks' completions of the last generation."""
    _means: dict[str, MeanMetrics]
    _fresh_prompts: FreshPrompts | None
    """Where prompts come from when groups are replaced."""

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> Batch:
        with self._timed("rollout"):
            return self._rolled_out(inputs)

    def _timed(self, phase: str) -> AbstractContextManager[None]:
        return self._clock.phase(phase) if self._mode == "train" else nullcontext()

    def _rolled_out(self, inputs: list[dict[str, Any]]) -> Batch:
        """A generation batch after every stage that runs once on it."""
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
            batch.pop(name, None)
        return self._counted(batch, rollouts, keep) if self._mode == "train" else batch

    @property
    def _filters(self) -> bool:
        return self._mode == "train" and self.chain.has_stage(OnFilter)

    def _roll_out(
        self, inputs: list[dict[str, Any]], *, rows: int | None = None
    ) -> tuple[Batch, Tensor]:
        """Generate once; the batch with rewards after ``on_rewards``, and the rows that ``on_filter`` keeps.

        Of all but the first ``rows`` nothing is kept, and nobody is told their rewards.
        """
        self._scored.clear()
        self._captured = None
        budgets = self._cutting
        inputs = inputs if budgets is None else budgets.repeated(inputs)
        batch = super()._generate_and_score_completions(inputs)
        batch |= self._described(batch, inputs)
        if self._mode == "train":
            self._generated += float(self.reduce.sum(batch["completion_mask"].sum()))
        keep = torch.ones_like(batch["truncated"])
        if rows is not None:
            keep[rows:] = False
            batch["reward"] = torch.where(keep, batch["reward"], torch.nan)
            batch["reward_parts"] = torch.where(keep.unsqueeze(1), batch["reward_parts"], torch.nan)
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
        if (budgets := self._cutting) is not None:
            ids = batch["completion_ids"]
            tree = budgets.tree(ids.size(1), ids.device)
            batch |= {"budgets": tree, "tool_mask": (tree.segment >= 0).long()}
            batch["num_items_in_batch"] = self.reduce.sum(loss_mask(batch).sum())
        if (own := self._own_tokens(batch["completion_ids"])) is not None:
            batch["tool_mask"] = own.long()
            batch["num_items_in_batch"] = self.reduce.sum(loss_mask(batch).sum())
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
        further |= self._old_statistics(batch)
        old_logp, old_entropy = self._old_scores(batch)
        if old_entropy is not None:
            further |= {"old_logp": old_logp, "old_entropy": old_entropy}
        if "ref_logp" in needs and "ref_per_token_logps" not in batch:
            with torch.no_grad(), reference_policy(self) as reference:
                further["ref_per_token_logps"], _ = self._score(reference, batch, self._rows)
        return further

    def _decoded(self, ids: Tensor) -> list[str]:
        return self._tokenizer.batch_decode(ids, skip_special_tokens=True)

    @cached_property
    def _vocabulary(self) -> tuple[str, ...]:
        """The text of every token, by its number."""
        return tuple(
            self._tokenizer.batch_decode([[number] for number in range(len(self._tokenizer))])
        )

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
            old_statistics=self._old_statistics_of(batch),
            texts=None if texts is None else tuple(texts),
            reward_parts=batch["reward_parts"],
            reward_names=tuple(self.reward_func_names),
            reward=batch["reward"],
            truncated=batch["truncated"],
            answers=None if answers is None else tuple(answers),
            step=self.state.global_step,
            budgets=batch.get("budgets"),
            vocabulary=self._vocabulary if "vocabulary" in self.chain.needs else None,
            prompt_mask=batch["prompt_mask"].bool(),
            train=self._mode == "train",
            reduce=self.reduce,
        )

    def _prompts_to_draw(self) -> FreshPrompts | None:
        if self.chain.resample_rounds == 0:
            return None
        if not hasattr(self.train_dataset, "__getitem__"):
            raise ConfigError(
                "groups can only be replaced from a dataset that can be indexed",
                key="data",
                remedy="load the data as a map-style dataset",
            )
        return FreshPrompts(self.train_dataset, seed=self.args.seed)

    def _refill(self, batch: Batch, keep: Tensor) -> tuple[Batch, Tensor]:
        """Generate from other prompts until no group is empty on any rank, or the rounds are used up."""
        if has_images(batch):
            raise ConfigError(
                "completions can only be given up in text-only training", key="interventions"
            )
        size = self._generations
        refill = Refill(
            prompts=self._fresh_prompts,
            rounds=self.chain.resample_rounds,
            size=size,
            pad_token=self._tokenizer.pad_token_id,
            reduce=self.reduce,
        )
        batch, keep, rounds = refill(batch, keep, self._further_round)
        empty = Mean(len(empty_groups(keep, size)), len(keep) // size)
        self.record_metrics({"resampling/rounds": float(rounds), "resampling/empty_groups": empty})
        return batch, keep

    def _further_round(self, inputs: list[dict[str, Any]], share: Share) -> tuple[Batch, Tensor]:
        """Generate this rank's share of a round, and leave the metrics as they are.

        They are those of the prompts that the data loader gave. With the others among them, means would depend on how
        many ranks there are, and on which prompts are hard.
        """
        mode, native = self._mode, self._native
        metrics, self._metrics[mode] = self._metrics[mode], defaultdict(list)
        means, self._means[mode] = self._means[mode], MeanMetrics(self.accelerator.device)
        with nullcontext() if native is None else native.generating(share):
            fresh = self._roll_out(inputs, rows=share.own * self._generations)
        self._metrics[mode], self._means[mode] = metrics, means
        self._metrics[mode]["num_tokens"] = [self.state.num_input_tokens_seen]
        return fresh

    def _counted(self, batch: Batch, rollouts: Rollouts, keep: Tensor) -> Batch:
        """The batch with the numbers that losses divide by, without the rollouts that were given up."""
        batch["sequences_in_batch"] = self.reduce.sum(keep.sum())
        idle = self._idle(batch, rollouts)
        if idle is not None:
            batch["idle"] = idle
            self.record_metrics({"saved/rollouts": Mean((idle & keep).sum(), keep.sum())})
        if not self._filters:
            return batch
        batch["kept"] = keep
        batch["num_items_in_batch"] = self.reduce.sum(rollouts.mask.sum())
        return without_given_up(batch, keep, self.args.steps_per_generation)

    def _idle(self, batch: Batch, rollouts: Rollouts) -> Tensor | None:
        """Rollouts [n] that add nothing to the loss; None where they must be run all the same."""
        args = self.args
        # Their log-probabilities and entropies must be known, or the metrics would not cover all tokens.
        known = rollouts.old_logp is not None and rollouts.old_entropy is not None
        pulls = self.objective.surrogate.learns_without_advantage
        read = self.chain.reads_idle_rollouts or self.beta != 0.0
        needed = read or pulls or args.averages_micro_batches or has_images(batch)
        if not args.skip_idle_rollouts or needed or not known or args.off_policy_mask_threshold:
            return None
        advantage = batch["advantages"]
        advantage = advantage.unsqueeze(1) if advantage.dim() == 1 else advantage
        learns = batch.get("select", rollouts.mask) & rollouts.mask & (advantage != 0)
        return ~learns.any(dim=1)

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
        if (budgets := self._cutting) is not None:
            completions, completion_ids_list = budgets.judged(completions)
        score = partial(
            super()._calculate_rewards, inputs, prompts, completions, completion_ids_list
        )
        shape = (len(prompts), len(self.reward_funcs))
        with self._timed("rewards"):
            parts = rewards_of_all_ranks(score, shape, self.accelerator.device)
        for name, column in zip(self.reward_func_names, parts.unbind(dim=1), strict=True):
            if column.isinf().any():
                raise RewardError(f"the reward {name} is infinite for a completion")
        self._reward_parts = parts
        return parts

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
