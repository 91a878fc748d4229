"""What a reward is, and how it reads the completions and columns that TRL passes."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from rlent_rewards.choices import did_you_mean

Completion = str | Sequence[Mapping[str, Any]]
"""A text, or a conversation such as ``[{"role": "assistant", "content": "42"}]``."""


_FROM_TRL = frozenset({"prompts", "completion_ids"})
"""Lists that TRL passes beside the columns of the dataset."""


class Reward(Protocol):
    """A TRL reward function with a name."""

    @property
    def __name__(self) -> str:
        """The name in ``REWARDS``, or of the user's function behind it.

        TRL logs it as ``rewards/<name>/mean``.
        """
        ...

    def __call__(self, completions: Sequence[Completion], **columns: Any) -> list[float]:
        """One reward per completion.

        ``columns`` holds the columns of the dataset, one value per completion, and what TRL adds:
        ``prompts``, ``completion_ids``, ``trainer_state``, ``log_extra`` and ``log_metric``.
        """
        ...


def completion_text(completion: object) -> str:
    """The text of a completion: itself, or the last assistant message of a conversation.

    Raises:
        ValueError: the completion is neither, or that message has no text.
    """
    if isinstance(completion, str):
        return completion
    if isinstance(completion, Sequence):
        for message in reversed(completion):
            if isinstance(message, Mapping) and message.get("role") == "assistant":
                if isinstance(content := message.get("content"), str):
                    return content
                break
    raise ValueError(
        "a completion must be a text or a conversation that holds an assistant message with text "
        f"content; given: {completion!r:.200}"
    )


def column(columns: Mapping[str, Any], name: str, *, rows: int) -> Sequence[Any]:
    """The dataset column ``name``, which must have one value per completion.

    Raises:
        ValueError: there is no such column, or its length is not ``rows``.
    """
    if name not in columns:
        raise ValueError(no_column(columns, name))
    values = columns[name]
    if len(values) != rows:
        raise ValueError(f"column {name!r} has {len(values)} values for {rows} completions")
    return values


def no_column(columns: Mapping[str, Any], name: str) -> str:
    """The message that there is no such column, with those that there are."""
    lists = {key for key, value in columns.items() if isinstance(value, list | tuple)}
    present = sorted(lists - _FROM_TRL)
    return (
        f"no column {name!r} in the dataset; columns present: {present}"
        f"{did_you_mean(name, present)}"
    )


def token_ids(columns: Mapping[str, Any], *, rows: int, reward: str) -> Sequence[Sequence[int]]:
    """The tokens of each completion, the end-of-text token among them.

    Raises:
        ValueError: names the reward; ``completion_ids`` is missing or its length is not ``rows``.
    """
    if "completion_ids" not in columns:
        raise ValueError(
            f"{reward}: completion_ids must be passed, the tokens of each completion, as TRL's "
            "trainers do"
        )
    return column(columns, "completion_ids", rows=rows)


def log_share(columns: Mapping[str, Any], metric: str, counted: Sequence[bool]) -> None:
    """Log the share of completions that are counted as ``rewards/<metric>``, where TRL can log."""
    if counted and (log_metric := columns.get("log_metric")):
        log_metric(f"rewards/{metric}", sum(counted) / len(counted))
