"""Where completions come from: rlent's own engine in place of the model's ``generate``."""

from contextlib import AbstractContextManager
from typing import Any

from torch import Tensor
from trl.models.utils import unwrap_model_for_generation

from rlent.errors import ConfigError
from rlent.trainer.budget_rollout import BudgetRollout
from rlent.trainer.native_rollout import (
    Captured,
    NativeRollout,
    decoding_of,
    forking_of,
    sampling_of,
)
from rlent.trainer.rollout_metrics import branching_metrics, fork_metrics
from rlent.trainer.scoring_trainer import ScoringTrainer


class EngineTrainer(ScoringTrainer):
    """The trainer that generates with rlent's engine, if the settings ask for it."""

    # TRL annotates these more loosely than it fills them.
    num_generations: Any
    _tokenizer: Any

    _native: NativeRollout | None
    """rlent's engine, if it is the one that generates."""
    _budgets: BudgetRollout | None
    """What cuts thinking at budgets, if the settings ask for it."""

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
        if (budgets := self._cutting) is not None:
            with self.whole_model() as model:
                rows = budgets.generate(model, prompt_ids, self.state.global_step)
            self._captured = budgets.captured()
            return rows
        with self.whole_model() as model:
            if self._mode == "train" and native.forking is not None:
                generation = native.generate_groups(
                    model, prompt_ids, self.state.global_step, native.forking
                )
                self.record_metrics(fork_metrics(generation))
            else:
                generation = native.generate(model, prompt_ids, self.state.global_step)
        if self._mode == "train":
            self.record_metrics(branching_metrics(generation, prompt_ids))
            native.observe(generation, self.reduce, self.accelerator.device)
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
            for name in ("decoding", "branching"):
                if getattr(self.args, name) is not None:
                    raise ConfigError(
                        "only rlent's engine reads it",
                        key=f"rollout.{name}",
                        remedy="use rollout.engine: native",
                    )
            return None
        sampling = sampling_of(self.args, self.eos_token_ids)
        decoding = decoding_of(self.args, sampling)
        if decoding is not None and decoding.remembers and self.tools:
            raise ConfigError(
                "with tools, ranks do not generate in step, and the rule needs all of them after every batch",
                key=f"rollout.decoding.{decoding.name}",
                remedy="remove the rule",
            )
        forking = forking_of(self.args)
        if forking is not None and self.tools:
            raise ConfigError(
                "completions with tools do not fork", key=f"rollout.branching.{forking.name}"
            )
        return NativeRollout(
            args=self.args,
            sampling=sampling,
            decoding=decoding,
            forking=forking,
            tokenizer=self._tokenizer,
            rank=self.accelerator.process_index,
        )

    def _budget_rollout(self) -> BudgetRollout | None:
        budgets = self.args.thinking_budgets
        if budgets is None:
            return None
        if self.tools:
            raise ConfigError("thinking with tools cannot be cut at budgets", key="rollout.budgets")
        assert self._native is not None
        return BudgetRollout(budgets, self._native, self.num_generations)

    def _own_tokens(self, ids: Tensor) -> Tensor | None:
        """Tokens [n t] that no parent holds as well; None where shared ones are learnt from."""
        native, captured = self._native, self._captured
        if native is None or native.forking is None or captured is None or self._mode != "train":
            return None
        return None if native.forking.learn_shared else captured.own(ids.size(1), ids.device)

    @property
    def _cutting(self) -> BudgetRollout | None:
        return self._budgets if self._mode == "train" else None
