"""A recipe with nothing optional, and one with every option."""

from collections.abc import Callable

from rlent.config import Recipe

Load = Callable[..., Recipe]
"""The fixture ``load``: text of a recipe and overrides to the recipe."""

MINIMAL = """\
model: {name: smollm2-135m-instruct}
data: {name: reasoning_gym/chain_sum}
rewards:
  - math_answer
"""

EVERYTHING = """\
name: everything
output_dir: elsewhere/runs
model: {name: org/model, revision: v1.0, dtype: bfloat16, options: {attn_implementation: sdpa}}
data:
  name: rows/*.jsonl
  config: main
  split: train
  size: 10
  options: {nested: {list: [1, 2.5, null, true, "on", {deep: .inf}]}}
  prompt: "Q: {question}\\nA: "
  answer: solution
  system: Think.
  image: figure
  style: chat
  seed: 3
  too_long: drop
rewards:
  - math_answer: {weight: 1, answer_column: solution, extract: boxed}
  - format: {weight: -0.25, tags: [think, answer]}
interventions:
  - forking_tokens:
      {fraction: 0.3, keep: lowest, scope: micro_batch, entropy: current, denominator: all}
trainer: {learning_rate: 1e-5, epsilon_high: null, report_to: "no", betas: [0.9, 0.999]}
rollout: {engine: vllm}
engine: {precision: bfloat16}
tracking:
  wandb: {project: p, name: n, entity: e, group: g, tags: ["2024-01-01", "1e-5"], mode: offline}
  rollouts: false
evaluation:
  problems: 16
  every: 0
  data: {name: openai/gsm8k, config: main, split: test}
  max_completion_length: 64
  batch_size: 8
  show: 0
  reward: format
"""
