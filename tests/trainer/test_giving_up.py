"""Completions that are given up: nothing of them is left in a gradient, and other prompts take their place."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from rlent.errors import ConfigError
from rlent.interventions import Intervention, Metrics
from rlent.objective import LOSS_TYPES
from rlent.reduce import Reduce
from rlent.tracking.rollouts import RolloutLog, read_rollouts
from rlent.trainer import EntropyGRPOTrainer
from rlent.trainer.refill import (
    FreshPrompts,
    Share,
    empty_groups,
    fill_groups,
    without_given_up,
)
from rlent.types import Rollouts
from tests.tiny import tiny_tokenizer
from tests.trainer.helpers import (
    digits_reward,
    loss_and_gradients,
    make_batch,
    make_trainer,
    relative_difference,
)


def uneven_reward(prompts: list[str], completions: list[Any], **columns: Any) -> list[float]:
    """Completions of the prompts with a plus sign are all worth the same."""
    rewards = digits_reward(completions, **columns)
    noise = torch.linspace(0, 0.1, len(rewards)).tolist()
    return [
        0.5 if "+" in prompt else reward + extra
        for prompt, reward, extra in zip(prompts, rewards, noise, strict=True)
    ]


@dataclass(frozen=True, kw_only=True)
class EveryOther(Intervention):
    """Gives up every second completion of a group, so that groups stay alive."""

    name: ClassVar[str] = "every_other"
    paper: ClassVar[str] = "test"
    writes: ClassVar[frozenset[str]] = frozenset()

    def on_filter(self, rollouts: Rollouts, keep: Tensor) -> tuple[Tensor, Metrics]:
        return keep & (torch.arange(len(keep)) % 2 == 0), {}


@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_rows_that_were_given_up_leave_no_trace_in_the_gradient(
    tiny_folder: Path, tmp_path: Path, loss_type: str
) -> None:
    trainer = make_trainer(
        EntropyGRPOTrainer, tiny_folder, tmp_path, loss_type=loss_type, beta=0.05
    )
    batch = make_batch(trainer, old=True)
    keep = torch.tensor([True, False, True, True, False, False, True, True])
    kept = {name: values[keep] if values.dim() else values for name, values in batch.items()}
    kept["num_items_in_batch"] = kept["completion_mask"].sum()
    given_up = {
        **batch,
        "kept": keep,
        "num_items_in_batch": kept["num_items_in_batch"],
        "sequences_in_batch": keep.sum(),
    }
    _, alone = loss_and_gradients(trainer, [kept])
    for rows in (given_up, without_given_up(given_up, keep, 3)):
        _, gradients = loss_and_gradients(trainer, [rows])
        for name, gradient in alone.items():
            assert relative_difference(gradients[name], gradient) <= 1e-5, name


def train(folder: Path, out: Path, interventions: list[Any], **options: Any) -> Any:
    log = RolloutLog(out / "rollouts", tiny_tokenizer(), ["uneven_reward"])
    trainer = make_trainer(
        EntropyGRPOTrainer,
        folder,
        out,
        interventions=interventions,
        rollout_log=log,
        reward=uneven_reward,
        max_steps=2,
        per_device_train_batch_size=8,
        gradient_accumulation_steps=2,
        **options,
    )
    trainer.train()
    log.flush()
    return trainer


def logged(trainer: Any, name: str) -> list[float]:
    return [entry[name] for entry in trainer.state.log_history if name in entry]


def test_other_prompts_take_the_place_of_groups_without_variance(
    tiny_folder: Path, tmp_path: Path
) -> None:
    trainer = train(tiny_folder, tmp_path, [{"dynamic_sampling": {}}])
    rows = read_rollouts(tmp_path / "rollouts")
    assert len(rows) == 2 * 16
    assert not [row for row in rows if "+" in row["prompt"]]
    for step in (0, 1):
        groups = [row["group"] for row in rows if row["step"] == step]
        assert sorted(groups) == [number for number in range(4) for _ in range(4)]
    assert min(logged(trainer, "resampling/rounds")) >= 1
    assert logged(trainer, "resampling/empty_groups") == [0.0, 0.0]
    assert all(0 < share < 1 for share in logged(trainer, "dynamic_sampling/zero_variance_groups"))
    assert trainer._fresh_prompts.drawn > 0
    # The mean reward is that of the data loader's prompts, among them those that were replaced.
    asked = [row["reward"] for row in rows]
    assert logged(trainer, "reward")[0] != pytest.approx(sum(asked[:16]) / 16, abs=1e-3)


def test_what_is_still_without_variance_is_dropped_and_counted(
    tiny_folder: Path, tmp_path: Path
) -> None:
    trainer = train(tiny_folder, tmp_path, [{"dynamic_sampling": {"zero_variance": "drop"}}])
    rows = read_rollouts(tmp_path / "rollouts")
    trained = [row for row in rows if row["selected"]]
    assert trained
    assert not [row for row in trained if "+" in row["prompt"]]
    empty = logged(trainer, "resampling/empty_groups")
    assert empty == logged(trainer, "dynamic_sampling/zero_variance_groups")
    assert len(trained) == round(sum(16 * (1 - share) for share in empty))


def test_a_batch_of_which_everything_was_given_up_changes_nothing(
    tiny_folder: Path, tmp_path: Path
) -> None:
    trainer = make_trainer(
        EntropyGRPOTrainer,
        tiny_folder,
        tmp_path,
        interventions=[{"dynamic_sampling": {"max_rounds": 1}}],
        reward=lambda completions, **_: [1.0] * len(completions),
        max_steps=1,
    )
    before = {name: value.clone() for name, value in trainer.model.named_parameters()}
    trainer.train()
    for name, value in trainer.model.named_parameters():
        assert torch.equal(value, before[name]), name
    assert logged(trainer, "resampling/empty_groups") == [1.0]


def test_votes_come_from_more_completions_than_are_trained_on(
    tiny_folder: Path, tmp_path: Path
) -> None:
    options = {"train_on": 2, "extract": "last_number"}
    trainer = train(tiny_folder, tmp_path, [{"majority_vote": options}])
    rows = read_rollouts(tmp_path / "rollouts")
    trained = [row for row in rows if row["token_id"] and row["selected"]]
    assert len(trained) == 2 * 8
    assert {row["reward"] for row in rows} <= {0.0, 1.0}
    for step in (0, 1):
        for group in range(4):
            pair = [r for r in trained if (r["step"], r["group"]) == (step, group)]
            assert len(pair) == 2
            rewards = torch.tensor([row["reward"] for row in pair])
            expected = (rewards - rewards.mean()) / (rewards.std() + 1e-4)
            given = torch.tensor([row["advantage"][0] for row in pair])
            assert torch.allclose(given, expected, atol=1e-5)
    assert all(0 <= share <= 1 for share in logged(trainer, "majority_vote/majority_share"))


def test_more_trained_on_than_vote_is_refused(tiny_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs 5 completions of every prompt"):
        train(tiny_folder, tmp_path, [{"majority_vote": {"train_on": 5}}])


def test_drawn_prompts_go_on_after_a_checkpoint(tiny_folder: Path, tmp_path: Path) -> None:
    interventions = [{"dynamic_sampling": {}}]
    saving = {"save_strategy": "steps", "save_steps": 1}
    first = train(tiny_folder, tmp_path / "first", interventions, **saving)
    options = {"interventions": interventions, "reward": uneven_reward, **saving}
    again = make_trainer(
        EntropyGRPOTrainer,
        tiny_folder,
        tmp_path / "first",
        max_steps=2,
        gradient_accumulation_steps=2,
        **options,
    )
    again.create_optimizer_and_scheduler(2)
    again._load_optimizer_and_scheduler(str(tmp_path / "first" / "checkpoint-2"))
    assert again._fresh_prompts.drawn == first._fresh_prompts.drawn > 0


def test_part_of_a_group_may_be_given_up(tiny_folder: Path, tmp_path: Path) -> None:
    trainer = train(tiny_folder, tmp_path, [EveryOther()])
    assert logged(trainer, "resampling/empty_groups") == [0.0, 0.0]
    trained = [row for row in read_rollouts(tmp_path / "rollouts") if row["selected"]]
    assert len(trained) == 2 * 8


def share(below: int, own: int, most: int, total: int) -> Share:
    return Share(below=below, own=own, most=most, total=total)


def test_which_prompts_are_drawn_does_not_depend_on_the_ranks() -> None:
    rows = [{"prompt": str(number)} for number in range(10)]

    def drawn(prompts: FreshPrompts, part: Share) -> list[int]:
        return [int(row["prompt"]) for row in prompts.draw(part)]

    alone = FreshPrompts(rows, seed=3)
    order = drawn(alone, share(0, 4, 4, 4)) + drawn(alone, share(0, 6, 6, 6))
    assert sorted(order) == list(range(10))
    first, second, third = (FreshPrompts(rows, seed=3) for _ in range(3))
    assert drawn(first, share(0, 1, 3, 4)) == [order[0], order[3], order[3]]
    assert drawn(second, share(1, 0, 3, 4)) == [order[3]] * 3
    assert drawn(third, share(1, 3, 3, 4)) == order[1:4]
    assert drawn(third, share(2, 1, 2, 6)) == [order[6], order[9]]
    assert first.drawn == second.drawn == 4
    assert third.drawn == alone.drawn == 10

    loader = torch.randperm(10, generator=torch.Generator().manual_seed(3)).tolist()
    assert order != loader
    assert drawn(FreshPrompts(rows, seed=4), share(0, 10, 10, 10)) != order
    again = FreshPrompts(rows, seed=3)
    again.drawn = 8
    assert drawn(again, share(0, 2, 2, 2)) == order[8:]
    assert sorted(drawn(again, share(0, 10, 10, 10))) == list(range(10))


def test_a_share_is_what_the_ranks_before_leave() -> None:
    ranks = [2, 0, 3]
    for rank, own in enumerate(ranks):
        reduce = Reduce(
            sum=lambda _: torch.tensor(sum(ranks)),
            max=lambda _: torch.tensor(max(ranks)),
            sum_below=lambda _, rank=rank: torch.tensor(sum(ranks[:rank])),
        )
        expected = share(sum(ranks[:rank]), own, 3, 5)
        assert Share.of(torch.tensor(own), reduce) == expected


def batch_of(value: int, groups: int, size: int, widths: tuple[int, int]) -> dict[str, Any]:
    rows, (prompt, completion) = groups * size, widths
    return {
        "prompt_ids": torch.full((rows, prompt), value),
        "prompt_mask": torch.ones(rows, prompt, dtype=torch.long),
        "completion_ids": torch.full((rows, completion), value),
        "completion_mask": torch.ones(rows, completion, dtype=torch.long),
        "reward": torch.full((rows,), float(value)),
        "group": torch.arange(rows) // size,
        "texts": [str(value)] * rows,
        "answers": None,
        "num_items_in_batch": torch.tensor(rows * completion),
    }


def test_groups_are_filled_in_place_and_padded_on_their_own_side() -> None:
    batch, fresh = batch_of(1, 3, 2, (2, 5)), batch_of(2, 3, 2, (4, 3))
    keep = torch.tensor([True, False, False, False, False, False])
    usable = torch.tensor(
        [True, True, False, False, True, True]
    )  # of three, of which two are for this rank
    assert empty_groups(keep, 2).tolist() == [1, 2]
    filled, kept = fill_groups(batch, keep, fresh, usable, size=2, pad_token=9)
    assert kept.tolist() == [True, False, True, True, False, False]
    assert filled["texts"] == ["1", "1", "2", "2", "1", "1"]
    assert filled["answers"] is None
    assert filled["reward"].tolist() == [1, 1, 2, 2, 1, 1]
    assert filled["group"].tolist() == [0, 0, 1, 1, 2, 2]
    assert filled["prompt_ids"][0].tolist() == [9, 9, 1, 1]
    assert filled["prompt_mask"][0].tolist() == [0, 0, 1, 1]
    assert filled["prompt_ids"][2].tolist() == [2, 2, 2, 2]
    assert filled["completion_ids"][2].tolist() == [2, 2, 2, 9, 9]
    assert filled["completion_mask"][2].tolist() == [1, 1, 1, 0, 0]
    assert batch["reward"].tolist() == [1] * 6


@pytest.mark.parametrize(
    ("kept", "parts", "expected"),
    [
        ([0, 3, 4], 3, [0, 3, 4]),
        ([0, 3, 4], 2, [0, 1, 3, 4]),
        ([], 2, [0, 1]),
        (range(6), 2, range(6)),
    ],
)
def test_few_rows_stay_beside_those_that_are_kept(
    kept: list[int], parts: int, expected: list[int]
) -> None:
    keep = torch.zeros(6, dtype=torch.bool)
    keep[list(kept)] = True
    batch = {"row": torch.arange(6), "count": torch.tensor(3)}
    cut = without_given_up(batch, keep, parts)
    assert cut["row"].tolist() == list(expected)
    assert cut["count"].item() == 3
