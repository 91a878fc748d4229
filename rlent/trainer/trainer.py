"""``EntropyGRPOTrainer``: TRL's GRPOTrainer with a chain of interventions.

The trainer knows the one expression of ``rlent.types.Signal`` and no method's name. It overrides ``_compute_loss``
once and adds what interventions need around TRL's generation; ``trl_contract`` lists every private name it uses.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from trl.trainer.grpo_config import GRPOConfig

from rlent.aggregate import Step
from rlent.config import parse_interventions
from rlent.divergences import k3
from rlent.errors import ConfigError
from rlent.interventions import Intervention, Metrics, StepStatistics, chain
from rlent.interventions.stages import Mean, OnStep
from rlent.numerics import fill, safe_ratio, unit
from rlent.reduce import distributed
from rlent.rollout.models import check_model
from rlent.surrogates import ratio_exponent
from rlent.tracking import RolloutLog
from rlent.trainer.batches import Batch, loss_mask, prompt_scores
from rlent.trainer.checkpoint_trainer import CheckpointTrainer
from rlent.trainer.config import own_config
from rlent.trainer.head import install_token_head
from rlent.trainer.losses import objective_of, ratio_bounds
from rlent.trainer.metrics import MeanMetrics, clip_extremes, masked, surrogate_means
from rlent.trainer.needs import check_needs, check_reward_names
from rlent.trainer.phases import PhaseClock
from rlent.trainer.reference import Asking, reference_loaded
from rlent.trainer.trl_contract import check_contract
from rlent.types import Signal, Tokens


def unlabelled(completions: list[Any], **_: Any) -> list[float]:
    """0 for every completion: TRL wants a reward function also where an intervention makes the reward."""
    return [0.0] * len(completions)


class EntropyGRPOTrainer(CheckpointTrainer):
    """Group-relative policy optimisation whose every token can be selected, weighted, bounded and penalised.

    Used as TRL's trainer, plus:

    Args:
        interventions: in the order they act; config objects out of ``rlent.interventions``, or mappings as in a recipe,
            ``{name: {option: value}}``.
        args: an ``EntropyGRPOConfig``; plain GRPOConfig is refused.
        rollout_log: where to record every rollout token by token, or None.

    Raises:
        ConfigError: an intervention is unknown, misconfigured, or needs what ``args`` cannot give.
        ContractError: the installed TRL has moved a private name that this class is built on.
    """

    _tag_names = ["trl", "grpo", "rlent"]  # noqa: RUF012 (TRL's own attribute)
    _name = "EntropyGRPO"

    # TRL annotates these more loosely than it fills them.
    max_completion_length: Any

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
        makes_reward = any("reward" in link.config.overwrites for link in self.chain.links)
        if not reward_funcs and makes_reward:
            reward_funcs = unlabelled
        with reference_loaded(args, self.chain):
            super().__init__(model, reward_funcs, args, *positional, **kwargs)
        self.beta = args.beta
        check_reward_names(self.chain, self.reward_func_names)
        self._refuse_what_the_head_cannot_do()
        for scored in (self.model, self.ref_model):
            if scored is not None:
                install_token_head(self._transformers_model(scored), self.temperature)
        self.objective = objective_of(args)
        self._ratio_bounds = ratio_bounds(args)
        self.reduce = distributed()
        self.rollout_log = rollout_log
        self._means = {mode: MeanMetrics(self.accelerator.device) for mode in ("train", "eval")}
        self._scored = []
        self._parts = []
        self._losses = []
        self._staging = None
        self._loss_to_go_on = None
        self.skipped_steps = 0
        self._captured = None
        self._clock = PhaseClock()
        self._generated = 0.0
        self._native = self._native_rollout()
        self._budgets = self._budget_rollout()
        if self._native is not None:
            check_model(self._transformers_model(self.model))
        self._fresh_prompts = self._prompts_to_draw()
        self._step_sums = torch.zeros(3, dtype=torch.float64, device=self.accelerator.device)

    def _refuse_what_the_head_cannot_do(self) -> None:
        if self.aux_loss_enabled:
            raise ConfigError(
                "the token head gives no load-balancing loss of a mixture of experts",
                key="trainer.router_aux_loss_coef",
                remedy="set trainer.router_aux_loss_coef to 0",
            )

    def _account_for(self, left_out: Batch) -> None:
        logp = left_out.get("old_per_token_logps", left_out.get("old_logp"))
        if logp is None or not len(logp):
            return
        tokens = self._tokens_of(left_out, logp, left_out["old_entropy"])
        self.record_metrics({"entropy": masked(tokens.entropy, tokens.mask)})
        signal = self._signal(tokens, left_out)
        self.record_metrics(surrogate_means(self.objective.surrogate, tokens, signal))
        if self.rollout_log is not None:
            self.rollout_log.record(left_out["row"], tokens, signal)

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
        """The micro-batch as the interventions see it: one pass for all that they need."""
        against = self._reference_at(inputs) if "ref_kl" in self.chain.needs else None
        prompts = "prompt_logp" in self.chain.needs
        asking = Asking(model, prompts=prompts, reference=against, statistics=self.chain.statistics)
        logp, entropy = self._score(asking, inputs)
        width = logp.size(1)
        tokens = replace(
            self._tokens_of(inputs, logp, entropy),
            entropy=entropy if "entropy_grad" in self.chain.needs else entropy.detach(),
            ref_kl=None if against is None else asking.answer.ref_kl[:, -width:],
            statistics=asking.statistics(width),
        )
        if not prompts:
            return tokens
        everything = self._step_size(inputs, "num_items_in_batch")
        return replace(
            tokens,
            **prompt_scores(inputs, asking.answer.log_probs),
            per_completion=self.objective.per_completion(tokens, everything),
        )

    def _tokens_of(self, inputs: Batch, logp: Tensor, entropy: Tensor) -> Tokens:
        old_logp = inputs.get("old_per_token_logps")
        return Tokens(
            logp=logp,
            entropy=entropy,
            old_logp=logp.detach() if old_logp is None else old_logp,
            old_entropy=inputs.get("old_entropy"),
            ref_logp=inputs.get("ref_per_token_logps"),
            old_statistics=self._old_statistics_of(inputs),
            mask=loss_mask(inputs),
            group=inputs["group"],
            reward=inputs["reward"],
            step=self.state.global_step,
            iteration=self._iteration,
            train=self._mode == "train",
            reduce=self.reduce,
        )

    @property
    def _iteration(self) -> int:
        """Passes over the generation batch that are done. TRL counts micro-batches."""
        passed = self._step // self.args.steps_per_generation
        return passed % self.num_iterations if self._mode == "train" else 0

    def _signal(self, tokens: Tokens, inputs: Batch) -> Signal:
        """What TRL's options say of every token, before the interventions."""
        advantage = inputs["advantages"]
        advantage = advantage.unsqueeze(1) if advantage.dim() == 1 else advantage
        advantage = advantage.expand_as(tokens.logp)
        low, high = self._ratio_bounds
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
            exponent = ratio_exponent(tokens, self.objective.surrogate.ratio_level)
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
        parts = self.accelerator.num_processes * self.args.steps_per_generation
        sequences = inputs.get("sequences_in_batch")
        return Step(
            micro_batches=micro_batches,
            tokens=tokens * micro_batches / self.args.steps_per_generation,
            max_length=self.max_completion_length,
            sequences=None if sequences is None else sequences / parts,
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

    # Metrics ------------------------------------------------------------------------------------

    def _record_token_metrics(self, tokens: Tokens, signal: Signal) -> None:
        surrogate = self.objective.surrogate
        self.record_metrics({"entropy": masked(tokens.entropy, tokens.mask)})
        self.record_metrics(surrogate_means(surrogate, tokens, signal))
        self.record_metrics(clip_extremes(surrogate, tokens, signal))

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
