r"""Answers in Unicode, and some rare LaTeX, in the LaTeX that math-verify reads.

Models write ``2√3``, ``x²``, ``½`` and ``٤٢``. Only signs with one meaning are taken: letters stay
as they are, and so do numerals that are words or labels, such as ``Ⅻ`` and ``①``.
"""

import re
import unicodedata

_SIGNS = str.maketrans(
    {
        "\N{MINUS SIGN}": "-",
        "\N{EN DASH}": "-",
        "\N{ARABIC DECIMAL SEPARATOR}": ".",
        "\N{ARABIC THOUSANDS SEPARATOR}": ",",
        "\N{MIDDLE DOT}": r"\cdot ",
        "\N{DOT OPERATOR}": r"\cdot ",
        "\N{INFINITY}": r"\infty ",
        "\N{DEGREE SIGN}": r"^\circ ",
        # The full-width forms of ASCII
        **{chr(code + 0xFEE0): chr(code) for code in range(ord("!"), ord("~") + 1)},
    }
)
_RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ", "0123456789+-n")
_LOWERED = str.maketrans("₀₁₂₃₄₅₆₇₈₉₊₋ₙ", "0123456789+-n")
_SUPERSCRIPT = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ]+")
_SUBSCRIPT = re.compile("[₀₁₂₃₄₅₆₇₈₉₊₋ₙ]+")
_ROOT = re.compile(r"√\s*([0-9]+(?:\.[0-9]+)?|[A-Za-z]|\([^()]*\))")
_BY_SPACES = re.compile(r"[-+]?[0-9]{1,3}(?: [0-9]{3})+(?:\.[0-9]+)?")
_COMMANDS = [
    (re.compile(r"\\[bB]igg?[lrm]?(?![A-Za-z])\s*"), ""),
    (re.compile(r"\\lbrace(?![A-Za-z])"), r"\\{"),
    (re.compile(r"\\rbrace(?![A-Za-z])"), r"\\}"),
    (re.compile(r"\\varnothing(?![A-Za-z])"), r"\\emptyset"),
    (re.compile(r"(?<!\\)~(?!=)"), " "),
]


def readable(text: str) -> str:
    """The text with such notation replaced; linear time."""
    if not text.isascii():
        text = _in_ascii(text)
    for pattern, replacement in _COMMANDS:
        text = pattern.sub(replacement, text)
    # What is left of a thin space, "\,", whose comma was taken for the sentence's
    text = text.strip().removesuffix("\\").rstrip()
    return text.replace(" ", "") if _BY_SPACES.fullmatch(text) else text


def _in_ascii(text: str) -> str:
    text = _SUPERSCRIPT.sub(lambda match: f"^{{{match[0].translate(_RAISED)}}}", text)
    text = _SUBSCRIPT.sub(lambda match: f"_{{{match[0].translate(_LOWERED)}}}", text)
    text = "".join(map(_character, text.translate(_SIGNS)))
    return _ROOT.sub(r"\\sqrt{\1}", text)


def _character(character: str) -> str:
    """A decimal digit of any script, a vulgar fraction or a space; marks without a form are left out."""
    if character.isascii():
        return character
    if character.isdecimal():
        return str(unicodedata.decimal(character))
    match unicodedata.category(character):
        case "Zs":
            return " "
        case "Cf":
            return ""
    kind, *parts = unicodedata.decomposition(character).split() or ("",)
    if kind != "<fraction>":
        return character
    above, _, below = "".join(chr(int(part, 16)) for part in parts).partition("\N{FRACTION SLASH}")
    return rf"\frac{{{above}}}{{{below}}}" if below else character
