"""Each row: a recipe with one mistake, the key it is reported under, and the whole message."""

import pytest
from recipe_texts import MINIMAL, Load

from rlent.errors import ConfigError
from rlent.interventions import TABLE
from rlent_rewards import REWARDS


def listed(table: dict[str, type]) -> str:
    """The line with the names of a table, which messages leave out when there are many."""
    return f"  expected: {', '.join(table)}\n" if len(table) <= 12 else ""


TOP = (
    "name, output_dir, model, data, rewards, interventions, loss, trainer, rollout, engine, tracking, "
    "evaluation"
)
PART = "name, config, split, options, prompt, answer, columns, system, image, weight"
FORKING = "fraction, keep, scope, entropy, denominator, as_released"

# MINIMAL has four lines, so what is added to it starts at line 5.
BROKEN = {
    "unknown section": (
        MINIMAL + "trainr: {max_steps: 1}\n",
        "trainr",
        f"recipe.yaml:5: trainr: unknown key\n"
        f"  expected: {TOP}\n"
        f"  given: 'trainr'\n"
        f"  did you mean: trainer",
    ),
    "unknown key far from any other": (
        MINIMAL + "zzz: 1\n",
        "zzz",
        f"recipe.yaml:5: zzz: unknown key\n  expected: {TOP}\n  given: 'zzz'",
    ),
    "unknown key of the model": (
        "model:\n  name: m\n  dtyp: float32\ndata: {name: d}\nrewards: [format]\n",
        "model.dtyp",
        "recipe.yaml:3: model.dtyp: unknown key\n"
        "  expected: name, revision, dtype, options, adapter\n"
        "  given: 'dtyp'\n"
        "  did you mean: dtype",
    ),
    "unknown key of the data": (
        "model: {name: m}\ndata:\n  name: d\n\n  splt: train\nrewards: [format]\n",
        "data.splt",
        "recipe.yaml:5: data.splt: unknown key\n  given: 'splt'\n  did you mean: split",
    ),
    "unknown key two levels down": (
        MINIMAL + "tracking:\n  wandb:\n    project: p\n    nam: x\n",
        "tracking.wandb.nam",
        "recipe.yaml:8: tracking.wandb.nam: unknown key\n"
        "  expected: project, name, entity, group, tags, mode\n"
        "  given: 'nam'\n"
        "  did you mean: name",
    ),
    "unknown key of the evaluation's data": (
        MINIMAL + "evaluation:\n  data: {name: d,\n         sze: 3}\n",
        "evaluation.data.sze",
        "recipe.yaml:7: evaluation.data.sze: unknown key\n  given: 'sze'\n  did you mean: size",
    ),
    "unknown intervention": (
        MINIMAL + "interventions:\n  - forkng_tokens: {fraction: 0.2}\n",
        "interventions.0.forkng_tokens",
        "recipe.yaml:6: interventions.0.forkng_tokens: unknown name\n"
        f"{listed(TABLE)}"
        "  given: 'forkng_tokens'\n"
        "  did you mean: forking_tokens",
    ),
    "unknown intervention, bare": (
        MINIMAL + "interventions:\n\n  - forkng_tokens\n",
        "interventions.0.forkng_tokens",
        "recipe.yaml:7: interventions.0.forkng_tokens: unknown name\n"
        f"{listed(TABLE)}"
        "  given: 'forkng_tokens'\n"
        "  did you mean: forking_tokens",
    ),
    "unknown option of an intervention": (
        MINIMAL + "interventions:\n  - forking_tokens:\n      fractoin: 0.2\n",
        "interventions.0.forking_tokens.fractoin",
        f"recipe.yaml:7: interventions.0.forking_tokens.fractoin: unknown key\n"
        f"  expected: {FORKING}\n"
        f"  given: 'fractoin'\n"
        f"  did you mean: fraction",
    ),
    "unknown reward": (
        "model: {name: m}\ndata: {name: d}\nrewards:\n  - format\n  - math_anser: {}\n",
        "rewards.1.math_anser",
        "recipe.yaml:5: rewards.1.math_anser: unknown name\n"
        f"{listed(REWARDS)}"
        "  given: 'math_anser'\n"
        "  did you mean: math_answer",
    ),
    "unknown option of a reward": (
        "model: {name: m}\ndata: {name: d}\nrewards:\n  - format:\n      wieght: 2\n",
        "rewards.0.format.wieght",
        "recipe.yaml:5: rewards.0.format.wieght: unknown key\n"
        "  expected: weight, tags, pattern\n"
        "  given: 'wieght'\n"
        "  did you mean: weight",
    ),
    "text for a number": (
        MINIMAL + "interventions:\n  - forking_tokens:\n      fraction: '0.2'\n",
        "interventions.0.forking_tokens.fraction",
        "recipe.yaml:7: interventions.0.forking_tokens.fraction: wrong value\n"
        "  expected: a number\n"
        "  given: '0.2'",
    ),
    "boolean for a number": (
        MINIMAL + "interventions:\n  - forking_tokens: {fraction: true}\n",
        "interventions.0.forking_tokens.fraction",
        "recipe.yaml:6: interventions.0.forking_tokens.fraction: wrong value\n"
        "  expected: a number\n"
        "  given: True",
    ),
    "number out of range": (
        MINIMAL + "interventions:\n  - forking_tokens:\n      keep: lowest\n      fraction: 1.2\n",
        "interventions.0.forking_tokens.fraction",
        "recipe.yaml:8: interventions.0.forking_tokens.fraction: "
        "fraction must be in (0, 1], got 1.2",
    ),
    "options that exclude each other": (
        MINIMAL + "interventions:\n  - forking_tokens:\n      as_released: true\n"
        "      denominator: all\n",
        "interventions.0.forking_tokens.as_released",
        "recipe.yaml:7: interventions.0.forking_tokens.as_released: as_released means "
        "denominator: kept, but denominator: all is set too; remove one of the two",
    ),
    "not one of the choices": (
        "model:\n  name: m\n  dtype: bfloat\ndata: {name: d}\nrewards: [format]\n",
        "model.dtype",
        "recipe.yaml:3: model.dtype: wrong value\n"
        "  expected: 'float32', 'bfloat16' or 'float16'\n"
        "  given: 'bfloat'\n"
        "  did you mean: bfloat16",
    ),
    "fractional number for an integer": (
        MINIMAL + "evaluation:\n  every: 2.5\n",
        "evaluation.every",
        "recipe.yaml:6: evaluation.every: wrong value\n  expected: an integer\n  given: 2.5",
    ),
    "number for text": (
        MINIMAL + "name: 2024\n",
        "name",
        "recipe.yaml:5: name: wrong value\n  expected: a string\n  given: 2024",
    ),
    "text for a boolean": (
        MINIMAL + "tracking: {rollouts: yes}\n",
        "tracking.rollouts",
        "recipe.yaml:5: tracking.rollouts: wrong value\n  expected: true or false\n  given: 'yes'",
    ),
    "text for a list": (
        MINIMAL + "tracking:\n  wandb: {project: p, tags: a}\n",
        "tracking.wandb.tags",
        "recipe.yaml:6: tracking.wandb.tags: wrong value\n  expected: a list\n  given: 'a'",
    ),
    "number in a list of texts": (
        MINIMAL + "tracking:\n  wandb:\n    project: p\n    tags:\n      - a\n      - 3\n",
        "tracking.wandb.tags.1",
        "recipe.yaml:10: tracking.wandb.tags.1: wrong value\n  expected: a string\n  given: 3",
    ),
    "null where nothing is no value": (
        "model:\n  name:\ndata: {name: d}\nrewards: [format]\n",
        "model.name",
        "recipe.yaml:2: model.name: must not be null\n  expected: a string",
    ),
    "text for a section": (
        "model: m\ndata: {name: d}\nrewards: [format]\n",
        "model",
        "recipe.yaml:1: model: wrong value\n  expected: a mapping\n  given: 'm'",
    ),
    "list for the trainer": (
        MINIMAL + "trainer: [1]\n",
        "trainer",
        "recipe.yaml:5: trainer: wrong value\n  expected: a mapping\n  given: [1]",
    ),
    "mapping for the interventions": (
        MINIMAL + "interventions:\n  forking_tokens: {}\n",
        "interventions",
        "recipe.yaml:5: interventions: wrong value\n"
        "  expected: a list of names or {name: {options}}\n"
        "  given: {'forking_tokens': {}}",
    ),
    "number for an entry": (
        MINIMAL + "interventions:\n  - 3\n",
        "interventions.0",
        "recipe.yaml:6: interventions.0: wrong value\n"
        "  expected: a name or {name: {options}}\n"
        "  given: 3",
    ),
    "number for options": (
        MINIMAL + "interventions:\n  - forking_tokens: 0.2\n",
        "interventions.0.forking_tokens",
        "recipe.yaml:6: interventions.0.forking_tokens: wrong value\n"
        "  expected: a mapping of options\n"
        "  given: 0.2",
    ),
    "options beside the name": (
        MINIMAL + "interventions:\n  - forking_tokens:\n    fraction: 0.2\n",
        "interventions.0",
        "recipe.yaml:6: interventions.0: an entry has one name, this one has 2 keys\n"
        "  expected: a name or {name: {options}}\n"
        "  given: 'forking_tokens, fraction'\n"
        "  change: indent the options below the name, and start every entry with a dash",
    ),
    "several mistakes in a section": (
        MINIMAL + "evaluation:\n  every: x\n  show: y\n  data: {name: 3}\n",
        "evaluation.every",
        "recipe.yaml:6: evaluation.every: wrong value "
        "(also wrong: evaluation.data.name, evaluation.show)\n"
        "  expected: an integer\n"
        "  given: 'x'",
    ),
    "no model": (
        "# first line\ndata: {name: d}\nrewards: [format]\n",
        "model",
        "recipe.yaml:2: model: the section is required\n  change: add `model: {name: ...}`",
    ),
    "no data": (
        "model: {name: m}\ndata:\nrewards: [format]\n",
        "data",
        "recipe.yaml:2: data: the section is required\n  change: add a `data:` section",
    ),
    "no rewards": (
        "model: {name: m}\ndata: {name: d}\n",
        "rewards",
        "recipe.yaml:1: rewards: at least one reward is needed\n  change: add `rewards: [math_answer]`, "
        "or an intervention that makes the reward, such as majority_vote",
    ),
    "no name in the data": (
        "model: {name: m}\ndata: {size: 3}\nrewards: [format]\n",
        "data",
        "recipe.yaml:2: data: the data needs a name, or a mixture, and not both",
    ),
    "a name beside a mixture": (
        "model: {name: m}\ndata:\n  name: d\n  mixture: [{name: e}]\nrewards: [format]\n",
        "data.name",
        "recipe.yaml:3: data.name: the data needs a name, or a mixture, and not both",
    ),
    "a setting of a source beside a mixture": (
        "model: {name: m}\ndata:\n  mixture: [{name: e}]\n  answer: null\nrewards: [format]\n",
        "data.mixture",
        "recipe.yaml:3: data.mixture: with a mixture, answer is said by each of its sources",
    ),
    "unknown key of a source": (
        "model: {name: m}\ndata:\n  mixture:\n  - {name: d}\n  - name: e\n    wight: 2\nrewards: [format]\n",
        "data.mixture.1.wight",
        f"recipe.yaml:6: data.mixture.1.wight: unknown key\n"
        f"  expected: {PART}\n"
        f"  given: 'wight'\n"
        f"  did you mean: weight",
    ),
    "a source without a name": (
        "model: {name: m}\ndata:\n  mixture:\n  - weight: 2\nrewards: [format]\n",
        "data.mixture.0",
        "recipe.yaml:4: data.mixture.0: a source needs a name",
    ),
    "a weight of nothing": (
        "model: {name: m}\ndata:\n  mixture:\n  - name: d\n    weight: 0\nrewards: [format]\n",
        "data.mixture.0.weight",
        "recipe.yaml:5: data.mixture.0.weight: weight must be positive and finite, got 0",
    ),
    "a bound of no tokens": (
        "model: {name: m}\ndata:\n  name: d\n  min_prompt_tokens: 0\nrewards: [format]\n",
        "data.min_prompt_tokens",
        "recipe.yaml:4: data.min_prompt_tokens: min_prompt_tokens must be at least 1, got 0",
    ),
    "bounds that leave nothing": (
        "model: {name: m}\ndata:\n  name: d\n  max_prompt_tokens: 3\n  min_prompt_tokens: 4\nrewards: [format]\n",
        "data.min_prompt_tokens",
        "recipe.yaml:5: data.min_prompt_tokens: min_prompt_tokens is more than the most, 3: no prompt is left",
    ),
    "no reward in the list": (
        "model: {name: m}\ndata: {name: d}\nrewards: []\n",
        "rewards",
        "recipe.yaml:3: rewards: at least one reward is needed\n  change: add `rewards: [math_answer]`, "
        "or an intervention that makes the reward, such as majority_vote",
    ),
    "an evaluation without a reward": (
        "model: {name: m}\ndata: {name: d}\ninterventions: [majority_vote]\nevaluation: {}\n",
        "evaluation",
        "recipe.yaml:4: evaluation: an evaluation needs a reward that scores",
    ),
    "a reward twice": (
        "model: {name: m}\ndata: {name: d}\nrewards:\n  - format\n  - format: {weight: 2}\n",
        "rewards.1.format",
        "recipe.yaml:5: rewards.1.format: the reward is listed twice\n"
        "  change: keep one of the two",
    ),
    "a weight that is not finite": (
        "model: {name: m}\ndata: {name: d}\nrewards:\n  - format: {weight: .inf}\n",
        "rewards.0.format.weight",
        "recipe.yaml:4: rewards.0.format.weight: wrong value\n"
        "  expected: a finite number\n"
        "  given: inf",
    ),
    "a weight that is null": (
        "model: {name: m}\ndata: {name: d}\nrewards:\n  - format: {weight: }\n",
        "rewards.0.format.weight",
        "recipe.yaml:4: rewards.0.format.weight: must not be null\n  expected: a number",
    ),
    "an intervention twice": (
        MINIMAL + "interventions:\n  - forking_tokens\n  - forking_tokens: {fraction: 0.5}\n",
        "interventions.1.forking_tokens",
        "recipe.yaml:7: interventions.1.forking_tokens: the intervention is listed twice\n"
        "  change: keep one of the two",
    ),
    "reward options that exclude each other": (
        "model: {name: m}\ndata: {name: d}\nrewards:\n"
        "  - format:\n      pattern: x\n      tags: [y]\n",
        "rewards.0.format.tags",
        "recipe.yaml:6: rewards.0.format.tags: format takes tags or pattern, not both; "
        "given: tags=('y',), pattern='x'",
    ),
    "evaluation by a reward that is not listed": (
        MINIMAL + "evaluation:\n  reward: format\n",
        "evaluation.reward",
        "recipe.yaml:6: evaluation.reward: not one of the listed rewards\n"
        "  expected: math_answer\n"
        "  given: 'format'",
    ),
    "empty project": (
        MINIMAL + "tracking:\n  wandb: {project: ''}\n",
        "tracking.wandb.project",
        "recipe.yaml:6: tracking.wandb.project: project must not be empty",
    ),
    "no project": (
        MINIMAL + "tracking:\n  wandb: {mode: offline}\n",
        "tracking.wandb.project",
        "recipe.yaml:6: tracking.wandb.project: the key is required",
    ),
    "name that is a path": (
        MINIMAL + "name: ../x\n",
        "name",
        "recipe.yaml:5: name: not the name of a folder\n"
        "  expected: a name without /\n"
        "  given: '../x'",
    ),
    "list for the recipe": (
        "- model\n",
        None,
        "recipe.yaml:1: the recipe is not a mapping of sections\n"
        "  expected: sections such as `model:` and `data:`",
    ),
    "empty file": (
        "# nothing\n",
        None,
        "recipe.yaml:1: the recipe is empty\n  expected: the sections model, data and rewards",
    ),
    "not YAML": (
        "model: {name: m\ndata: {name: d}\n",
        None,
        "recipe.yaml:2:5: not valid YAML: while parsing a flow mapping, "
        "expected ',' or '}', but got ':'",
    ),
    "key twice": (
        MINIMAL + "trainer:\n  max_steps: 1\n  max_steps: 2\n",
        "trainer.max_steps",
        "recipe.yaml:7: trainer.max_steps: the key stands twice in one mapping\n"
        "  change: keep one of the two; the first is at recipe.yaml:6",
    ),
    "not a number": (
        MINIMAL + "trainer:\n  learning_rate: .nan\n",
        "trainer.learning_rate",
        "recipe.yaml:6: trainer.learning_rate: not-a-number is the value of no setting\n"
        "  given: '.nan'",
    ),
}


@pytest.mark.parametrize(("text", "key", "message"), BROKEN.values(), ids=BROKEN)
def test_a_broken_recipe_says_where_and_why(
    load: Load, text: str, key: str | None, message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(text)
    assert str(caught.value) == message
    assert caught.value.key == key


@pytest.mark.parametrize(
    ("name", "bound"),
    [
        ("problems", 1),
        ("every", 0),
        ("max_completion_length", 1),
        ("batch_size", 1),
        ("show", 0),
    ],
)
def test_ranges_of_the_evaluation(load: Load, name: str, bound: int) -> None:
    section = "evaluation:\n  {}: {}\n"
    assert getattr(load(MINIMAL + section.format(name, bound)).evaluation, name) == bound
    with pytest.raises(ConfigError) as caught:
        load(MINIMAL + section.format(name, bound - 1))
    assert str(caught.value) == (
        f"recipe.yaml:6: evaluation.{name}: {name} must be at least {bound}, got {bound - 1}"
    )


@pytest.mark.parametrize("name", ["' '", ".", "..", "a/b", "''"])
def test_names_that_are_no_folder(load: Load, name: str) -> None:
    with pytest.raises(ConfigError, match="not the name of a folder"):
        load(f"{MINIMAL}name: {name}\n")
