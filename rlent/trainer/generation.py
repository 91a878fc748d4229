"""From TRL's generation to a batch that the interventions have seen: the first half of ``EntropyGRPOTrainer``."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from trl.models.utils import unwrap_model_for_generation

from rlent.advantages import group_advantages
from rlent.errors import ConfigError, RewardError
from rlent.interventions import Chain
from rlent.interventions.stages import Mean, OnAdvantages, OnFilter, OnRewards, OnSelect
from rlent.tracking import RolloutLog
from rlent.trainer.batches import Batch, loss_mask, truncated
from rlent.trainer.micro_batch_trainer import MicroBatchTrainer
from rlent.trainer.native_rollout import Captured, NativeRollout, sampling_of
from rlent.trainer.reference import reference_policy
from rlent.trainer.refill import FreshPrompts, empty_groups, fill_groups, without_given_up
from rlent.trainer.trl_contract import MULTIMODAL
from rlent.types import Rollouts, Selection

ROLLOUTS_ONLY = ("reward_parts", "truncated", "texts", "answers")
"""Entries of a generation batch that its micro-batches do not need."""


class RolloutTrainer(MicroBatchTrainer):
    """The trainer with the stages of a chain that run once per generation batch."""

    chain: Chain
    rollout_log: RolloutLog | None

    # TRL annotates these more loosely than it fills them.
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
    _native: NativeRollout | None
    """rlent's engine, if it is the one that generates."""
    _captured: Captured | None
    """What the engine noted of the completions that are being scored."""

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
            del batch[name]
        return self._counted(batch, rollouts, keep) if self._mode == "train" else batch

    @property
    def _filters(self) -> bool:
        return self._mode == "train" and self.chain.has_stage(OnFilter)

    def _roll_out(self, inputs: list[dict[str, Any]]) -> tuple[Batch, Tensor]:
        """Generate once; the batch with rewards after ``on_rewards``, and the rows that ``on_filter`` keeps."""
        self._scored.clear()
        self._captured = None
        batch = super()._generate_and_score_completions(inputs)
        batch |= self._described(batch, inputs)
        if self._mode == "train":
            self._generated += float(self.reduce.sum(batch["completion_mask"].sum()))
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
        needed = self.chain.reads_idle_rollouts or self.beta != 0.0 or args.averages_micro_batches
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
        with self._timed("rewards"):
            parts = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        assert isinstance(parts, Tensor)
        for name, column in zip(self.reward_func_names, parts.unbind(dim=1), strict=True):
            if column.isinf().any():
                raise RewardError(f"the reward {name} is infinite for a completion")
        self._reward_parts = parts
        return parts

    def _generate_single_turn(self, prompt_ids: Any, images: Any, *args: Any, **kwargs: Any) -> Any:
        # Without one outer context, autocast would round every weight anew for every token.
        with self.accelerator.autocast():
            if self._native is None:
                return super()._generate_single_turn(prompt_ids, images, *args, **kwargs)
            if images is not None:
                raise ConfigError(
                    "rlent's engine generates from text alone",
                    key="rollout.engine",
                    remedy="use rollout.engine: transformers",
                )
            return self._generate_natively(self._native, prompt_ids), None

    def _generate_natively(
        self, native: NativeRollout, prompt_ids: list[list[int]]
    ) -> list[list[int]]:
        with self.whole_model() as model:
            generation = native.generate(model, prompt_ids, self.state.global_step)
        # With tools, a completion is put together from several turns, and scored as a whole.
        self._captured = None if self.tools else Captured.of(generation)
        return [completion.token_ids.tolist() for completion in generation.completions]

    def whole_model(self) -> AbstractContextManager[Any]:
        """The policy outside of its wrappers, with all its weights, also where ranks hold only their parts."""
        wrapped: Any = self.model_wrapped
        return unwrap_model_for_generation(
            wrapped,
            self.accelerator,
            gather_deepspeed3_params=self.args.ds3_gather_for_generation,
            gradient_checkpointing_kwargs=self.args.gradient_checkpointing_kwargs,
        )

    def _native_rollout(self) -> NativeRollout | None:
        if self.use_vllm or self.args.rollout_engine != "native":
            return None
        return NativeRollout(
            args=self.args,
            sampling=sampling_of(self.args, self.eos_token_ids),
            tokenizer=self._tokenizer,
            rank=self.accelerator.process_index,
        )

    # Scores -----------------------------------------------------------------------------------------------------

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
        if not self.chain.needs & {"old_entropy", "old_logp"}:
            return old, None
        with torch.no_grad():
            return self._score(self.model, batch, self._rows)

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
