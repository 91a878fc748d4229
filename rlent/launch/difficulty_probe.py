"""The probe of difficulties: fitted by ``rlent difficulty --probe``, found again by ``rlent eval``."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from rlent.config import Recipe
from rlent.data import load_tokenizer, prompt_ids, resolve_model
from rlent.data.models import MADE_HERE
from rlent.errors import ConfigError
from rlent.evaluation import ProblemSet
from rlent.evaluation.difficulty import Difficulty, DifficultyThresholds
from rlent.evaluation.difficulty_labels import LabelledProblem
from rlent.evaluation.difficulty_probe import DifficultyProbe, fit_probe, load_probe, predict
from rlent.evaluation.prompt_states import prompt_states
from rlent.evaluation.selection import prompt_of
from rlent.launch.weights import Weights, hub_commit

KEY = "evaluation.difficulty"


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadProblems:
    """Labelled problems as a model reads them."""

    states: Float[Tensor, "n d"]
    """Of their prompts."""
    labels: list[Difficulty]
    model: str
    revision: str | None

    def tried(self) -> str:
        """What a probe fitted on the first half of the problems does to the others, in one line."""
        half = len(self.labels) // 2
        rest = self.labels[half:]
        predicted = predict(fit_probe(self.states[:half], self.labels[:half]), self.states[half:])
        right = sum(a == b for a, b in zip(predicted, rest, strict=True))
        ((usual, _),) = Counter(self.labels[:half]).most_common(1)
        return (
            f"probe   fitted on {half} problems: {right} of {len(rest)} others right, "
            f"{rest.count(usual)} by always saying {usual}"
        )

    def fitted(self, thresholds: DifficultyThresholds) -> DifficultyProbe:
        """A probe fitted on all of them."""
        return DifficultyProbe(
            network=fit_probe(self.states, self.labels),
            thresholds=thresholds,
            model=self.model,
            revision=self.revision,
        )


def read_problems(problems: Sequence[LabelledProblem], model: str) -> ReadProblems:
    """The problems' prompts, read by a model in the type of its weights.

    Args:
        model: as a recipe names it. Chat messages go through its chat template without further options.

    Raises:
        ConfigError: there is but one problem, or no such model.
    """
    if len(problems) < 2:
        raise ConfigError("a probe needs two problems at least", key="--probe", given=len(problems))
    from transformers import AutoModelForCausalLM

    resolved = resolve_model(model)
    tokenizer = load_tokenizer(resolved, None, None)
    policy: Any = AutoModelForCausalLM.from_pretrained(resolved)
    policy.to(torch.accelerator.current_accelerator() or "cpu")
    prompts = [prompt_ids(prompt_of(each.drawn[0].prompt), tokenizer) for each in problems]
    return ReadProblems(
        states=prompt_states(policy, prompts),
        labels=[each.label for each in problems],
        model=_name(model),
        revision=hub_commit(resolved, None),
    )


def find_probe(recipe: Recipe, checkpoint: str | None, weights: Weights) -> DifficultyProbe | None:
    """The probe that the evaluation names, if it is one of the model that is evaluated; None where it names none.

    Args:
        checkpoint: what was named on the command line in the place of the recipe's model.

    Raises:
        ConfigError: no such probe, or one of another model.
    """
    if recipe.evaluation is None or recipe.evaluation.difficulty is None:
        return None
    probe = load_probe(Path(recipe.evaluation.difficulty).expanduser(), key=KEY)
    named = recipe.model.name if checkpoint is None else checkpoint
    revision, hidden_size = hub_commit(weights.base, weights.revision), _hidden_size(weights)
    for what, here, there in (
        ("model", _name(weights.path), probe.model),
        ("revision", revision, probe.revision),
        ("hidden size", hidden_size, probe.hidden_size),
    ):
        if here != there and not (what == "model" and there == _name(named)):
            raise ConfigError(
                f"the probe reads the hidden states of another model: its {what} differs",
                key=KEY,
                expected=f"a probe of {_name(named)} with {what} {here}",
                given=there,
                remedy="fit one to this model with rlent difficulty --probe MODEL --save-probe DIR",
            )
    return probe


def check_template(recipe: Recipe, sets: Sequence[ProblemSet]) -> None:
    """Raise ConfigError if prompts are put into words that the probe was not fitted on."""
    messages = any(not isinstance(row["prompt"], str) for each in sets for row in each.rows)
    options = recipe.trainer.get("chat_template_kwargs")
    if messages and (options or recipe.data.chat_template is not None):
        raise ConfigError(
            "the probe was fitted on prompts in the model's own chat template, without options",
            key="trainer.chat_template_kwargs" if options else "data.chat_template",
            remedy=f"remove it, or {KEY}",
        )


def _name(model: str) -> str:
    """What tells a model from others: its name, or its folder wherever one stands."""
    folder = Path(model).expanduser()
    return str(folder.resolve()) if model not in MADE_HERE and folder.is_dir() else model


def _hidden_size(weights: Weights) -> int:
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(weights.base, revision=weights.revision)
    return config.get_text_config().hidden_size
