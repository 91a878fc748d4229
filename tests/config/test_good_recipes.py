from pathlib import Path
from typing import Any

import pytest
from recipe_texts import EVERYTHING, MINIMAL, Load

from rlent.config import (
    Engine,
    Evaluation,
    Model,
    Recipe,
    Rollout,
    Tracking,
    Wandb,
    WeightedReward,
    load_recipe,
)
from rlent.data.section import DataSection
from rlent.interventions import ForkingTokens
from rlent_rewards import Format, MathAnswer


def minimal(**sections: Any) -> Recipe:
    given = {
        "name": "recipe",
        "model": Model(name="smollm2-135m-instruct"),
        "data": DataSection(name="reasoning_gym/chain_sum"),
        "rewards": (WeightedReward(kind="math_answer", weight=1.0, function=MathAnswer()),),
    }
    return Recipe(**given | sections)


def test_a_minimal_recipe_has_every_default(load: Load) -> None:
    recipe = load(MINIMAL)
    assert recipe == minimal()
    assert recipe.output_dir == "runs"
    assert recipe.interventions == ()
    assert recipe.trainer == {}
    assert recipe.rollout.engine == "native"
    assert recipe.engine.precision == "auto"
    assert recipe.model.dtype == "float32"
    assert recipe.tracking == Tracking(wandb=None, rollouts=True)
    assert recipe.evaluation is None


def test_the_name_is_the_stem_of_the_file() -> None:
    Path("folder").mkdir()
    Path("folder/quick.start.yaml").write_text(MINIMAL)
    assert load_recipe(Path("folder/quick.start.yaml")).name == "quick.start"


def test_every_option_is_read(load: Load) -> None:
    recipe = load(EVERYTHING)
    assert recipe == Recipe(
        name="everything",
        output_dir="elsewhere/runs",
        model=Model(
            name="org/model",
            revision="v1.0",
            dtype="bfloat16",
            options={"attn_implementation": "sdpa"},
        ),
        data=DataSection(
            name="rows/*.jsonl",
            config="main",
            split="train",
            size=10,
            options={"nested": {"list": [1, 2.5, None, True, "on", {"deep": float("inf")}]}},
            prompt="Q: {question}\nA: ",
            answer="solution",
            system="Think.",
            image="figure",
            style="chat",
            seed=3,
            too_long="drop",
        ),
        rewards=(
            WeightedReward(
                kind="math_answer",
                weight=1.0,
                function=MathAnswer(answer_column="solution", extract="boxed"),
            ),
            WeightedReward(kind="format", weight=-0.25, function=Format(tags=("think", "answer"))),
        ),
        interventions=(
            ForkingTokens(
                fraction=0.3,
                keep="lowest",
                scope="micro_batch",
                entropy="current",
                denominator="all",
            ),
        ),
        trainer={
            "learning_rate": 1e-5,
            "epsilon_high": None,
            "report_to": "no",
            "betas": [0.9, 0.999],
        },
        rollout=Rollout(engine="vllm"),
        engine=Engine(precision="bfloat16"),
        tracking=Tracking(
            wandb=Wandb(
                project="p",
                name="n",
                entity="e",
                group="g",
                tags=("2024-01-01", "1e-5"),
                mode="offline",
            ),
            rollouts=False,
        ),
        evaluation=Evaluation(
            problems=16,
            every=0,
            data=DataSection(name="openai/gsm8k", config="main", split="test"),
            max_completion_length=64,
            batch_size=8,
            show=0,
            reward="format",
        ),
    )


@pytest.mark.parametrize("entry", ["format", "{format: {}}", "{format: }", "{format: {weight: 1}}"])
def test_forms_of_a_reward_without_options(load: Load, entry: str) -> None:
    recipe = load(f"model: {{name: m}}\ndata: {{name: d}}\nrewards: [{entry}]\n")
    assert recipe.rewards == (WeightedReward(kind="format", weight=1.0, function=Format()),)


@pytest.mark.parametrize(
    ("lines", "interventions"),
    [
        ("interventions: []", ()),
        ("interventions:", ()),
        ("interventions: [forking_tokens]", (ForkingTokens(),)),
        ("interventions:\n  - forking_tokens:", (ForkingTokens(),)),
        ("interventions:\n- forking_tokens: {fraction: 1}", (ForkingTokens(fraction=1.0),)),
    ],
)
def test_forms_of_interventions(load: Load, lines: str, interventions: object) -> None:
    assert load(MINIMAL + lines).interventions == interventions


@pytest.mark.parametrize(
    "section", ["trainer", "rollout", "engine", "tracking", "evaluation", "output_dir", "name"]
)
def test_a_section_without_content_counts_as_absent(load: Load, section: str) -> None:
    assert load(f"{MINIMAL}{section}:\n  # commented: out\n") == minimal()


@pytest.mark.parametrize("text", ["1e-5", "1.0e-5", "0.00001", "10.0E-6", "1e-05"])
def test_every_spelling_of_a_learning_rate_is_a_float(load: Load, text: str) -> None:
    rate = load(f"{MINIMAL}trainer: {{learning_rate: {text}}}\n").trainer["learning_rate"]
    assert type(rate) is float
    assert rate == 1e-5


def test_an_integer_is_a_float_where_a_float_is_asked_for(load: Load) -> None:
    recipe = load(MINIMAL + "interventions: [{forking_tokens: {fraction: 1}}]\n")
    (config,) = recipe.interventions
    assert isinstance(config, ForkingTokens)
    assert type(config.fraction) is float


def test_anchors_share_settings_between_sections(load: Load) -> None:
    text = """\
model: {name: m}
data: &data {name: openai/gsm8k, config: main, seed: 7}
rewards: [math_answer]
evaluation:
  data:
    <<: *data
    split: test
"""
    recipe = load(text)
    assert recipe.evaluation is not None
    assert recipe.evaluation.data == DataSection(
        name="openai/gsm8k", config="main", seed=7, split="test"
    )
    assert recipe.source.where("evaluation.data.seed") == "recipe.yaml:2"
    assert recipe.source.where("evaluation.data.split") == "recipe.yaml:7"


def test_the_source_is_no_part_of_the_recipe(load: Load) -> None:
    one, other = load(MINIMAL), load("# moved\n" + MINIMAL)
    assert one.source != other.source
    assert one == other
    assert "source" not in repr(one)


def test_two_python_functions_keep_their_own_names(tmp_path: Path) -> None:
    text = """
model: {name: small-arithmetic}
data: {name: small/arithmetic}
rewards:
  - python_function: {function: "tests.rewards.functions:python_function"}
  - python_function: {function: "tests.rewards.functions:with_columns", weight: 0.5}
"""
    path = tmp_path / "two.yaml"
    path.write_text(text)
    recipe = load_recipe(path)
    assert [reward.name for reward in recipe.rewards] == ["python_function", "with_columns"]
    assert [reward.kind for reward in recipe.rewards] == ["python_function"] * 2
