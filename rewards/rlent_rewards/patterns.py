"""Regular expressions of the user's, on texts that a model writes.

A pattern may take time that is exponential in the text, so all of these end after ``TIMEOUT_SECONDS``.
The syntax is that of the package ``regex``.
"""

from collections import deque

import regex

TIMEOUT_SECONDS = 0.5
"""Longest time that a pattern may take over one text."""


def check_pattern(option: str, pattern: str) -> None:
    """Raise ValueError if the pattern does not compile."""
    try:
        regex.compile(pattern)
    except regex.error as error:
        raise ValueError(
            f"{option} must be a regular expression; given: {pattern!r} ({error})"
        ) from error


def matches(pattern: str, text: str) -> bool:
    """Whether the pattern, in which ``.`` is also a new line, matches the whole text.

    Raises TimeoutError.
    """
    return regex.fullmatch(pattern, text, regex.DOTALL, timeout=TIMEOUT_SECONDS) is not None


def last_match(pattern: str, text: str) -> str | None:
    """The first group of the last match, or all of the match if the pattern has no group.

    Raises TimeoutError.
    """
    found = deque(regex.finditer(pattern, text, timeout=TIMEOUT_SECONDS), maxlen=1)
    return found[0][min(1, found[0].re.groups)] if found else None
