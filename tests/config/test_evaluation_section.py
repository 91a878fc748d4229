"""The evaluation section: sets, samples, and what does not fit together."""

import pytest
from recipe_texts import MINIMAL, Load

from rlent.config import Evaluation, EvaluationSet, dump_recipe
from rlent.data import DataSection
from rlent.errors import ConfigError
from rlent_rewards import Correctness, MultipleChoice

SETS = (
    MINIMAL
    + """\
evaluation:
  problems: 0
  samples: 8
  temperature: 0.6
  sets:
    math500: {data: {name: benchmarks/math500}, every: 50, reward: math_answer}
    aime24: {data: {name: benchmarks/aime24}, samples: 32, k: [8, 32], max_completion_length: 99}
    gpqa: {data: {name: benchmarks/gpqa_diamond}, reward: {multiple_choice: {letters: ABCD}}}
"""
)


def evaluation(load: Load, *overrides: str) -> Evaluation:
    found = load(SETS, *overrides).evaluation
    assert found is not None
    return found


def test_sets_are_typed(load: Load) -> None:
    found = evaluation(load)
    assert found.sets["math500"] == EvaluationSet(
        data=DataSection(name="benchmarks/math500"), every=50, reward="math_answer"
    )
    assert found.sets["gpqa"].reward == Correctness(multiple_choice=MultipleChoice())
    assert found.sets["aime24"].k == (8, 32)


def test_a_set_falls_back_on_the_section(load: Load) -> None:
    found = evaluation(load)
    math500, aime24, gpqa = found.sets.values()
    assert [found.every_of(each) for each in (math500, aime24)] == [50, 10]
    assert [found.samples_of(each) for each in (None, math500, aime24)] == [8, 8, 32]
    assert [found.k_of(each) for each in (None, aime24, gpqa)] == [(2, 4, 8), (8, 32), (2, 4, 8)]
    assert evaluation(load, "evaluation.k=[5]").k_of(gpqa) == (5,)


@pytest.mark.parametrize(
    ("samples", "k"), [(0, ()), (1, ()), (2, (2,)), (3, (2,)), (12, (2, 4, 8)), (16, (2, 4, 8, 16))]
)
def test_k_are_powers_of_two_by_default(samples: int, k: tuple[int, ...]) -> None:
    assert Evaluation(samples=samples).k_of(None) == k


def test_what_a_reward_means(load: Load) -> None:
    recipe = load(SETS)
    listed = recipe.rewards[0].function
    assert recipe.scoring(None) is listed
    assert recipe.scoring("math_answer") is listed
    assert recipe.scoring(Correctness(multiple_choice=MultipleChoice())) == MultipleChoice()


def test_overrides_reach_a_set(load: Load) -> None:
    found = evaluation(load, "evaluation.sets.aime24.samples=64")
    assert found.sets["aime24"].samples == 64


def test_resolved_and_read_again(load: Load) -> None:
    recipe = load(SETS)
    assert load(dump_recipe(recipe)).evaluation == recipe.evaluation


def test_a_run_without_labels_can_be_evaluated_by_a_reward_of_a_set(load: Load) -> None:
    text = (
        "model: {name: m}\ndata: {name: d}\ninterventions: [majority_vote]\nevaluation:\n"
        "  problems: 0\n  sets: {a: {data: {name: d}, reward: {math_answer: {}}}}\n"
    )
    assert load(text).rewards == ()
    for wrong in ("problems: 1", "reward: null"):
        key, _, value = wrong.partition(": ")
        path = "evaluation.problems" if key == "problems" else "evaluation.sets.a.reward"
        with pytest.raises(ConfigError, match="an evaluation needs a reward that scores"):
            load(text, f"{path}={value}")


@pytest.mark.parametrize(
    ("override", "key", "part"),
    [
        ("evaluation.sets.math500.sampels=1", "evaluation.sets.math500.sampels", "did you mean: samples"),
        ("evaluation.sets.math500.data.nam=1", "evaluation.sets.math500.data.nam", "unknown key"),
        ("evaluation.sets.gpqa.reward={numeri: {}}", "evaluation.sets.gpqa.reward.numeri", "did you mean: numeric"),
        ("evaluation.sets.math500.reward=math_anser", "evaluation.sets.math500.reward", "did you mean: math_answer"),
        ("evaluation.sets.math500.samples=-1", "evaluation.sets.math500.samples", "at least 0"),
        ("evaluation.sets.math500.every=-1", "evaluation.sets.math500.every", "at least 0"),
        ("evaluation.sets.gpqa.max_completion_length=0", "evaluation.sets.gpqa.max_completion_length", "at least 1"),
        ("evaluation.sets.aime24.k=[1]", "evaluation.sets.aime24.k", "pass@1 is the greedy"),
        ("evaluation.sets.aime24.k=[2, 2]", "evaluation.sets.aime24.k", "different numbers"),
        ("evaluation.sets.aime24.k=[64]", "evaluation.sets", "aime24: k must be at most samples, 32, got 64"),
        ("evaluation.sets.math500=1", "evaluation.sets.math500", "a mapping"),
        ("evaluation.sets.aime24={}", "evaluation.sets.aime24.data", "required"),
        ("evaluation.sets={held_out: {data: {name: d}}}", "evaluation.sets", "no name for a set"),
        ("evaluation.sets={a/b: {data: {name: d}}}", "evaluation.sets", "no name for a set"),
        ("evaluation.sets={}", "evaluation.problems", "at least 1"),
        ("evaluation.k=[9]", "evaluation.k", "at most samples, 8, got 9"),
        ("evaluation.k=[0]", "evaluation.k", "at least 2"),
        ("evaluation.samples=-2", "evaluation.samples", "at least 0"),
        ("evaluation.temperature=0", "evaluation.temperature", "more than 0"),
        ("evaluation.top_p=0", "evaluation.top_p", "above 0"),
        ("evaluation.top_p=1.5", "evaluation.top_p", "at most 1"),
    ],
)  # fmt: skip
def test_mistakes(load: Load, override: str, key: str, part: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(SETS, override)
    assert caught.value.key == key
    assert part in str(caught.value)
