"""Recipes: YAML to a typed, checked record, command-line overrides, and the resolved copy."""

from rlent.config.components import parse_interventions
from rlent.config.dump import dump_recipe
from rlent.config.evaluation import Evaluation, EvaluationSet
from rlent.config.load import load_recipe
from rlent.config.recipe import (
    Engine,
    Model,
    Recipe,
    Rollout,
    Tracking,
    Wandb,
    WeightedReward,
)
from rlent.config.source import Source

__all__ = [
    "Engine",
    "Evaluation",
    "EvaluationSet",
    "Model",
    "Recipe",
    "Rollout",
    "Source",
    "Tracking",
    "Wandb",
    "WeightedReward",
    "dump_recipe",
    "load_recipe",
    "parse_interventions",
]
