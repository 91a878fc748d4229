"""From what the user wrote to the typed recipe."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Annotated, Any

from pydantic import Field

from rlent.config.components import check_list, parse_entry, parse_interventions, parse_loss
from rlent.config.evaluation import Evaluation
from rlent.config.recipe import (
    Engine,
    Model,
    Recipe,
    Rollout,
    Tracking,
    WeightedReward,
)
from rlent.config.source import Source
from rlent.config.validate import check_keys, parse_dataclass, parse_value
from rlent.data.section import DataSection
from rlent.errors import ConfigError
from rlent.interventions import chain
from rlent_rewards import REWARDS

_SECTIONS: dict[str, type] = {
    "model": Model,
    "data": DataSection,
    "rollout": Rollout,
    "engine": Engine,
    "tracking": Tracking,
    "evaluation": Evaluation,
}

_Finite = Annotated[float, Field(allow_inf_nan=False)]

_REQUIRED = {
    "model": "add `model: {name: ...}`",
    "data": "add a `data:` section",
}


def parse_recipe(source: Source, *, name: str) -> Recipe:
    """The typed recipe, named ``name`` unless the source says otherwise.

    A section that is null counts as absent: its lines may all be commented out.

    Raises:
        ConfigError: with the key and its place in the source.
    """
    with source.locating():
        keys = [field.name for field in fields(Recipe) if field.name != "source"]
        check_keys(source.mapping, keys, "")
        given = {key: value for key, value in source.mapping.items() if value is not None}
        _check_required(given)
        sections: dict[str, Any] = {key: _section(key, value) for key, value in given.items()}
        recipe = Recipe(**{"name": name, **sections}, source=source)
        # Only here are all interventions known, and some pairs lose an effect.
        chain(recipe.interventions)
    return recipe


def _check_required(given: Mapping[str, Any]) -> None:
    for key, remedy in _REQUIRED.items():
        if key not in given:
            raise ConfigError("the section is required", key=key, remedy=remedy)


def _section(key: str, value: Any) -> Any:
    match key:
        case "name" | "output_dir":
            return parse_value(str, value, key)
        case "trainer":
            return parse_value(dict[str, Any], value, key)
        case "rewards":
            entries = enumerate(check_list(value, key))
            return tuple(_reward(entry, f"{key}.{position}") for position, entry in entries)
        case "interventions":
            return parse_interventions(value)
        case "loss":
            return parse_loss(value)
        case _:
            return parse_dataclass(_SECTIONS[key], value, key)


def _reward(entry: object, key: str) -> WeightedReward:
    found = parse_entry(entry, REWARDS, key)
    reward = REWARDS[found.name]
    check_keys(found.options, ["weight", *(field.name for field in fields(reward))], found.key)
    options = {name: value for name, value in found.options.items() if name != "weight"}
    weight = found.options.get("weight", 1.0)
    return WeightedReward(
        kind=found.name,
        weight=parse_value(_Finite, weight, f"{found.key}.weight"),
        function=parse_dataclass(reward, options, found.key),
    )
