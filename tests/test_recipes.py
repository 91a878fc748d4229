"""Shipped recipes: all of them fit together, and those of papers have the papers' numbers. Nothing is downloaded."""

import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from accelerate.state import AcceleratorState, PartialState

from rlent.config import Recipe, load_recipe
from rlent.data.pictures import shown_content
from rlent.data.prompts import row_maker
from rlent.interventions import chain
from rlent.launch.pictures import check_pictures
from rlent.rollout.decoding import Cautious, DecodingRule, SwiReasoning
from rlent.trainer.loss_options import build_loss_args
from rlent.trainer.needs import check_needs, check_reward_names
from rlent.trainer.options import build_args

RECIPES = Path(__file__).parents[1] / "recipes"
PAPERS = ("beyond_80_20", "spine", "gtpo", "ce_gppo", "steer", "ares")


class Published(NamedTuple):
    """What a paper, its code or a second-hand account of it says; ``gpus`` is the recipe's own."""

    model: str
    gpus: int
    prompts: int
    generations: int
    updates: int
    learning_rate: float
    clip: tuple[float, float]
    length: int
    loss: str
    warmup: float
    dual_clip: float | None


def dapo(model: str, gpus: int) -> Published:
    return Published(
        model, gpus, 512, 16, 16, 1e-6, (0.2, 0.28), 20480, "dapo", 10 * 16, dual_clip=10
    )


def eighty_twenty(model: str, gpus: int) -> Published:
    return dapo(model, gpus)._replace(loss="bnpo")


def spine(model: str) -> Published:
    return Published(model, 4, 8, 8, 8, 1e-6, (0.2, 0.3), 2048, "dapo", 0, dual_clip=3)


def ttrl(model: str) -> Published:
    return Published(model, 8, 8, 64, 8, 5e-7, (0.2, 0.2), 3072, "bnpo", 0.03, dual_clip=3)


def gtpo(model: str, gpus: int, loss: str) -> Published:
    return Published(model, gpus, 128, 16, 4, 1e-6, (0.2, 0.28), 4096, loss, 0, dual_clip=None)


def klear(model: str, high: float, length: int) -> Published:
    return Published(model, 8, 128, 8, 8, 1e-6, (0.2, high), length, "dapo", 10 * 8, dual_clip=10)


PUBLISHED = {
    "beyond_80_20/qwen3_8b": eighty_twenty("Qwen/Qwen3-8B-Base", 8),
    "beyond_80_20/qwen3_14b": eighty_twenty("Qwen/Qwen3-14B-Base", 8),
    "beyond_80_20/qwen3_32b": eighty_twenty("Qwen/Qwen3-32B-Base", 64),
    "beyond_80_20/dapo_qwen3_8b": dapo("Qwen/Qwen3-8B-Base", 8),
    "beyond_80_20/dapo_qwen3_14b": dapo("Qwen/Qwen3-14B-Base", 8),
    "beyond_80_20/dapo_qwen3_32b": dapo("Qwen/Qwen3-32B-Base", 64),
    "spine/qwen25_math_15b_v1": spine("Qwen/Qwen2.5-Math-1.5B"),
    "spine/qwen25_math_15b_v2": spine("Qwen/Qwen2.5-Math-1.5B"),
    "spine/qwen25_math_15b_ttrl": ttrl("Qwen/Qwen2.5-Math-1.5B"),
    "spine/qwen3_17b_v1": spine("Qwen/Qwen3-1.7B"),
    "spine/qwen3_17b_v2": spine("Qwen/Qwen3-1.7B"),
    "spine/qwen3_17b_ttrl": ttrl("Qwen/Qwen3-1.7B"),
    "gtpo/qwen25_7b_gtpo": gtpo("Qwen/Qwen2.5-7B", 8, "dapo"),
    "gtpo/qwen25_7b_grpo_s": gtpo("Qwen/Qwen2.5-7B", 8, "grpo"),
    "gtpo/qwen25_32b_gtpo": gtpo("Qwen/Qwen2.5-32B", 64, "dapo"),
    "gtpo/qwen25_32b_grpo_s": gtpo("Qwen/Qwen2.5-32B", 64, "grpo"),
    "ce_gppo/r1_distill_qwen_15b": klear("deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B", 0.2, 16384),
    "ce_gppo/r1_distill_qwen_7b": klear("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", 0.2, 16384),
    "ce_gppo/gppo_8b": klear("Kwai-Klear/Klear-Reasoner-8B-SFT", 0.28, 32768),
    "steer/qwen25_math_7b": Published(
        "Qwen/Qwen2.5-Math-7B", 8, 512, 8, 16, 1e-6, (0.2, 0.28), 3072, "dapo", 0, dual_clip=10
    ),
    "ares/qwen25_7b": Published(
        "Qwen/Qwen2.5-7B-Instruct", 8, 512, 8, 4, 1e-6, (0.2, 0.3), 8192, "dapo", 0, dual_clip=3
    ),
    "ares/qwen25_vl_7b": Published(
        "Qwen/Qwen2.5-VL-7B-Instruct", 8, 512, 8, 4, 1e-6, (0.2, 0.3), 16384, "dapo", 0, dual_clip=3
    ),
}


@pytest.fixture(autouse=True)
def fresh_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each recipe finds the process as a command would, whatever another one has told accelerate."""
    for state in (PartialState, AcceleratorState):
        monkeypatch.setattr(state, "_shared_state", {})


REFILL = ("dynamic_sampling", {"zero_variance": "resample", "max_rounds": 10})
REFILL_ONCE = ("dynamic_sampling", {"zero_variance": "resample", "max_rounds": 1})
FORKING = (
    "forking_tokens",
    {"fraction": 0.2, "scope": "micro_batch", "entropy": "current", "denominator": "kept"},
)
VOTE = ("majority_vote", {"train_on": None})
LIKELIHOOD = ("positive_likelihood", {"weight": 0.1})
SPINE_V1 = [
    VOTE,
    ("forking_tokens", {"fraction": 0.2, "scope": "sequence", "denominator": "all"}),
    ("entropy_band", {"edges": "quantile", "low_quantile": 0.1, "high_quantile": 0.5}),
    ("kl_anchor", {"weight": 0.01}),
]
SPINE_V2 = [
    VOTE,
    ("forking_otsu", {"bins": 100, "denominator": "all"}),
    ("entropy_band", {"edges": "mad"}),
    ("kl_anchor", {"weight": 0.01, "estimator": "exact"}),
]
TTRL = [("majority_vote", {"count": "text", "unparsed": "vote", "ties": "first", "train_on": 32})]
METHODS = {
    "beyond_80_20/qwen3": [REFILL, FORKING],
    "beyond_80_20/dapo": [REFILL],
    "spine/qwen25_math_15b_v1": SPINE_V1,
    "spine/qwen25_math_15b_v2": SPINE_V2,
    "spine/qwen25_math_15b_ttrl": TTRL,
    "spine/qwen3_17b_v1": SPINE_V1,
    "spine/qwen3_17b_v2": SPINE_V2,
    "spine/qwen3_17b_ttrl": TTRL,
    "gtpo/qwen25_7b_gtpo": [("entropy_weighted_reward", {"level": "token"})],
    "gtpo/qwen25_7b_grpo_s": [("entropy_weighted_reward", {"level": "sequence"})],
    "gtpo/qwen25_32b_gtpo": [("entropy_weighted_reward", {"level": "token"})],
    "gtpo/qwen25_32b_grpo_s": [("entropy_weighted_reward", {"level": "sequence"})],
    "ce_gppo/r1_distill_qwen_15b": [
        REFILL_ONCE,
        ("clip_preserve", {"keep_low": 0.5, "keep_high": 1.0}),
        LIKELIHOOD,
    ],
    "ce_gppo/r1_distill_qwen_7b": [
        REFILL_ONCE,
        ("clip_preserve", {"keep_low": 0.75, "keep_high": 1.0}),
        LIKELIHOOD,
    ],
    "ce_gppo/gppo_8b": [
        REFILL_ONCE,
        ("clip_preserve", {"keep_low": 1.0, "keep_high": 1.0}),
        LIKELIHOOD,
    ],
    "steer/qwen25_math_7b": [
        ("steer", {"min_weight": 0.7, "scope": "micro_batch", "as_released": False})
    ],
    "ares/qwen25_7b": [
        ("dynamic_sampling", {"zero_variance": "resample", "max_rounds": 19}),
        ("ares_reward", {"window": 4, "quantile": 0.95, "reward": "math_answer"}),
        ("ares_kl", {"window": 4, "weight": 0.01, "reward": "math_answer"}),
    ],
    "ares/qwen25_vl_7b": [
        ("ares_reward", {"window": 4, "quantile": 0.95, "reward": "math_answer"}),
        ("ares_kl", {"window": 4, "weight": 0.01, "reward": "math_answer"}),
    ],
}
"""Interventions of the recipes whose names begin so."""

ROWS = {
    "open-r1/DAPO-Math-17k-Processed": {"prompt": "What is 1+1?", "solution": "2"},
    "hiyouga/math12k": {"problem": "What is 1+1?", "answer": "2"},
    "ViRL39K.parquet": {"question": "<image>What is 1+1?", "answer": "2", "image": ["a.png"]},
    "math-ai/aime25": {"problem": "What is 1+1?", "answer": "2", "id": "0"},
    "klear_mathsub_30k.jsonl": {
        "prompt": [{"role": "user", "content": "What is 1+1?"}],
        "answer": "2",
    },
}
"""A row of each data set, with the columns that it is said to have."""


@pytest.fixture(autouse=True)
def vllm_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only whether it is installed is asked before a model is loaded."""
    monkeypatch.setattr("rlent.trainer.options.find_spec", lambda name: name)


def load(name: str) -> Recipe:
    # TRL refuses bfloat16 under DeepSpeed on a machine without a GPU.
    return load_recipe(RECIPES / f"{name}.yaml", ["engine.precision=float32"])


@pytest.mark.parametrize("path", sorted(RECIPES.rglob("*.yaml")), ids=str)
def test_every_shipped_recipe_fits_together(path: Path, tmp_path: Path) -> None:
    recipe = load(str(path.relative_to(RECIPES).with_suffix("")))
    small = path.stem.startswith(
        "small"
    )  # several folders have one, and a run is found by its name
    assert recipe.name.startswith("small_") if small else recipe.name == path.stem
    if recipe.loss is not None:
        build_loss_args(recipe, recipe.loss, tmp_path)
        return
    args, links = build_args(recipe, tmp_path), chain(recipe.interventions)
    check_needs(links, args)
    check_pictures(recipe, links)
    check_reward_names(links, [reward.name for reward in recipe.rewards])
    if args.save_strategy == "steps":
        assert args.save_steps % args.updates_per_generation == 0


def test_every_recipe_of_a_paper_is_compared() -> None:
    paths = [path for folder in PAPERS for path in (RECIPES / folder).glob("*.yaml")]
    names = {str(path.relative_to(RECIPES).with_suffix("")) for path in paths}
    assert {name for name in names if not name.split("/")[1].startswith("small")} == set(PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_numbers_are_the_published_ones(name: str, tmp_path: Path) -> None:
    published, recipe = PUBLISHED[name], load(name)
    args = build_args(recipe, tmp_path)
    rows_of_a_rank = args.per_device_train_batch_size * args.steps_per_generation
    groups, rest = divmod(published.gpus * rows_of_a_rank, published.generations)
    assert (groups, rest) == (published.prompts, 0)
    assert rows_of_a_rank % published.generations == 0
    assert args.steps_per_generation == published.updates * args.gradient_accumulation_steps
    assert args.num_iterations == 1
    high = args.epsilon if args.epsilon_high is None else args.epsilon_high
    assert (
        Published(
            model=recipe.model.name,
            gpus=published.gpus,
            prompts=groups,
            generations=args.num_generations,
            updates=args.steps_per_generation // args.gradient_accumulation_steps,
            learning_rate=args.learning_rate,
            clip=(args.epsilon, high),
            length=args.max_completion_length,
            loss=args.loss_type,
            warmup=args.warmup_steps,
            dual_clip=args.delta,
        )
        == published
    )


@pytest.mark.parametrize("name", PUBLISHED)
def test_comments_say_how_many_gpus_and_that_it_was_not_run(name: str) -> None:
    text = (RECIPES / f"{name}.yaml").read_text()
    nodes = re.search(r"--nnodes (\d+)", text)
    ranks = re.search(r"torchrun .*--nproc-per-node (\d+)", text)
    assert ranks is not None
    launched = int(ranks[1]) * (int(nodes[1]) if nodes else 1)
    assert set(map(int, re.findall(r"(\d+) GPUs (?:of \d+ GB|\*)", text))) == {launched}
    assert launched == PUBLISHED[name].gpus
    assert f"-m rlent train recipes/{name}.yaml\n" in text
    assert "not run at this size" in text


@pytest.mark.parametrize("name", PUBLISHED)
def test_interventions_are_the_papers(name: str) -> None:
    (expected,) = [parts for start, parts in METHODS.items() if name.startswith(start)]
    found = load(name).interventions
    assert [part.name for part in found] == [part for part, _ in expected]
    for intervention, (_, options) in zip(found, expected, strict=True):
        assert {key: getattr(intervention, key) for key in options} == options
        if intervention.name == "dynamic_sampling":
            assert intervention.named_rewards == {"math_answer"}


@pytest.mark.parametrize("name", PUBLISHED)
def test_kl_term_and_sampling(name: str, tmp_path: Path) -> None:
    args = build_args(load(name), tmp_path)
    assert (args.beta, args.use_bias_correction_kl) == (
        (0.001, False) if name.endswith("ttrl") else (0.0, True)
    )
    others = {"spine/qwen25_math_15b_v2": (0.7, 0.95), "spine/qwen3_17b_v2": (0.7, 0.95)}
    sampling = (others | dict.fromkeys(("ares/qwen25_7b", "ares/qwen25_vl_7b"), (1.0, 0.99))).get(
        name, (1.0, 1.0)
    )
    assert (args.temperature, args.top_p) == sampling
    arithmetic = name.endswith("grpo_s")
    assert args.importance_sampling_level == ("sequence_arithmetic" if arithmetic else "token")
    assert args.vllm_importance_sampling_correction is False
    assert args.vllm_max_model_length > args.max_completion_length


@pytest.mark.parametrize("size", ["8b", "14b", "32b"])
def test_forking_tokens_differ_from_their_baseline_in_two_things(size: str) -> None:
    method, baseline = (load(f"beyond_80_20/{kind}qwen3_{size}") for kind in ("", "dapo_"))
    assert method.interventions[:-1] == baseline.interventions
    assert method.trainer | {"loss_type": "dapo"} == baseline.trainer
    for section in ("model", "data", "rewards", "rollout", "engine", "tracking", "evaluation"):
        assert getattr(method, section) == getattr(baseline, section)
    overlong: Any = method.rewards[1].function
    assert (overlong.max_length, overlong.cache, method.rewards[1].weight) == (20480, 4096, 1)
    assert overlong.max_length == method.trainer["max_completion_length"]


@pytest.mark.parametrize("name", PUBLISHED)
def test_prompts_hold_the_question_and_answers_are_found(name: str) -> None:
    section = load(name).data
    row = ROWS[section.name]
    maker = row_maker(list(row), section.sources[0], section.style, blank_answers=False)
    assert maker.answer(row) == "2"
    (message,) = maker.prompt(row, len(row.get("image", ())))
    assert isinstance(message, dict)
    assert message["role"] == "user"
    text = shown_content(message["content"])
    assert text.count("What is 1+1?") == 1
    if section.name == "open-r1/DAPO-Math-17k-Processed":
        first, question, last = text.split("\n\n")
        assert first == (
            "Solve the following math problem step by step. The last line of your response should be of the form "
            "Answer: $Answer (without quotes) where $Answer is the answer to the problem."
        )
        assert question == "What is 1+1?"
        assert last == 'Remember to put your answer on its own line after "Answer:".'
    elif name.startswith("spine/qwen3"):
        assert text.endswith(r"put your final answer within \boxed{}.")
    elif name.startswith("ares/"):
        assert text.endswith(r"The final answer MUST BE put in \boxed{}.")
    else:
        assert text == "What is 1+1?"


@pytest.mark.parametrize("name", PUBLISHED)
def test_small_updates_are_not_lost_to_bfloat16(name: str) -> None:
    recipe = load(name)
    assert (recipe.engine.zero == 2) == (recipe.model.dtype == "bfloat16")


def test_brpo_has_the_released_numbers(tmp_path: Path) -> None:
    recipe = load("brpo/r1_distill_qwen_15b")
    args, budgets = build_args(recipe, tmp_path), recipe.rollout.budgets
    assert budgets is not None
    assert (budgets.levels, budgets.summaries) == ((2000, 4000, 6000, 8000), 4)
    assert budgets.summary_length == 128 - 10
    (brpo,) = recipe.interventions
    assert (brpo.name, getattr(brpo, "prior", None)) == ("brpo", "uniform")
    traces = 8 * args.per_device_train_batch_size * args.steps_per_generation
    assert (traces, args.num_generations) == (64 * 8, 8)
    assert args.steps_per_generation == 2 * args.gradient_accumulation_steps
    assert (args.learning_rate, args.epsilon, args.beta, args.temperature) == (1e-6, 0.2, 0.0, 1.0)
    row = {"problem": "What is 1+1?", "answer": "2"}
    maker = row_maker(list(row), recipe.data.sources[0], recipe.data.style, blank_answers=False)
    (message,) = maker.prompt(row)
    assert isinstance(message, dict)
    assert message["content"].endswith("output the final answer within \\boxed{}.")


def test_the_recipe_with_images_has_the_published_numbers(tmp_path: Path) -> None:
    recipe = load("ares/qwen25_vl_7b")
    args = build_args(recipe, tmp_path)
    assert (args.weight_decay, args.beta) == (1e-2, 0.0)
    assert args.vllm_max_model_length == args.max_completion_length + 4096
    assert (recipe.data.image, recipe.data.max_prompt_tokens) == ("image", 4096)
    row = ROWS[recipe.data.name]
    maker = row_maker(list(row), recipe.data.sources[0], recipe.data.style, blank_answers=False)
    (message,) = maker.prompt(row, 1)
    assert isinstance(message, dict)
    picture, text = message["content"]
    assert picture == {"type": "image"}
    assert text["text"].startswith("What is 1+1? You FIRST think")


@pytest.mark.parametrize(
    ("name", "model", "sampling", "length", "rule"),
    [
        (
            "cautious_llama31_8b",
            "meta-llama/Llama-3.1-8B-Instruct",
            (0.6, 0.9, 5),
            1024,
            Cautious(min_entropy=0.01, max_entropy=1.5, max_trials=10),
        ),
        (
            "swi_reasoning_qwen3_8b",
            "Qwen/Qwen3-8B",
            (0.6, 0.95, 1),
            32768,
            SwiReasoning(window=512, alpha=1.0, beta=0.7, first_share=0.1, first="\\n"),
        ),
    ],
)
def test_evaluations_have_the_released_numbers(
    name: str, model: str, sampling: tuple[float, float, int], length: int, rule: DecodingRule
) -> None:
    recipe = load(f"decoding/{name}")
    evaluation = recipe.evaluation
    assert evaluation is not None
    assert evaluation.decoding is not None
    assert recipe.model.name == model
    assert (evaluation.temperature, evaluation.top_p, evaluation.samples) == sampling
    assert recipe.trainer["max_completion_length"] == length
    assert evaluation.decoding.rule == rule
    assert evaluation.problems == 0
    section = evaluation.sets["math500"].data
    row = {"question": "What is 1+1?", "answer": "2"}
    maker = row_maker(list(row), section.sources[0], section.style, blank_answers=False)
    (message,) = maker.prompt(row)
    assert isinstance(message, dict)
    assert message["content"].count("What is 1+1?") == 1
    text = (RECIPES / "decoding" / f"{name}.yaml").read_text()
    assert f"-m rlent eval recipes/decoding/{name}.yaml\n" in text
    assert "not run at this size" in text
