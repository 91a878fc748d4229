"""Rules for drawing the next token, one file each, and the key of a recipe that chooses one."""

from dataclasses import dataclass, fields

from rlent.rollout.decoding.cautious import Cautious
from rlent.rollout.decoding.entropy_aware import EntropyAware
from rlent.rollout.decoding.entropy_temperature import EntropyTemperature
from rlent.rollout.decoding.rule import DecodingRule
from rlent.rollout.decoding.swi_reasoning import SwiReasoning
from rlent.rollout.decoding.temperature_switch import TemperatureSwitch
from rlent.rollout.decoding.think_just_enough import ThinkJustEnough
from rlent.rollout.decoding.two_models import TwoModels
from rlent.rollout.decoding.typical import Typical

__all__ = [
    "TABLE",
    "Cautious",
    "Decoding",
    "DecodingRule",
    "EntropyAware",
    "EntropyTemperature",
    "SwiReasoning",
    "TemperatureSwitch",
    "ThinkJustEnough",
    "TwoModels",
    "Typical",
]

TABLE: dict[str, type[DecodingRule]] = {
    rule.name: rule
    for rule in (
        Typical,
        EntropyAware,
        EntropyTemperature,
        TemperatureSwitch,
        Cautious,
        ThinkJustEnough,
        SwiReasoning,
        TwoModels,
    )
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Decoding:
    """One rule by its name, as in ``{typical: {mass: 0.95}}``.

    Raises:
        ValueError: none is given, or several.
    """

    typical: Typical | None = None
    entropy_aware: EntropyAware | None = None
    entropy_temperature: EntropyTemperature | None = None
    temperature_switch: TemperatureSwitch | None = None
    cautious: Cautious | None = None
    think_just_enough: ThinkJustEnough | None = None
    swi_reasoning: SwiReasoning | None = None
    two_models: TwoModels | None = None

    def __post_init__(self) -> None:
        if len(given := self._given()) != 1:
            raise ValueError(
                "decoding must name one rule and its options, such as {typical: {}}; "
                f"given: {', '.join(given) or 'none'}"
            )

    @property
    def rule(self) -> DecodingRule:
        """The rule that is given."""
        (rule,) = self._given().values()
        return rule

    def _given(self) -> dict[str, DecodingRule]:
        rules = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: rule for name, rule in rules.items() if rule is not None}
