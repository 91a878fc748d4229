"""Messages about a name that is not one of those that are known."""

from collections.abc import Sequence
from difflib import get_close_matches


def check_choice(option: str, given: object, choices: Sequence[str]) -> None:
    """Raise ValueError, with the nearest choice, if ``given`` is none of the choices."""
    if given not in choices:
        raise ValueError(
            f"{option} must be one of {', '.join(choices)}; "
            f"given: {given!r}{did_you_mean(given, choices)}"
        )


def did_you_mean(given: object, names: Sequence[str]) -> str:
    """The end of a message: the nearest name, or nothing."""
    nearest = get_close_matches(str(given), names, n=1)
    return f"; did you mean {nearest[0]!r}?" if nearest else ""
