"""``rlent difficulty --probe``: whether a model's hidden states tell the labels of problems it has not answered."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from rlent.data import load_tokenizer, prompt_ids, resolve_model
from rlent.errors import ConfigError
from rlent.evaluation.difficulty import Difficulty, LabelledProblem
from rlent.evaluation.difficulty_probe import fit_probe, predict
from rlent.evaluation.selection import prompt_of


def try_probe(problems: Sequence[LabelledProblem], model: str) -> str:
    """Fit the probe on the first half of the problems; what it does to the others, in one line.

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
    states = prompt_states(policy, prompts)
    labels: list[Difficulty] = [each.label for each in problems]
    half = len(problems) // 2
    predicted = predict(fit_probe(states[:half], labels[:half]), states[half:])
    right = sum(a == b for a, b in zip(predicted, labels[half:], strict=True))
    ((usual, _),) = Counter(labels[:half]).most_common(1)
    return (
        f"probe   fitted on {half} problems: {right} of {len(predicted)} others right, "
        f"{labels[half:].count(usual)} by always saying {usual}"
    )


def prompt_states(model: Any, prompts: Sequence[Sequence[int]]) -> Float[Tensor, "n d"]:
    """The last layer's hidden state, after its norm, of every prompt's last token; float32 on the CPU."""
    with torch.no_grad():
        states = [
            model.base_model(
                torch.tensor([list(ids)], device=model.device), use_cache=False
            ).last_hidden_state[0, -1]
            for ids in prompts
        ]
    return torch.stack(states).float().cpu()
