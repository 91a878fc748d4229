import pytest
from recipe_texts import MINIMAL, Load

from rlent.config import Evaluation, Tracking, Wandb
from rlent.errors import ConfigError
from rlent.interventions import ForkingTokens

WITH_LISTS = """\
model: {name: m}
data: &data {name: d, size: 3}
rewards:
  - math_answer: {weight: 1.0}
  - format
interventions: [forking_tokens]
evaluation: {data: *data}
trainer:
  learning_rate: 1e-5
"""


def value(recipe: object, path: str) -> object:
    for name in path.split("."):
        recipe = recipe[int(name)] if isinstance(recipe, tuple) else getattr(recipe, name)
    return recipe


@pytest.mark.parametrize(
    ("override", "path", "expected"),
    [
        ("model.name=other", "model.name", "other"),
        ("model.name=a=b", "model.name", "a=b"),
        ("model.name= spaced ", "model.name", "spaced"),
        ("model.options.a.b=1", "model.options", {"a": {"b": 1}}),
        ("trainer.learning_rate=5e-6", "trainer", {"learning_rate": 5e-6}),
        ("trainer.report_to=no", "trainer", {"learning_rate": 1e-5, "report_to": "no"}),
        ("trainer={max_steps: 2}", "trainer", {"max_steps": 2}),
        ("trainer=null", "trainer", {}),
        ("data.size=null", "data.size", None),
        ("rewards.0.math_answer.weight=2", "rewards.0.weight", 2.0),
        ("rewards.math_answer.weight=2", "rewards.0.weight", 2.0),
        ("rewards.format.weight=0.5", "rewards.1.weight", 0.5),
        ("rewards.1.format.tags=[a, b]", "rewards.1.function.tags", ("a", "b")),
        ("rewards.format={weight: 3}", "rewards.1.weight", 3.0),
        (
            "interventions.forking_tokens.fraction=0.3",
            "interventions.0",
            ForkingTokens(fraction=0.3),
        ),
        (
            "interventions.0.forking_tokens.fraction=0.3",
            "interventions.0",
            ForkingTokens(fraction=0.3),
        ),
        ("interventions=[]", "interventions", ()),
        ("engine.precision=bfloat16", "engine.precision", "bfloat16"),
        ("tracking.wandb.project=p", "tracking", Tracking(wandb=Wandb(project="p"))),
        ("evaluation=null", "evaluation", None),
        ("evaluation={problems: 2}", "evaluation", Evaluation(problems=2)),
    ],
)
def test_an_override_replaces_one_value(
    load: Load, override: str, path: str, expected: object
) -> None:
    given = value(load(WITH_LISTS, override), path)
    assert given == expected
    assert type(given) is type(expected)


def test_an_override_does_not_reach_other_users_of_an_anchor(load: Load) -> None:
    recipe = load(WITH_LISTS, "evaluation.data.size=9")
    assert recipe.evaluation is not None
    assert recipe.evaluation.data is not None
    assert (recipe.data.size, recipe.evaluation.data.size) == (3, 9)


def test_the_last_of_several_overrides_wins(load: Load) -> None:
    overrides = ("evaluation.every=2", "evaluation.every=3", "evaluation.problems=4")
    assert load(MINIMAL, *overrides).evaluation == Evaluation(every=3, problems=4)


def test_overridden_keys_are_on_the_command_line(load: Load) -> None:
    recipe = load(
        WITH_LISTS,
        "interventions.forking_tokens.fraction=0.3",
        "tracking.wandb.project=p",
        "evaluation.data={name: d2}",
    )
    where = recipe.source.where
    assert where("interventions.0.forking_tokens.fraction") == "command line"
    assert where("interventions.0") == "recipe.yaml:6"
    assert where("tracking") == "command line"
    assert where("tracking.rollouts") == "command line"
    assert where("evaluation.data.size") == "command line"
    assert where("evaluation.every") == "recipe.yaml:7"
    assert where("trainer.learning_rate") == "recipe.yaml:9"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "learning_rate",
            "command line: not an override\n"
            "  expected: key.path=value, such as trainer.learning_rate=1e-5\n"
            "  given: 'learning_rate'",
        ),
        (
            "a..b=1",
            "command line: not an override\n"
            "  expected: key.path=value, such as trainer.learning_rate=1e-5\n"
            "  given: 'a..b=1'",
        ),
        (
            "=1",
            "command line: not an override\n"
            "  expected: key.path=value, such as trainer.learning_rate=1e-5\n"
            "  given: '=1'",
        ),
        (
            "--trainer.learning_rate=1",
            "command line: --trainer: unknown key\n"
            "  expected: name, output_dir, model, data, rewards, interventions, loss, trainer, rollout, "
            "engine, tracking, evaluation\n"
            "  given: '--trainer'\n"
            "  did you mean: trainer",
        ),
        (
            "trainer.max_steps=",
            "command line: trainer.max_steps: the override has no value\n"
            "  change: trainer.max_steps=null for no value, trainer.max_steps=\"''\" "
            "for empty text",
        ),
        (
            "trainer.betas=[1",
            "command line: trainer.betas: not valid YAML: while parsing a flow sequence, "
            "expected ',' or ']', but got '<stream end>'",
        ),
        (
            "model.dtype=float23",
            "command line: model.dtype: wrong value\n"
            "  expected: 'float32', 'bfloat16' or 'float16'\n"
            "  given: 'float23'\n"
            "  did you mean: float32",
        ),
        (
            "model.name.first=x",
            "command line: model.name: cannot set 'first' inside a single value\n  given: 'm'",
        ),
        (
            "interventions.forking_token.fraction=0.3",
            "command line: interventions.forking_token: no such entry\n"
            "  expected: forking_tokens\n"
            "  given: 'forking_token'\n"
            "  did you mean: forking_tokens",
        ),
        (
            "rewards.2.format.weight=1",
            "command line: rewards.2: no such entry\n  expected: math_answer, format\n  given: '2'",
        ),
        (
            "evaluation.evry=1",
            "command line: evaluation.evry: unknown key\n  given: 'evry'\n  did you mean: every",
        ),
        (
            "interventions.forking_tokens.fraction=2",
            "command line: interventions.0.forking_tokens.fraction: "
            "fraction must be in (0, 1], got 2.0",
        ),
    ],
)
def test_a_wrong_override_is_refused(load: Load, override: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(WITH_LISTS, override)
    assert str(caught.value) == message


def test_an_entry_of_an_empty_list_is_refused(load: Load) -> None:
    with pytest.raises(ConfigError) as caught:
        load(MINIMAL + "interventions: []\n", "interventions.forking_tokens.fraction=0.3")
    assert str(caught.value) == (
        "command line: interventions.forking_tokens: no such entry\n"
        "  expected: a list with entries\n"
        "  given: 'forking_tokens'"
    )


def test_an_entry_of_a_missing_list_is_refused(load: Load) -> None:
    with pytest.raises(ConfigError) as caught:
        load(MINIMAL, "interventions.forking_tokens.fraction=0.3")
    assert str(caught.value) == (
        "command line: interventions: wrong value\n"
        "  expected: a list of names or {name: {options}}\n"
        "  given: {'forking_tokens': {'fraction': 0.3}}"
    )


def test_a_name_that_stands_twice_needs_its_position(load: Load) -> None:
    text = "model: {name: m}\ndata: {name: d}\nrewards: [format, format]\n"
    with pytest.raises(ConfigError) as caught:
        load(text, "rewards.format.weight=1")
    assert str(caught.value) == (
        "command line: rewards.format: several entries have this name\n"
        "  change: write one of rewards.0, rewards.1"
    )
