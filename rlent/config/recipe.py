"""The recipe: everything that determines a run, typed, with every default."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from rlent.config.source import NOT_WRITTEN, Source
from rlent.data.section import DataSection
from rlent.errors import ConfigError
from rlent.interventions import Intervention


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

    def __post_init__(self) -> None:
        if self.max_live is None:
            return
        if self.engine != "native":
            raise ValueError(
                f"max_live is not read by the engine {self.engine}: remove it, or use native"
            )
        if self.max_live < 1:
            raise ValueError("max_live must be at least 1")


@dataclass(frozen=True, kw_only=True, slots=True)
class Engine:
    """How the training step is computed."""

    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Type of the arithmetic; ``auto`` is what the device is good at."""


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
class Evaluation:
    """Held-out problems, answered greedily during training."""

    problems: int = 128
    """Number of problems, at least 1."""
    every: int = 10
    """Optimiser steps between evaluations; 0 evaluates only before and after training."""
    data: DataSection | None = None
    """Where the problems come from; null takes them out of the training data's source."""
    max_completion_length: int | None = None
    """Tokens per answer, at least 1; null is the trainer's setting."""
    batch_size: int = 64
    """Problems answered at once, at least 1."""
    show: int = 3
    """Answers printed after each evaluation."""
    reward: str | None = None
    """Name of the listed reward that scores; null is the first."""

    def __post_init__(self) -> None:
        bounds = {"problems": 1, "every": 0, "max_completion_length": 1, "batch_size": 1, "show": 0}
        for name, bound in bounds.items():
            value = getattr(self, name)
            if value is not None and value < bound:
                raise ValueError(f"{name} must be at least {bound}, got {value}")


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
    trainer: dict[str, Any] = field(default_factory=dict)
    """Arguments of ``trl.GRPOConfig``; the trainer checks them."""
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
        made = any("reward" in intervention.overwrites for intervention in self.interventions)
        if not self.rewards and not made:
            raise ConfigError(
                "at least one reward is needed",
                key="rewards",
                remedy="add `rewards: [math_answer]`, or an intervention that makes the reward, such as majority_vote",
            )
        if not self.rewards and self.evaluation:
            raise ConfigError("an evaluation needs a reward that scores", key="evaluation")
        names = [reward.name for reward in self.rewards]
        for position, name in enumerate(names):
            if name in names[:position]:
                key = f"rewards.{position}.{name}"
                raise ConfigError(
                    "the reward is listed twice", key=key, remedy="keep one of the two"
                )
        if self.evaluation and self.evaluation.reward not in (None, *names):
            raise ConfigError(
                "not one of the listed rewards",
                key="evaluation.reward",
                expected=", ".join(names),
                given=self.evaluation.reward,
                choices=names,
            )
