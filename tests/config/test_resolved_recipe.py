from pathlib import Path

import pytest
from recipe_texts import EVERYTHING, MINIMAL, Load

from rlent.config import dump_recipe, load_recipe
from rlent.interventions import TABLE

AWKWARD = """\
model:
  name: "2024-01-01"
  revision: "1e-5"
  options:
    texts: ["", " a ", "null", "true", "on", "~", "0x10", "1_000", ".5", "+.5e3", "=", "<<", "- a",
            "a: b", "a #b", "'", '"', "*x", "&x", "!x", "%x", "@x", "{}", "[]", "---", "...",
            ".inf", "line\\nbreak\\n", "tab\\t", "\\e", "\\u2028", "é☃😀"]
    numbers: [0, -1, 99999999999999999999, 0.1, -0.0, 1e-5, 1e22, 5e-324, 1.7976931348623157e308,
              .inf, -.inf, 0x1F]
    "a key: with # marks": {"1": a, "true": b, "2024-01-01": c, "a.b": d}
    empty: [{}, [], null]
data: {name: d, prompt: "a very long template that a writer of YAML may fold into several lines,
  whatever its idea of a good width is, because {question} stands in it: {question}"}
rewards: [format]
trainer: {learning_rate: 1e-6, nothing: null}
"""

RECIPES = {
    "minimal": MINIMAL,
    "everything": EVERYTHING,
    "awkward": AWKWARD,
    "released": MINIMAL + "interventions: [{forking_tokens: {as_released: true}}]\n",
    "evaluation": MINIMAL + "evaluation: {}\n",
    "mixture": MINIMAL.replace(
        "data: {name: ", "data: {mixture: [{weight: 2.5, name: a}, {name: b}, {name: "
    ).replace(
        "chain_sum}",
        "chain_sum, columns: {level: meta.level}}], duplicates: drop, max_prompt_tokens: 9}",
    ),
    "the older word": MINIMAL.replace("chain_sum}", "chain_sum, too_long: error}"),
    **{f"default {name}": f"{MINIMAL}interventions: [{name}]\n" for name in TABLE},
}


@pytest.mark.parametrize("text", RECIPES.values(), ids=RECIPES)
def test_reading_the_resolved_recipe_gives_the_recipe(load: Load, text: str) -> None:
    recipe = load(text)
    resolved = dump_recipe(recipe)
    Path("another_name.yaml").write_text(resolved, encoding="utf-8")
    again = load_recipe("another_name.yaml")
    assert again == recipe
    assert dump_recipe(again) == resolved


def test_overrides_are_in_the_resolved_recipe(load: Load) -> None:
    overrides = ("trainer.learning_rate=5e-6", "engine.precision=bfloat16")
    recipe = load(MINIMAL, *overrides)
    again = load(dump_recipe(recipe))
    assert again == recipe
    assert again.trainer == {"learning_rate": 5e-6}
    assert again.engine.precision == "bfloat16"


def test_every_default_is_written_out(load: Load) -> None:
    recipe = load(MINIMAL + "interventions: [forking_tokens]\nevaluation: {}\n")
    assert (
        dump_recipe(recipe)
        == """\
name: recipe
output_dir: runs
model:
  name: smollm2-135m-instruct
  revision: null
  dtype: float32
  options: {}
  adapter: null
data:
  name: reasoning_gym/chain_sum
  config: null
  split: train
  options: {}
  prompt: null
  answer: answer
  columns: null
  system: null
  image: null
  mixture: []
  size: null
  style: chat
  chat_template: null
  seed: 0
  order: seed
  bad_rows: stop
  no_answer: stop
  duplicates: keep
  min_prompt_tokens: null
  max_prompt_tokens: null
  too_long: stop
rewards:
- math_answer:
    weight: 1.0
    answer_column: answer
    extract: auto
    pattern: null
    strict: true
    timeout: 5.0
    memory_mb: 512
    workers: null
interventions:
- forking_tokens:
    fraction: 0.2
    keep: highest
    scope: global
    entropy: old
    denominator: kept
    as_released: false
loss: null
trainer: {}
rollout:
  engine: native
  max_live: null
  budgets: null
  decoding: null
  branching: null
engine:
  precision: auto
  gradient_checkpointing: false
  zero: null
  offload: none
  bucket_size: null
  overlap_communication: null
  keep_gathered: null
  deepspeed: null
  non_finite: stop
  timeout: 1800
tracking:
  wandb: null
  rollouts: true
evaluation:
  problems: 128
  every: 10
  data: null
  max_completion_length: null
  batch_size: 64
  show: 3
  reward: null
  sets: {}
  samples: 0
  k: null
  temperature: 1.0
  top_p: 1.0
  seed: 0
  decoding: null
  budgets: null
  difficulty: null
"""
    )
