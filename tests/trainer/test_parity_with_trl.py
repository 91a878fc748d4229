"""With no intervention the trainer is TRL's: same loss, same gradient of every parameter."""

from pathlib import Path

import pytest
from peft import LoraConfig
from trl import GRPOTrainer

from rlent.objective import LOSS_TYPES
from rlent.trainer import EntropyGRPOTrainer
from tests.trainer.helpers import (
    loss_and_gradients,
    make_batch,
    make_trainer,
    relative_difference,
)

TOLERANCE = 1e-5
READ: dict[str, dict[str, float]] = {
    "cispo": {"epsilon_high": 2.0},
    "sapo": {"sapo_temperature_pos": 0.7, "sapo_temperature_neg": 1.8},
    "vespo": {
        "vespo_k_pos": 0.8,
        "vespo_lambda_pos": 0.3,
        "vespo_k_neg": 0.6,
        "vespo_lambda_neg": 0.4,
    },
}
"""Options of TRL that the loss types read which do not clip."""


LEVELS = [
    (loss_type, level)
    for loss_type in LOSS_TYPES
    for level in ("token", "sequence")
    if (loss_type, level) != ("vespo", "sequence")  # it reads no level
]


@pytest.mark.parametrize("old", [False, True], ids=["one_update", "several_updates"])
@pytest.mark.parametrize("beta", [0.0, 0.05])
@pytest.mark.parametrize(("loss_type", "level"), LEVELS)
def test_loss_and_gradients_equal_trl(
    tiny_folder: Path, tmp_path: Path, loss_type: str, beta: float, old: bool, level: str
) -> None:
    options = {
        "loss_type": loss_type,
        "beta": beta,
        "importance_sampling_level": level,
        "temperature": 0.7,
        **READ.get(loss_type, {"epsilon_high": 0.28, "delta": 4.0}),
    }
    theirs = make_trainer(GRPOTrainer, tiny_folder, tmp_path / "trl", **options)
    ours = make_trainer(EntropyGRPOTrainer, tiny_folder, tmp_path / "rlent", **options)
    batch = make_batch(theirs, old=old)
    expected_loss, expected = loss_and_gradients(theirs, [dict(batch)])
    loss, gradients = loss_and_gradients(ours, [dict(batch)])
    assert relative_difference(loss, expected_loss) <= TOLERANCE
    assert gradients.keys() == expected.keys()
    assert max(gradient.norm() for gradient in expected.values()) > 1e-3
    for name, gradient in expected.items():
        assert relative_difference(gradients[name], gradient) <= TOLERANCE, name


def test_lora_gradients_equal_trl(tiny_folder: Path, tmp_path: Path) -> None:
    """The reference policy is the base model; only the adapters receive gradients."""
    options = {"beta": 0.05, "peft_config": LoraConfig(r=4, target_modules=["q_proj", "v_proj"])}
    theirs = make_trainer(GRPOTrainer, tiny_folder, tmp_path / "trl", **options)
    ours = make_trainer(EntropyGRPOTrainer, tiny_folder, tmp_path / "rlent", **options)
    ours.model.load_state_dict(theirs.model.state_dict())
    batch = make_batch(theirs, old=True)
    _, expected = loss_and_gradients(theirs, [dict(batch)])
    _, gradients = loss_and_gradients(ours, [dict(batch)])
    assert gradients.keys() == expected.keys()
    assert all("lora" in name for name in expected)
    for name, gradient in expected.items():
        assert relative_difference(gradients[name], gradient) <= TOLERANCE, name


def test_the_parity_test_can_fail(tiny_folder: Path, tmp_path: Path) -> None:
    theirs = make_trainer(GRPOTrainer, tiny_folder, tmp_path / "trl", epsilon=0.2)
    ours = make_trainer(EntropyGRPOTrainer, tiny_folder, tmp_path / "rlent", epsilon=0.05)
    batch = make_batch(theirs, old=True)
    _, expected = loss_and_gradients(theirs, [dict(batch)])
    _, gradients = loss_and_gradients(ours, [dict(batch)])
    assert max(relative_difference(gradients[name], expected[name]) for name in expected) > 1e-2


@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_metrics_of_the_surrogate_are_trls(
    tiny_folder: Path, tmp_path: Path, loss_type: str
) -> None:
    """All rows have tokens: TRL also averages what sequences without tokens would weigh."""
    options = {"loss_type": loss_type, **READ.get(loss_type, {"epsilon_high": 0.28})}
    logged = []
    for cls in (GRPOTrainer, EntropyGRPOTrainer):
        trainer = make_trainer(cls, tiny_folder, tmp_path / cls.__name__, **options)
        batch = make_batch(trainer, old=True)
        batch["completion_mask"][2] = 1
        batch["old_per_token_logps"] += 0.3
        loss_and_gradients(trainer, [batch])
        if cls is EntropyGRPOTrainer:
            for name, value in trainer._means["train"].flush(trainer.reduce).items():
                trainer._metrics["train"][name].append(value)
        logged.append({name: values[-1] for name, values in trainer._metrics["train"].items()})
    theirs, ours = logged
    names = [name for name in theirs if "clip" in name or "/" in name]
    assert bool(names) == (loss_type != "sapo")
    for name in names:
        assert ours[name] == pytest.approx(theirs[name], rel=1e-4, abs=1e-6), name


@pytest.mark.slow
@pytest.mark.parametrize("updates", [1, 2])
def test_two_training_steps_end_in_trls_weights(
    tiny_folder: Path, tmp_path: Path, updates: int
) -> None:
    """From generation to optimiser: same seeds, same weights, same metrics under the same names."""
    options = {
        "max_steps": 2 * updates,
        "num_iterations": updates,
        "gradient_accumulation_steps": 2,
        "per_device_train_batch_size": 4,
        "beta": 0.05,
        "optim": "sgd",
        "learning_rate": 0.1,
    }
    # Each constructor seeds the generators, so one trainer must be done before the other is made.
    theirs = make_trainer(GRPOTrainer, tiny_folder, tmp_path / "trl", **options)
    theirs.train()
    ours = make_trainer(EntropyGRPOTrainer, tiny_folder, tmp_path / "rlent", **options)
    ours.train()
    for name, parameter in theirs.model.named_parameters():
        assert relative_difference(ours.model.get_parameter(name), parameter) <= TOLERANCE, name
    for mine, reference in zip(ours.state.log_history, theirs.state.log_history, strict=True):
        assert reference.keys() <= mine.keys()
        # entropy and kl are not compared: TRL averages the means of micro-batches, rlent the tokens.
        for name in ("loss", "reward", "completions/mean_length", "grad_norm"):
            if name in reference:
                assert mine[name] == pytest.approx(reference[name], rel=1e-3, abs=1e-6), name
