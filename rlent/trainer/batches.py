"""What a batch in TRL's layout says of its tokens."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rlent.errors import ConfigError
from rlent.trainer.trl_contract import MULTIMODAL

Batch = dict[str, Any]
"""TRL's generation batch or micro-batch: tensors by name, rows first."""


def loss_mask(batch: Batch) -> Tensor:
    """Tokens that the policy wrote, that TRL does not mask, and whose completion was not given up, [n t]."""
    mask = batch["completion_mask"].bool()
    if "tool_mask" in batch:
        mask = mask & batch["tool_mask"].bool()
    return mask & batch["kept"].unsqueeze(1) if "kept" in batch else mask


def has_images(batch: Batch) -> bool:
    """Whether it holds entries whose rows are images or patches of them, which rlent neither sorts nor splits."""
    return any(name in batch for name in MULTIMODAL)


def prompt_scores(batch: Batch, log_probs: Tensor) -> dict[str, Tensor]:
    """``prompt_logp`` and ``prompt_mask`` of ``Tokens``, from scores [b p+t-1] of prompt and completion.

    Raises:
        ConfigError: there are images, whose places in a prompt are no text.
    """
    if has_images(batch):
        raise ConfigError("prompts can only be learnt from without images", key="interventions")
    attended = batch["prompt_mask"].bool()
    return {
        "prompt_logp": log_probs[:, : attended.size(1) - 1],
        "prompt_mask": attended[:, 1:] & attended[:, :-1],
    }


def truncated(batch: Batch, ends: Sequence[int]) -> Tensor:
    """Completions that stopped at the length limit, not at one of the tokens ``ends``, [n]."""
    ids, mask = batch["completion_ids"], batch["completion_mask"].bool()
    last = (mask.sum(dim=1, keepdim=True) - 1).clamp(min=0)
    finished = torch.isin(ids.gather(1, last).squeeze(1), torch.tensor(ends, device=ids.device))
    # A row without tokens is one that `mask_truncated_completions` has emptied.
    return ~finished | ~mask.any(dim=1)
