"""The resolved recipe as YAML, every default written out; reading it gives an equal recipe."""

import io
from dataclasses import fields
from typing import Any

from pydantic_core import to_jsonable_python
from ruamel.yaml import YAML

from rlent.config.recipe import Recipe


def dump_recipe(recipe: Recipe) -> str:
    """YAML 1.2 text with all sections in the order of ``Recipe``."""
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # pyright: ignore[reportAttributeAccessIssue]
    text = io.StringIO()
    yaml.dump(_sections(recipe), text)
    return text.getvalue()


def _sections(recipe: Recipe) -> dict[str, Any]:
    sections = {
        field.name: getattr(recipe, field.name)
        for field in fields(recipe)
        if field.name != "source"
    }
    sections["rewards"] = [
        {reward.kind: {"weight": reward.weight} | to_jsonable_python(reward.function)}
        for reward in recipe.rewards
    ]
    sections["interventions"] = [{config.name: config} for config in recipe.interventions]
    loss = recipe.loss
    sections["loss"] = None if loss is None else {loss.name: loss}
    return to_jsonable_python(sections)
