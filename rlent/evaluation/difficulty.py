"""Difficulty labels of an evaluated set's problems, and the decoding settings of each label.

DiffAdapt (arXiv 2510.19669, read in an account alone). Of a problem's drawn completions ``a`` is the share that is
correct and ``H`` the mean entropy of all their tokens, in nats at the evaluation's temperature::

    normal   a >= alpha and H <= beta
    hard     otherwise, if a < gamma
    easy     otherwise: among them those that are solved at a high entropy

========  ===========  =====================
label     temperature  most tokens
========  ===========  =====================
easy      0.5          0.4 of the set's most
normal    0.8          the set's most
hard      0.4          0.5 of the set's most
========  ===========  =====================

Unverified: the values of ``alpha``, ``beta`` and ``gamma``, which therefore have no defaults; whether ``H`` weighs
tokens alike, as here, or completions, and at which temperature; and how a share of tokens is rounded (here down). Left
out: the prompts of the paper's strategies, which could not be verified. ``difficulty_labels`` labels the problems of an
evaluated set, ``difficulty_probe`` predicts labels from prompts, ``difficulty_sampling`` answers by them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from rlent.errors import ConfigError

Difficulty = Literal["easy", "normal", "hard"]


@dataclass(frozen=True, kw_only=True, slots=True)
class DifficultySettings:
    """How the problems of one label are answered."""

    temperature: float
    length_share: float
    """Of the most tokens of a completion."""

    def limit(self, length: int) -> int:
        """Most tokens of a completion where the set allows ``length``; at least one."""
        return max(int(self.length_share * length), 1)


DIFFICULTY_SETTINGS: Mapping[Difficulty, DifficultySettings] = {
    "easy": DifficultySettings(temperature=0.5, length_share=0.4),
    "normal": DifficultySettings(temperature=0.8, length_share=1.0),
    "hard": DifficultySettings(temperature=0.4, length_share=0.5),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class DifficultyThresholds:
    """Where labels begin and end. Raises ConfigError that names the one out of its range."""

    alpha: float
    """Least accuracy of a normal problem, 0 to 1."""
    beta: float
    """Highest mean entropy of a normal problem, in nats."""
    gamma: float
    """Accuracy below which a problem is hard unless it is normal, 0 to 1."""

    def __post_init__(self) -> None:
        for name, share in (("alpha", self.alpha), ("gamma", self.gamma)):
            if not 0 <= share <= 1:
                raise ConfigError("not an accuracy", key=name, expected="0 to 1", given=share)
        if not 0 <= self.beta < float("inf"):
            raise ConfigError(
                "not an entropy", key="beta", expected="nats, 0 or more", given=self.beta
            )

    def label(self, accuracy: float, entropy: float) -> Difficulty:
        """The label of a problem. Raises ConfigError if ``accuracy`` is no share or ``entropy`` (nats) is below 0."""
        if not 0 <= accuracy <= 1:
            raise ConfigError("not a share", key="accuracy", expected="0 to 1", given=accuracy)
        if not 0 <= entropy < float("inf"):
            raise ConfigError(
                "not an entropy", key="entropy", expected="nats, 0 or more", given=entropy
            )
        if accuracy >= self.alpha and entropy <= self.beta:
            return "normal"
        return "hard" if accuracy < self.gamma else "easy"
