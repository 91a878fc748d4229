"""Which tokens of a run are forks: high entropy at the position where they were sampled."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class ForkingToken:
    """A token's text, mean entropy (nats) where it was sampled, how often it was, and the share that was kept."""

    text: str
    entropy: float
    count: int
    kept: float


def rank_forking_tokens(
    rollouts: Iterable[Mapping[str, Any]], *, top: int = 12, minimum: int = 20
) -> list[ForkingToken]:
    """The ``top`` tokens of highest mean entropy among those sampled at least ``minimum`` times.

    A token seen less often would rank by chance.
    """
    entropies: dict[str, list[float]] = defaultdict(list)
    kept: dict[str, int] = defaultdict(int)
    for row in rollouts:
        for text, entropy, selected in zip(
            row["token"], row["entropy"], row["selected"], strict=True
        ):
            entropies[text].append(entropy)
            kept[text] += selected
    tokens = [
        ForkingToken(
            text=text,
            entropy=sum(values) / len(values),
            count=len(values),
            kept=kept[text] / len(values),
        )
        for text, values in entropies.items()
        if len(values) >= minimum
    ]
    return sorted(tokens, key=lambda token: (-token.entropy, token.text))[:top]
