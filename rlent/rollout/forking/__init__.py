"""Groups of completions that fork: rules, one file each, the key of a recipe that chooses one, and how groups grow."""

from dataclasses import dataclass, fields

from rlent.rollout.forking.critical_token import CriticalToken
from rlent.rollout.forking.entropy_change import EntropyChange
from rlent.rollout.forking.rule import Fork, ForkingRule, Tree
from rlent.rollout.forking.uncertain_tokens import UncertainTokens
from rlent.rollout.forking.window_entropy import WindowEntropy

__all__ = [
    "TABLE",
    "CriticalToken",
    "EntropyChange",
    "Fork",
    "Forking",
    "ForkingRule",
    "Tree",
    "UncertainTokens",
    "WindowEntropy",
]

TABLE: dict[str, type[ForkingRule]] = {
    rule.name: rule for rule in (EntropyChange, CriticalToken, UncertainTokens, WindowEntropy)
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Forking:
    """One rule by its name, as in ``{critical_token: {n1: 4, n2: 3}}``.

    Raises:
        ValueError: none is given, or several.
    """

    entropy_change: EntropyChange | None = None
    critical_token: CriticalToken | None = None
    uncertain_tokens: UncertainTokens | None = None
    window_entropy: WindowEntropy | None = None

    def __post_init__(self) -> None:
        if len(given := self._given()) != 1:
            raise ValueError(
                "branching must name one rule and its options, such as {critical_token: {}}; "
                f"given: {', '.join(given) or 'none'}"
            )

    @property
    def rule(self) -> ForkingRule:
        """The rule that is given."""
        (rule,) = self._given().values()
        return rule

    def _given(self) -> dict[str, ForkingRule]:
        rules = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: rule for name, rule in rules.items() if rule is not None}
