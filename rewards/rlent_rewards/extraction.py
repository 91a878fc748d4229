r"""Where the final answer stands in a completion.

Every function takes linear time in the length of the text, which a model controls; a pattern of the
user's has a time limit.
"""

import re
from collections import deque
from collections.abc import Callable
from typing import Literal

from rlent_rewards.patterns import check_pattern, last_match
from rlent_rewards.plain_number import UNSIGNED, tidy

Extraction = Literal["auto", "boxed", "answer_tag", "marker", "last_number"]

# A brace after a backslash is a printed one. The first alternative keeps the second half of a
# double backslash, which starts a new line in LaTeX, from escaping what follows.
_BRACE = re.compile(r"\\\\|\\[{}]|\\(?:boxed|fbox)\s*\{|[{}]")
# Four hashes before a word are a Markdown heading.
_MARKER = re.compile(
    r"(?:\#{4}\s?(?=[-+.$\\(0-9])|\banswer[\s*]*(?:\bis\b|[:=]))[\s:*]*(?=\S)", re.IGNORECASE
)
_DISPLAY_MATH = re.compile(r"\\\[.+?\\\]|\$\$.+?\$\$", re.DOTALL)
_SENTENCE_END = re.compile(r"[.!?](?=\s)")
# The sign is part of a number only where it cannot be a subtraction or a bullet.
_LAST_NUMBER = re.compile(
    rf"(?:(?<![\w)}}\]])[-+])?(?:\\?\$)?(?<![\w.]){UNSIGNED}",
)
_INLINE_MATH = re.compile(r"(?<!\\)\$(?![\s$])(?P<inside>[^$]+)(?<![\s\\])\$(?!\d)")
_DELIMITERS = ((r"\(", r"\)"), (r"\[", r"\]"), ("$$", "$$"))


def boxed(text: str) -> str | None:
    r"""The content of the last ``\boxed{...}`` with balanced braces, the innermost if nested."""
    opened: list[int | None] = []
    last: tuple[int, int] | None = None
    for match in _BRACE.finditer(text):
        token = match[0]
        if token == "{":
            opened.append(None)
        elif token == "}":
            start = opened.pop() if opened else None
            if start is not None and (last is None or start > last[0]):
                last = (start, match.start())
        elif token.endswith("{") and len(token) > 2:
            opened.append(match.end())
    return text[slice(*last)] if last else None


def answer_tag(text: str) -> str | None:
    """The content of the last ``<answer>...</answer>``."""
    end = text.rfind("</answer>")
    start = text.rfind("<answer>", 0, max(end, 0))
    return text[start + len("<answer>") : end] if start >= 0 else None


def marker(text: str) -> str | None:
    """The sentence after the last "Answer: ", "answer is " or, as in GSM8K, "#### "."""
    match = _last_match(_MARKER, text)
    if match is None:
        return None
    if display := _DISPLAY_MATH.match(text, match.end()):
        return display[0]
    line = text[match.end() :].partition("\n")[0]
    return _SENTENCE_END.split(line, maxsplit=1)[0]


def last_number(text: str) -> str | None:
    """The last number, with its sign, thousands separators, exponent, fraction and percent sign."""
    match = _last_match(_LAST_NUMBER, tidy(text))
    return match[0] if match else None


def _last_match(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    matches = deque(pattern.finditer(text), maxlen=1)
    return matches[0] if matches else None


_METHODS: dict[str, Callable[[str], str | None]] = {
    "boxed": boxed,
    "answer_tag": answer_tag,
    "marker": marker,
    "last_number": last_number,
}


def extract_answer(
    text: str, method: Extraction = "auto", pattern: str | None = None
) -> str | None:
    """The final answer, cleaned, or None; "auto" is the first of the methods that finds one.

    Raises:
        TimeoutError: there is a pattern, which is read in the method's place, and it took too long.
    """
    if pattern is not None:
        return clean(last_match(pattern, text) or "") or None
    methods = _METHODS.values() if method == "auto" else (_METHODS[method],)
    return next(filter(None, (clean(find(text) or "") for find in methods)), None)


def check_custom(owner: str, method: Extraction, pattern: str | None) -> None:
    """Raise ValueError if a pattern does not compile, or stands beside a method."""
    if pattern is None:
        return
    check_pattern(f"{owner}: pattern", pattern)
    if method != "auto":
        raise ValueError(
            f"{owner} takes extract or pattern, not both; given: extract={method!r}, "
            f"pattern={pattern!r}"
        )


def clean(answer: str) -> str:
    r"""An answer without Markdown, math delimiters, a box around it or the full stop after it.

    The power ``2**10`` of programming languages becomes ``2^10``.
    """
    answer = (boxed(answer) or answer).lstrip(" \t\r\n*`").rstrip(" \t\r\n*`.,;")
    answer = answer.replace("**", "^")
    if inline := _INLINE_MATH.search(answer):
        return inline["inside"].strip()
    for opening, closing in _DELIMITERS:
        if answer.startswith(opening) and answer.endswith(closing):
            return answer.removeprefix(opening).removesuffix(closing).strip()
    return answer
