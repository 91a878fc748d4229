"""``EntropyGRPOTrainer``: TRL's GRPOTrainer with a chain of interventions.

The trainer knows the one expression of ``rlent.types.Signal`` and no method's name. It overrides ``_compute_loss``
once and adds what interventions need around TRL's generation; ``trl_contract`` lists every private name it uses.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer

from rlent.advantages import group_advantages
from rlent.aggregate import Step
from rlent.config import parse_interventions
from rlent.divergences import k3
from rlent.errors import ConfigError
from rlent.interventions import Intervention, Metrics, StepStatistics, chain
from rlent.interventions.stages import Mean, OnAdvantages, OnRewards, OnSelect, OnStep
from rlent.numerics import fill, safe_ratio, unit
from rlent.reduce import distributed
from rlent.surrogates import ratio_exponent
from rlent.tracking import RolloutLog
from rlent.trainer.batches import Batch, loss_mask, truncated
from rlent.trainer.config import own_config
from rlent.trainer.head import install_token_head
from rlent.trainer.losses import objective_of, ratio_bounds
from rlent.trainer.metrics import MeanMetrics, cispo_metrics, clip_metrics, masked
from rlent.trainer.needs import check_needs
from rlent.trainer.trl_contract import MULTIMODAL, check_contract
from rlent.types import Rollouts, Selection, Signal, Tokens

STATE_FILE = "interventions.pt"
"""State of the stateful interventions, beside TRL's files in a checkpoint."""


class EntropyGRPOTrainer(GRPOTrainer):
    """Group-relative policy optimisation whose every token can be selected, weighted, bounded and penalised.

    Used as TRL's trainer, plus:

    Args:
        interventions: in the order they act; config objects such as ``ForkingTokens(fraction=0.2)``, or mappings as in
            a recipe, ``{"forking_tokens": {"fraction": 0.2}}``.
        args: an ``EntropyGRPOConfig``; plain GRPOConfig is refused.
        rollout_log: where to record every rollout token by token, or None.

    Raises:
        ConfigError: an intervention is unknown, misconfigured, or needs what ``args`` cannot give.
        ContractError: the installed TRL has moved a private name that this class is built on.
    """

    _tag_names = ["trl", "grpo", "rlent"]  # noqa: RUF012 (TRL's own attribute)
    _name = "EntropyGRPO"

    # TRL annotates these more loosely than it fills them.
    args: Any
    model: Any
    max_completion_length: Any
    num_generations: Any
    num_generations_eval: Any
    importance_sampling_level: Any
    scale_rewards: Any
    _tokenizer: Any

    def __init__(
        self,
        model: Any,
        reward_funcs: Any = None,
        args: GRPOConfig | None = None,
        *positional: Any,
        interventions: Sequence[Intervention | Mapping[str, Any] | str] = (),
        rollout_log: RolloutLog | None = None,
        **kwargs: Any,
    ) -> None:
        check_contract()
        args = own_config(args)
        self.chain = chain(parse_interventions(interventions))
        check_needs(self.chain, args)
        super().__init__(model, reward_funcs, args, *positional, **kwargs)
        self._refuse_what_the_head_cannot_do()
        for scored in (self.model, self.ref_model):
            if scored is not None:
                install_token_head(self._transformers_model(scored), self.temperature)
        self.objective = objective_of(args)
        self.reduce = distributed()
        self.rollout_log = rollout_log
        self._means = {"train": MeanMetrics(), "eval": MeanMetrics()}
        self._scored: list[tuple[Tensor, Tensor]] = []
        self._reward_parts: Tensor | None = None
        self._step_sums = torch.zeros(3, dtype=torch.float64, device=self.accelerator.device)

    def _refuse_what_the_head_cannot_do(self) -> None:
        if is_deepspeed_zero3_enabled():
            raise ConfigError(
                "the token head cannot read a head that ZeRO stage 3 has partitioned",
                key="trainer.deepspeed",
                remedy="use ZeRO stage 2",
            )
        if self.aux_loss_enabled:
            raise ConfigError(
                "the token head gives no load-balancing loss of a mixture of experts",
                key="trainer.router_aux_loss_coef",
                remedy="set trainer.router_aux_loss_coef to 0",
            )

    def _transformers_model(self, model: Any) -> Any:
        unwrapped: Any = self.accelerator.unwrap_model(model)
        return unwrapped.get_base_model() if hasattr(unwrapped, "peft_config") else unwrapped

    # Generation batch -------------------------------------------------------------------------------------------

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> Batch:
        self._scored.clear()
        batch = super()._generate_and_score_completions(inputs)
        rollouts = self._rollouts(batch, inputs)
        if self.chain.has_stage(OnRewards):
            reward, metrics = self.chain.on_rewards(rollouts)
            rollouts = replace(rollouts, reward=reward)
            batch["advantages"] = self._advantages(reward)
            self.record_metrics(metrics)
        if self.chain.has_stage(OnAdvantages):
            advantage = batch["advantages"].unsqueeze(1).expand_as(rollouts.mask)
            batch["advantages"], metrics = self.chain.on_advantages(rollouts, advantage)
            self.record_metrics(metrics)
        self._select(batch, rollouts)
        batch["group"] = rollouts.group
        batch["row"] = torch.arange(len(rollouts.mask), device=rollouts.mask.device)
        if self.rollout_log is not None and self._mode == "train":
            self.rollout_log.start(rollouts)
        return batch

    def _select(self, batch: Batch, rollouts: Rollouts) -> None:
        """Add to the batch which tokens learn and which are counted."""
        if self.chain.has_stage(OnSelect):
            everything = Selection(select=rollouts.mask, count=rollouts.mask)
            selection, metrics = self.chain.on_select(rollouts, everything)
            batch["select"], batch["count"] = selection.select, selection.count
            batch["counted_in_batch"] = self.reduce.sum(selection.count.sum())
            self.record_metrics(metrics)
        if rollouts.old_entropy is not None:
            batch["old_entropy"] = rollouts.old_entropy

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

    def _rollouts(self, batch: Batch, inputs: list[dict[str, Any]]) -> Rollouts:
        assert self._reward_parts is not None
        mask = loss_mask(batch)
        rows = len(mask)
        first = self.accelerator.process_index * rows
        parts = self._reward_parts[first : first + rows]
        weights = self.reward_weights.to(parts.device)
        scorable = ~parts.isnan().all(dim=1)
        old_logp, old_entropy = self._old_scores(batch)
        return Rollouts(
            prompt_ids=batch["prompt_ids"],
            completion_ids=batch["completion_ids"],
            mask=mask,
            group=(first + torch.arange(rows, device=mask.device)) // self._generations,
            old_logp=old_logp,
            old_entropy=old_entropy,
            ref_logp=batch.get("ref_per_token_logps"),
            reward_parts=parts,
            reward=torch.where(scorable, (parts * weights).nansum(dim=1), torch.nan),
            truncated=truncated(batch, (*self.eos_token_ids, self._tokenizer.pad_token_id)),
            answers=tuple(row["answer"] for row in inputs) if "answer" in inputs[0] else None,
            step=self.state.global_step,
            reduce=self.reduce,
        )

    def _old_scores(self, batch: Batch) -> tuple[Tensor | None, Tensor | None]:
        """Log-probability and entropy under the generating policy, scored once more only if TRL did not."""
        if not self.chain.needs & {"old_entropy", "old_logp"}:
            return batch.get("old_per_token_logps"), None
        old = batch.get("old_per_token_logps")
        for logp, entropy in self._scored:
            if logp is old:
                return logp, entropy
        train = self._mode == "train"
        args = self.args
        rows = args.per_device_train_batch_size if train else args.per_device_eval_batch_size
        with torch.no_grad():
            return self._score(self.model, batch, rows)

    @property
    def _mode(self) -> str:
        return "train" if self.model.training else "eval"

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

    # Micro-batch ------------------------------------------------------------------------------------------------

    def _compute_loss(self, model: Any, inputs: Batch) -> Tensor:
        tokens = self._tokens(model, inputs)
        signal, metrics = self.chain.on_tokens(tokens, self._signal(tokens, inputs))
        loss = self.objective(
            tokens,
            signal,
            counted=self._step_size(inputs, "counted_in_batch"),
            everything=self._step_size(inputs, "num_items_in_batch"),
        )
        self.record_metrics(metrics)
        self._record_token_metrics(tokens, signal)
        if self._mode == "train":
            if self.rollout_log is not None:
                self.rollout_log.record(inputs["row"], tokens, signal)
            self._advance_controllers(tokens, signal)
        return loss

    def _tokens(self, model: Any, inputs: Batch) -> Tokens:
        logp, entropy = self._score(model, inputs)
        old_logp = inputs.get("old_per_token_logps")
        return Tokens(
            logp=logp,
            entropy=entropy if "entropy_grad" in self.chain.needs else entropy.detach(),
            old_logp=logp.detach() if old_logp is None else old_logp,
            old_entropy=inputs.get("old_entropy"),
            ref_logp=inputs.get("ref_per_token_logps"),
            mask=loss_mask(inputs),
            group=inputs["group"],
            step=self.state.global_step,
            reduce=self.reduce,
        )

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

    def _signal(self, tokens: Tokens, inputs: Batch) -> Signal:
        """What TRL's options say of every token, before the interventions."""
        advantage = inputs["advantages"]
        advantage = advantage.unsqueeze(1) if advantage.dim() == 1 else advantage
        advantage = advantage.expand_as(tokens.logp)
        low, high = ratio_bounds(self.args)
        constant = torch.ones_like(tokens.logp)
        weight = inputs.get("importance_sampling_ratio")
        return Signal(
            select=self._selected(tokens, inputs, advantage),
            count=inputs.get("count", tokens.mask),
            advantage=advantage,
            weight=constant if weight is None else weight.expand_as(tokens.logp),
            clip_low=low * constant,
            clip_high=high * constant,
            keep_low=0.0 * constant,
            keep_high=0.0 * constant,
            penalty=self._kl_penalty(tokens),
        )

    def _selected(self, tokens: Tokens, inputs: Batch, advantage: Tensor) -> Tensor:
        select = inputs.get("select", tokens.mask)
        if self.off_policy_mask_threshold is None:
            return select
        sampling = inputs.get("sampling_per_token_logps", tokens.old_logp)
        keep = self.get_off_policy_mask(
            advantages=advantage[:, :1],
            per_token_logps=tokens.logp,
            sampling_per_token_logps=sampling,
            mask=tokens.mask,
            off_policy_threshold=self.off_policy_mask_threshold,
        )
        return select & keep.bool()

    def _kl_penalty(self, tokens: Tokens) -> Tensor:
        """TRL's ``beta`` term: k3 on every token, times the ratio if ``use_bias_correction_kl``."""
        if self.beta == 0.0:
            return torch.zeros_like(tokens.logp)
        assert tokens.ref_logp is not None
        divergence = k3(tokens.logp, tokens.ref_logp, tokens.mask)
        if self.args.use_bias_correction_kl:
            exponent = ratio_exponent(tokens, self.importance_sampling_level)
            divergence = divergence * safe_ratio(exponent) * unit(exponent)
        self.record_metrics({"kl": masked(divergence, tokens.mask)})
        return self.beta * divergence

    def _step_size(self, inputs: Batch, total: str) -> Step:
        """The optimiser step as the aggregate must see it.

        TRL counts tokens over the generation batch, which may span several optimiser steps; their mean is one step's.
        """
        tokens = inputs.get(total, inputs["num_items_in_batch"]).float().clamp(min=1)
        tokens = tokens / self.accelerator.num_processes
        if self._mode == "eval":
            return Step(micro_batches=1, tokens=tokens, max_length=self.max_completion_length)
        micro_batches = self.current_gradient_accumulation_steps
        return Step(
            micro_batches=micro_batches,
            tokens=tokens * micro_batches / self.args.steps_per_generation,
            max_length=self.max_completion_length,
        )

    def _advance_controllers(self, tokens: Tokens, signal: Signal) -> None:
        """Sum the optimiser step's statistics, and hand them to ``on_step`` after its last micro-batch."""
        if not self.chain.has_stage(OnStep):
            return
        selected = (signal.select & tokens.mask).sum()
        sums = [tokens.mask.sum(), fill(tokens.entropy.detach(), tokens.mask).sum(), selected]
        self._step_sums += torch.stack([value.double() for value in sums])
        if self.accelerator.sync_gradients:
            count, entropy, selected = self.reduce.sum(self._step_sums).tolist()
            self._step_sums.zero_()
            self.chain.on_step(
                StepStatistics(
                    step=self.state.global_step,
                    tokens=count,
                    entropy=entropy / max(count, 1),
                    selected=selected / max(count, 1),
                )
            )

    # Metrics and checkpoints ------------------------------------------------------------------------------------

    def _record_token_metrics(self, tokens: Tokens, signal: Signal) -> None:
        level = self.importance_sampling_level
        self.record_metrics({"entropy": masked(tokens.entropy, tokens.mask)})
        if self.loss_type == "cispo":
            self.record_metrics(cispo_metrics(tokens, signal, level))
        elif self.loss_type != "sapo":
            self.record_metrics(clip_metrics(tokens, signal, level))

    def record_metrics(self, metrics: Metrics) -> None:
        """Add to the metrics of the next log line; every rank must give the same names."""
        for name, value in metrics.items():
            if isinstance(value, Mean):
                self._means[self._mode].add(name, value)
            else:
                self._metrics[self._mode][name].append(float(value))

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        for name, value in self._means[self._mode].flush(self.reduce).items():
            self._metrics[self._mode][name].append(value)
        super().log(logs, start_time)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        state = self.chain.state_dict()
        if state and self.args.should_save:
            folder = f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
            torch.save(state, Path(self._get_output_dir(trial=trial)) / folder / STATE_FILE)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is None:
            return
        path = Path(checkpoint) / STATE_FILE
        self.chain.load_state_dict(torch.load(path) if path.exists() else {})
