"""What a model holds of a prompt before it writes anything."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from rlent.rollout.models import generating


def prompt_states(model: Any, prompts: Sequence[Sequence[int]]) -> Float[Tensor, "n d"]:
    """The last layer's hidden state, after its norm, of every prompt's last token; float32 on the CPU.

    Each prompt is run alone, so that its state depends on no other.
    """
    with generating(model):
        states = [
            model.base_model(
                torch.tensor([list(ids)], device=model.device), use_cache=False
            ).last_hidden_state[0, -1]
            for ids in prompts
        ]
    return torch.stack(states).float().cpu()
