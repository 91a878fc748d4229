"""Functions to name in ``python_function``; what is wrong with them is in their names."""

from collections.abc import Callable, Sequence
from typing import Any

not_a_function = 3


def python_function(completions: Sequence[Any], **kwargs: Any) -> list[float]:
    texts = [item if isinstance(item, str) else item[-1]["content"] for item in completions]
    return [min(len(text), 10) / 10 for text in texts]


def with_columns(
    completions: Sequence[str],
    level: Sequence[int],
    bonus: Sequence[int] | None = None,
    **kwargs: Any,
) -> tuple[Any, ...]:
    """The level, plus a bonus, and None where the level is negative; logs what it was given."""
    kwargs["log_metric"]("given", float(len(kwargs)))
    extra = bonus or [0] * len(level)
    return tuple(None if a < 0 else a + b for a, b in zip(level, extra, strict=True))


class Scorer:
    """A callable object, and a method to name."""

    def __call__(self, completions: Sequence[str], **kwargs: Any) -> list[bool]:
        return [text == "yes" for text in completions]

    @staticmethod
    def method(**kwargs: Any) -> list[int]:
        return [2] * len(kwargs["completions"])


scorer = Scorer()


class AsyncScorer:
    async def __call__(self, completions: Sequence[str], **kwargs: Any) -> list[float]:
        return [0.0] * len(completions)


async_scorer = AsyncScorer()


async def coroutine(completions: Sequence[str], **kwargs: Any) -> list[float]:
    return [0.0] * len(completions)


def without_kwargs(completions: Sequence[str], answer: Sequence[str]) -> list[float]:
    return [0.0] * len(completions)


def positional_only(completions: Sequence[str], /, **kwargs: Any) -> list[float]:
    return [0.0] * len(completions)


def _returning(value: Any) -> Callable[..., Any]:
    return lambda completions, **kwargs: value


returns_none = _returning(None)
returns_number = _returning(1.0)
returns_text = _returning("ab")
returns_set = _returning({1.0, 2.0})
returns_too_few = _returning([1.0])
returns_too_many = _returning([1.0] * 3)
returns_nan = _returning([1.0, float("nan")])
returns_infinity = _returning([float("inf"), 1.0])
returns_texts = _returning([1.0, "1.0"])
returns_complex = _returning([1.0, 1j])
