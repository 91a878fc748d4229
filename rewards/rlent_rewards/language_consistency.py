"""Reward for text in the wanted script."""

import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rlent_rewards.choices import check_choice
from rlent_rewards.protocol import Completion, completion_text

_SCRIPTS = """
arabic armenian bengali bopomofo cyrillic devanagari ethiopic georgian greek gujarati gurmukhi han
hangul hebrew hiragana kannada katakana khmer lao latin malayalam mongolian myanmar oriya sinhala
syriac tamil telugu thaana thai tibetan
"""
# The first word of a letter's Unicode name is its script, but for Han and for these words, which
# begin the names of letters of formulas, of units, and of marks that several scripts share.
_NO_SCRIPTS = """
ALEF ANGSTROM BET BLACK-LETTER CARON DALET DOUBLE-STRUCK EULER FEMININE GIMEL IDEOGRAPHIC
INFORMATION KATAKANA-HIRAGANA KELVIN MASCULINE MASU MATHEMATICAL MICRO MODIFIER OHM PLANCK ROMAN
SCRIPT SUPERSCRIPT TURNED VEDIC VERTICAL
"""
_NO_SCRIPT = frozenset(_NO_SCRIPTS.split())
_WIDTHS = ("FULLWIDTH ", "HALFWIDTH ")


@dataclass(frozen=True, kw_only=True, slots=True)
class LanguageConsistency:
    r"""The share of a completion's letters that are of the wanted scripts, from 0.0 to 1.0.

    DeepSeek-R1 rewards the share of words in the target language (arXiv:2501.12948, section 2.3.2)
    and does not say how it tells their language. This looks at scripts, not at languages: it keeps
    Chinese out of English and cannot tell English from French. It counts letters and not words,
    which many scripts do not separate.

    Letters are those of Unicode; digits, marks and symbols count neither way, nor do letters of
    formulas such as U+211D. The letters of LaTeX commands, of code and of tags such as ``<think>``
    are Latin. A completion without letters scores 0.0: it shows no language.

    Raises:
        ValueError: no script is given, one is unknown, or one is given twice.
    """

    scripts: tuple[str, ...]
    """Unicode's names of the wanted scripts in small letters, such as [latin] for English or [han,
    hiragana, katakana] for Japanese."""

    def __post_init__(self) -> None:
        for script in self.scripts:
            check_choice("language_consistency: scripts", script, _SCRIPTS.split())
        if not self.scripts or len(set(self.scripts)) < len(self.scripts):
            raise ValueError(
                "language_consistency: scripts must be one or more different names; "
                f"given: {self.scripts!r}"
            )

    @property
    def __name__(self) -> str:
        return "language_consistency"

    def __call__(self, completions: Sequence[Completion], **columns: Any) -> list[float]:
        """A number in [0, 1] per completion. Raises ValueError where a completion has no text."""
        return [self._share(completion_text(completion)) for completion in completions]

    def _share(self, text: str) -> float:
        letters = Counter[str]()
        for letter, count in Counter(text).items():
            if script := _script(letter):
                letters[script] += count
        return sum(letters[script] for script in self.scripts) / (letters.total() or 1)


def _script(character: str) -> str | None:
    """The script of a letter as the first word of its name, "unnamed" without one, or None."""
    if not unicodedata.category(character).startswith("L"):
        return None
    name = unicodedata.name(character, "UNNAMED")
    for width in _WIDTHS:
        name = name.removeprefix(width)
    word = name.partition(" ")[0]
    if word in _NO_SCRIPT:
        return None
    return "han" if word == "CJK" else word.lower()
