"""What was wrong with rows: counted, with the places of the first ones, or the end of the run."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from rlent.data.section import DataSection
from rlent.errors import ConfigError

Kind = Literal["bad_rows", "no_answer", "duplicates", "too_few_tokens", "too_many_tokens"]
Rule = Literal["stop", "skip", "drop", "keep"]

NAMES: dict[Kind, str] = {
    "bad_rows": "bad",
    "no_answer": "without answer",
    "duplicates": "duplicate",
    "too_few_tokens": "below min_prompt_tokens",
    "too_many_tokens": "above max_prompt_tokens",
}
"""What a row with the problem is called in a plan."""
LEAVES: dict[Kind, tuple[str, ...]] = {
    "bad_rows": ("skip",),
    "no_answer": ("drop",),
    "duplicates": ("drop", "keep"),
}
"""Problems that a recipe may stop at, with its other choices."""
SHOWN = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """One row with a problem."""

    place: str
    """``file:line`` in a text file, else the source and the row's number."""
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Problems:
    """All that was found so far."""

    rules: Mapping[Kind, Rule]
    counts: Counter[Kind] = field(default_factory=Counter)
    first: dict[Kind, list[Problem]] = field(default_factory=dict)
    """The first few of each kind."""

    def report(self, kind: Kind, place: str, error: ConfigError) -> bool:
        """Count a row; True when it stays.

        Raises the error, with the place in front and the way out, where the rule is ``stop``.
        """
        if self.rules[kind] == "stop":
            error.problem = f"{place}: {error.problem}"
            choices = " or ".join(LEAVES[kind])
            error.remedy = error.remedy or f"correct the row, or set data.{kind}: {choices}"
            raise error
        self.counts[kind] += 1
        if len(known := self.first.setdefault(kind, [])) < SHOWN:
            known.append(Problem(place=place, reason=error.problem))
        return self.rules[kind] == "keep"

    def left_out(self) -> list[str]:
        """The rows that are not used, in words, such as ``3 bad``."""
        return [
            f"{count} {NAMES[kind]}"
            for kind in NAMES
            if (count := self.counts[kind]) and self.rules[kind] != "keep"
        ]


def no_problems(section: DataSection) -> Problems:
    """An empty record under the rules of a section."""
    return Problems(
        rules={
            "bad_rows": section.bad_rows,
            "no_answer": section.no_answer,
            "duplicates": section.duplicates,
            "too_few_tokens": "drop",
            "too_many_tokens": "drop",
        }
    )
