"""Reward for the layout of a completion, whatever it says."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rlent_rewards.patterns import check_pattern, matches
from rlent_rewards.protocol import Completion, completion_text, log_share

_DEFAULT_TAGS = ("think", "answer")
_TAG_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")


@dataclass(frozen=True, kw_only=True, slots=True)
class Format:
    r"""1.0 where the whole completion has the layout asked for, else 0.0.

    Either ``tags`` or ``pattern`` is in effect, never both. With neither, ``tags`` is ("think",
    "answer"), the layout ``<think>...</think>\s*<answer>...</answer>`` of DeepSeek-R1
    (arXiv:2501.12948, table 1).

    A pattern may take time that is exponential in a text, which the model writes. A completion on
    which it takes more than 0.5 seconds scores 0.0; the share is logged as
    ``rewards/format/timeouts`` where the trainer passes ``log_metric``.

    Raises:
        ValueError: both options are given, tags are not distinct names, or the pattern does not
            compile.
    """

    tags: tuple[str, ...] | None = None
    """Names of the sections in order, each opened and closed exactly once, with nothing but white
    space around them."""

    pattern: str | None = None
    """A regular expression for the whole completion, in the syntax of the package ``regex``, where
    ``.`` also matches a new line."""

    def __post_init__(self) -> None:
        if self.tags is not None and self.pattern is not None:
            raise ValueError(
                f"format takes tags or pattern, not both; given: tags={self.tags!r}, "
                f"pattern={self.pattern!r}"
            )
        if self.pattern is not None:
            check_pattern("format: pattern", self.pattern)
        elif self.tags is not None:
            _check_tags(self.tags)

    @property
    def __name__(self) -> str:
        return "format"

    def __call__(self, completions: Sequence[Completion], **columns: Any) -> list[float]:
        """1.0 or 0.0 per completion. Raises ValueError where a completion has no text."""
        fits = [self._fits(completion_text(completion)) for completion in completions]
        if self.pattern is not None:
            log_share(columns, "format/timeouts", [fit is None for fit in fits])
        return [float(fit is True) for fit in fits]

    def _fits(self, text: str) -> bool | None:
        if self.pattern is not None:
            return _matches(self.pattern, text)
        return _has_sections(text, _DEFAULT_TAGS if self.tags is None else self.tags)


def _matches(pattern: str, text: str) -> bool | None:
    """Whether the pattern matches the whole text; None where the time did not suffice to say."""
    try:
        return matches(pattern, text)
    except TimeoutError:
        return None


def _has_sections(text: str, tags: tuple[str, ...]) -> bool:
    # Counting first leaves the expression below one way to match, so it cannot backtrack for long.
    if any(text.count(f"<{tag}>") != 1 or text.count(f"</{tag}>") != 1 for tag in tags):
        return False
    sections = r"\s*".join(rf"<{tag}>.*</{tag}>" for tag in tags)
    return re.fullmatch(sections, text.strip(), re.DOTALL) is not None


def _check_tags(tags: tuple[str, ...]) -> None:
    if not tags or len(set(tags)) < len(tags) or not all(map(_TAG_NAME.fullmatch, tags)):
        raise ValueError(
            "format: tags must be one or more distinct names of letters, digits, '-' and '_' "
            f"that start with a letter and have no brackets, such as think; given: {tags!r}"
        )
