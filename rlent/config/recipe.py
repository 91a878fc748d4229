"""The recipe: everything that determines a run, typed, with every default."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from rlent.config.evaluation import Evaluation
from rlent.config.source import NOT_WRITTEN, Source
from rlent.data.section import DataSection
from rlent.errors import ConfigError
from rlent.interventions import Intervention
from rlent.losses import Loss
from rlent.rollout import Budgets, Decoding, Forking
from rlent_rewards import Correctness


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """The language model that is trained."""

    name: str
    """A packaged model, a local folder, or a name on the hub."""
    revision: str | None = None
    """Branch, tag or commit on the hub; null is its main branch."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Type in which the weights are held."""
    options: dict[str, Any] = field(default_factory=dict)
    """Further arguments of ``from_pretrained``."""
    adapter: dict[str, dict[str, Any]] | None = None
    """An adapter that is trained in the weights' place, ``{lora: {r: 16, ...}}``: a method of peft and its options. The
    model without it is the reference policy. Null trains all weights."""

    def __post_init__(self) -> None:
        if self.adapter is not None and len(self.adapter) != 1:
            raise ValueError(f"adapter must name one method, got {len(self.adapter)}")


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightedReward:
    """One term of the reward."""

    kind: str
    """Name in the table of rewards."""
    weight: float
    """Factor in the sum of all rewards, finite; a recipe's default is 1."""
    function: Callable[..., list[float]]
    """The reward with its options, as TRL calls it."""

    @property
    def name(self) -> str:
        """Name in metrics and rollouts: that of the function, which is ``kind`` for all but ``python_function``."""
        return self.function.__name__


@dataclass(frozen=True, kw_only=True, slots=True)
class Rollout:
    """How completions are generated."""

    engine: Literal["native", "transformers", "vllm"] = "native"
    """The program that generates: rlent's own, the model's ``generate``, or vLLM."""
    max_live: int | None = None
    """Most completions that the native engine holds in memory at once; all by default."""
    budgets: Budgets | None = None
    """Token budgets at which thinking is cut and summarised in training; null lets it run to its end."""
    decoding: Decoding | None = None
    """What tokens are drawn from, beyond temperature and truncation, as in ``{typical: {mass: 0.95}}``; native engine
    only."""
    branching: Forking | None = None
    """How a prompt's completions fork in training, as in ``{critical_token: {n1: 4, n2: 3}}``; native engine only."""

    def __post_init__(self) -> None:
        self._check_decoding()
        self._check_branching()
        if self.budgets is not None and self.engine != "native":
            raise ValueError(
                f"budgets are not read by the engine {self.engine}: remove them, or use native"
            )
        if self.max_live is None:
            return
        if self.engine != "native":
            raise ValueError(
                f"max_live is not read by the engine {self.engine}: remove it, or use native"
            )
        if self.max_live < 1:
            raise ValueError("max_live must be at least 1")

    def _check_decoding(self) -> None:
        if self.decoding is None:
            return
        if self.engine != "native":
            raise ValueError(
                f"decoding is not read by the engine {self.engine}: remove it, or use native"
            )
        if self.budgets is not None:
            raise ValueError("decoding and budgets cannot be had together: remove one of the two")
        if not self.decoding.rule.trains:
            raise ValueError(
                f"decoding: {self.decoding.rule.name} draws from no distribution that a ratio could be taken of; "
                "use it in evaluation.decoding"
            )

    def _check_branching(self) -> None:
        if self.branching is None:
            return
        if self.engine != "native":
            raise ValueError(
                f"branching is not read by the engine {self.engine}: remove it, or use native"
            )
        if self.budgets is not None:
            raise ValueError("branching and budgets cannot be had together: remove one of the two")


@dataclass(frozen=True, kw_only=True, slots=True)
class Engine:
    """How the training step is computed."""

    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Type of the arithmetic; ``auto`` is what the device is good at."""
    gradient_checkpointing: bool = False
    """Keep one activation per layer and compute the others again in the backward pass."""
    zero: Literal[0, 1, 2, 3] | None = None
    """What DeepSpeed shards over the ranks: 0 nothing, 1 the optimiser, 2 and the gradients, 3 and the weights. Null
    trains without DeepSpeed, in plain data parallelism."""
    offload: Literal["none", "optimizer", "all"] = "none"
    """What lies in main memory: nothing, the optimiser's state (stages 1 to 3), or the weights as well (stage 3)."""
    bucket_size: int | None = None
    """Numbers that are sent at once (stages 1 to 3); null is DeepSpeed's own choice."""
    overlap_communication: bool | None = None
    """Send gradients during the backward pass (stages 1 to 3); null is DeepSpeed's own choice."""
    keep_gathered: int | None = None
    """Weights with at most so many numbers stay whole on every rank (stage 3); null is DeepSpeed's own choice."""
    deepspeed: str | None = None
    """A file of DeepSpeed's JSON, in place of what the settings above would make."""
    non_finite: Literal["stop", "skip"] = "stop"
    """What a loss or gradient that is NaN or infinite does: stop the run, or leave out the optimiser step. The rollouts
    are saved either way."""
    timeout: int = 1800
    """Seconds that a process waits for the others before it stops. More than the longest time for which one works and
    others have nothing to do: a generation through a vLLM server, or a checkpoint."""

    def __post_init__(self) -> None:
        if self.timeout < 1:
            raise ValueError(f"timeout must be at least 1 second, got {self.timeout}")
        stage = self.zero or 0
        if self.deepspeed is not None:
            given = {"zero": self.zero, **self._sharding_settings()}
            if written := [name for name, value in given.items() if value is not None]:
                raise ValueError(
                    f"{written[0]} has no effect beside a deepspeed file: remove one of the two"
                )
            return
        for name, value in self._sharding_settings().items():
            needed = 3 if name == "keep_gathered" or value == "all" else 1
            if value is not None and stage < needed:
                raise ValueError(f"{name} needs zero: {needed} or above, got {self.zero}")
        if self.bucket_size is not None and self.bucket_size < 1:
            raise ValueError(f"bucket_size must be at least 1, got {self.bucket_size}")
        if self.keep_gathered is not None and self.keep_gathered < 0:
            raise ValueError(f"keep_gathered must not be negative, got {self.keep_gathered}")

    def _sharding_settings(self) -> dict[str, Any]:
        """What is written of the settings that only sharding reads."""
        return {
            "offload": None if self.offload == "none" else self.offload,
            "bucket_size": self.bucket_size,
            "overlap_communication": self.overlap_communication,
            "keep_gathered": self.keep_gathered,
        }

    @property
    def uses_deepspeed(self) -> bool:
        return self.zero is not None or self.deepspeed is not None


@dataclass(frozen=True, kw_only=True, slots=True)
class Wandb:
    """A run on Weights & Biases."""

    project: str
    """Project of the run, not empty."""
    name: str | None = None
    """Name of the run; null is the recipe's."""
    entity: str | None = None
    """User or team; null is the account's default."""
    group: str | None = None
    """Runs that are shown together."""
    tags: tuple[str, ...] = ()
    """Labels of the run."""
    mode: Literal["online", "offline", "disabled"] | None = None
    """Null leaves the choice to wandb's own settings."""

    def __post_init__(self) -> None:
        if not self.project.strip():
            raise ValueError("project must not be empty")


@dataclass(frozen=True, kw_only=True, slots=True)
class Tracking:
    """What a run writes down besides its metrics file."""

    wandb: Wandb | None = None
    """Null sends nothing to Weights & Biases."""
    rollouts: bool = True
    """Write every rollout with its tokens and entropies."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """One run. ``load_recipe`` reads it from a file; it can be built in Python as well.

    Raises:
        ConfigError: what the sections say does not fit together.
    """

    name: str
    """Name of the run and of its folder; a file's default is its own name."""
    output_dir: str = "runs"
    """Folder in which the run's folder is made."""
    model: Model
    """What is trained."""
    data: DataSection
    """What it is trained on."""
    rewards: tuple[WeightedReward, ...] = ()
    """With distinct names; at least one, unless an intervention makes the reward."""
    interventions: tuple[Intervention, ...] = ()
    """In the order in which they act."""
    loss: Loss | None = None
    """What is learnt of answers that are given, in place of rewards and interventions; null generates answers."""
    trainer: dict[str, Any] = field(default_factory=dict)
    """Arguments of ``trl.GRPOConfig``, with a ``loss`` of ``trl.SFTConfig`` or ``trl.DPOConfig``; the trainer checks
    them."""
    rollout: Rollout = field(default_factory=Rollout)
    """How completions are generated."""
    engine: Engine = field(default_factory=Engine)
    """How the training step is computed."""
    tracking: Tracking = field(default_factory=Tracking)
    """What is written down."""
    evaluation: Evaluation | None = None
    """Null evaluates nothing."""
    source: Source = field(default=NOT_WRITTEN, compare=False, repr=False)
    """What the user wrote and where, for messages."""

    def __post_init__(self) -> None:
        if not self.name.strip() or self.name in (".", "..") or "/" in self.name:
            raise ConfigError(
                "not the name of a folder", key="name", expected="a name without /", given=self.name
            )
        if self.loss is not None:
            self._refuse_what_generates(self.loss)
            return
        made = any("reward" in intervention.overwrites for intervention in self.interventions)
        if not self.rewards and not made:
            raise ConfigError(
                "at least one reward is needed",
                key="rewards",
                remedy="add `rewards: [math_answer]`, or an intervention that makes the reward, such as majority_vote",
            )
        if not self.rewards and self.evaluation and self.evaluation.needs_a_listed_reward:
            raise ConfigError("an evaluation needs a reward that scores", key="evaluation")
        names = [reward.name for reward in self.rewards]
        for position, name in enumerate(names):
            if name in names[:position]:
                key = f"rewards.{position}.{name}"
                raise ConfigError(
                    "the reward is listed twice", key=key, remedy="keep one of the two"
                )
        for key, asked in self.evaluation.named_rewards if self.evaluation else ():
            if asked not in names:
                raise ConfigError(
                    "not one of the listed rewards",
                    key=key,
                    expected=", ".join(names),
                    given=asked,
                    choices=names,
                )

    def _refuse_what_generates(self, loss: Loss) -> None:
        sections = {
            "rewards": self.rewards,
            "interventions": self.interventions,
            "rollout": self.rollout != Rollout(),
            "evaluation": self.evaluation,
        }
        for key, given in sections.items():
            if given:
                raise ConfigError(
                    f"has no effect with the loss {loss.name}, which learns from answers that are given",
                    key=key,
                    remedy="remove the section, or remove `loss`"
                    if key != "evaluation"
                    else "remove the section, and evaluate the trained model with rlent eval and another recipe",
                )

    def scoring(self, reward: str | Correctness | None) -> Callable[..., list[float]]:
        """What an evaluation means by ``reward``: a reward of its own, a listed one, or the first of these."""
        if isinstance(reward, Correctness):
            return reward.reward
        by_name = {listed.name: listed.function for listed in self.rewards}
        return self.rewards[0].function if reward is None else by_name[reward]
