"""recipes/entropy_minimisation has the numbers of the released script, and reads a row of ``rlent select``."""

from pathlib import Path

import pytest
from accelerate.state import AcceleratorState, PartialState

from rlent.config import load_recipe
from rlent.data.prompts import row_maker
from rlent.evaluation.selection import RankedProblem
from rlent.interventions import EntropyMinimisation
from rlent.trainer.options import build_args

RECIPE = Path(__file__).parents[1] / "recipes" / "entropy_minimisation" / "qwen25_math_7b.yaml"


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that no other test has told anything, on a machine with vLLM."""
    for state in (PartialState, AcceleratorState):
        monkeypatch.setattr(state, "_shared_state", {})
    monkeypatch.setattr("rlent.trainer.options.find_spec", lambda name: name)


def test_the_numbers_are_those_of_the_script(tmp_path: Path) -> None:
    recipe = load_recipe(RECIPE, ["engine.precision=float32"])
    args = build_args(recipe, tmp_path)
    assert recipe.model.name == "Qwen/Qwen2.5-Math-7B"
    assert recipe.interventions == (EntropyMinimisation(),)
    assert not recipe.rewards
    assert args.per_device_train_batch_size * args.gradient_accumulation_steps == 64
    assert args.steps_per_generation == args.gradient_accumulation_steps
    assert args.num_generations == 64
    assert args.per_device_train_batch_size == 2
    assert (args.temperature, args.top_p, args.repetition_penalty) == (0.5, 0.95, 1.15)
    assert (args.max_completion_length, args.learning_rate) == (512, 2e-5)
    assert (args.loss_type, args.beta, args.seed) == ("bnpo", 0.0, 15)
    assert (args.weight_decay, args.max_grad_norm) == (0.01, 1.0)


def test_its_data_may_be_a_selected_row() -> None:
    section = load_recipe(RECIPE, ["engine.precision=float32"]).data
    ranked = RankedProblem(problem=3, prompt="user: 1+1?", reference="2", correct=1, samples=2)
    row = ranked.row()
    maker = row_maker(list(row), section.sources[0], section.style, blank_answers=False)
    assert maker.prompt(row) == [{"role": "user", "content": "1+1?"}]
    assert maker.answer(row) == "2"
