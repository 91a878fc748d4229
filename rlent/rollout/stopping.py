"""When a completion ends."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rlent.rollout.records import FinishReason
from rlent.rollout.sampling import Sampling

_CONTEXT = 4
"""Tokens decoded before those that can hold a stop string: the first token of a text may lose its leading space."""


@dataclass(frozen=True, kw_only=True)
class Stopping:
    """End-of-sequence tokens, stop strings and a length limit; of those that hold at once, the first in this order."""

    eos: frozenset[int]
    strings: tuple[str, ...]
    tokenizer: Any | None

    @classmethod
    def of(cls, sampling: Sampling, tokenizer: Any | None) -> "Stopping":
        return cls(
            eos=frozenset(sampling.eos_token_ids),
            strings=sampling.stop_strings,
            tokenizer=tokenizer,
        )

    def reason(self, tokens: Sequence[int], limit: int) -> FinishReason | None:
        """Why a completion ends with the last of these tokens; None if it goes on."""
        if tokens[-1] in self.eos:
            return "eos"
        if self.strings and self._ends_in_stop_string(tokens):
            return "stop"
        return "length" if len(tokens) >= limit else None

    def _ends_in_stop_string(self, tokens: Sequence[int]) -> bool:
        # A token has at least one byte, so no token before these can be part of a stop string that is new.
        longest = max(len(text.encode()) for text in self.strings)
        text = self.tokenizer.decode(  # pyright: ignore[reportOptionalMemberAccess]
            list(tokens[-longest - _CONTEXT :]),
            skip_special_tokens=False,
            clean_up_tokenization_spaces=False,
        )
        return any(stop in text for stop in self.strings)
