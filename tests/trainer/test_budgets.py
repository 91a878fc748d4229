"""The trainer on rows that are summaries of thinking cut at budgets."""

from pathlib import Path
from typing import Any

import pytest
import torch

from rlent.errors import ConfigError
from rlent.interventions import BRPO, DynamicSampling, chain
from rlent.rollout.budgets import ForcedTokens
from rlent.tracking import RolloutLog, read_rollouts
from rlent.trainer import EntropyGRPOConfig, EntropyGRPOTrainer
from rlent.trainer.needs import check_needs
from rlent.types import Rollouts
from tests.tiny import tiny_tokenizer
from tests.trainer.helpers import make_trainer, score

BUDGETS = {
    "levels": [2, 4],
    "summaries": 2,
    "summary_length": 2,
    "thinking_end": "so",
    "cut": "hence so",
    "answer_prefix": "answer is",
}
OPTIONS: dict[str, Any] = {
    "budgets": BUDGETS,
    "rollout_engine": "native",
    "max_completion_length": 12,
    "per_device_train_batch_size": 4,
    "num_generations": 2,
    "loss_type": "dapo",
}


class Watching(EntropyGRPOTrainer):
    """Keeps every generation batch as interventions see it, and the batch that is trained on."""

    def _rollouts(self, batch: Any, keep: torch.Tensor) -> Rollouts:
        rollouts = super()._rollouts(batch, keep)
        self.__dict__.setdefault("seen", []).append((rollouts, batch))
        return rollouts


@pytest.fixture(scope="module")
def trained(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Two steps with the rewards' arguments remembered."""
    folder = tmp_path_factory.mktemp("budgets")
    asked: list[tuple[list[str], list[list[int]], list[str]]] = []

    def reward(
        completions: list[str], completion_ids: list[list[int]], prompts: list[str], **_: Any
    ) -> list[float]:
        asked.append((completions, completion_ids, prompts))
        return [float(sum(ids) % 2) for ids in completion_ids]

    tokenizer: Any = tiny_tokenizer()
    log = RolloutLog(folder / "rollouts", tokenizer, ["reward"])
    trainer = make_trainer(
        Watching,
        tiny_folder,
        folder,
        max_steps=2,
        interventions=[BRPO()],
        reward=reward,
        rollout_log=log,
        **OPTIONS,
    )
    trainer.train()
    log.flush()
    trainer.asked, trainer.folder = asked, folder
    return trainer


def test_every_prompt_has_a_row_per_budget_summary_and_trace(trained: Any) -> None:
    rollouts, _ = trained.seen[0]
    tree = rollouts.budgets
    assert tree.levels == (2, 4)
    assert tree.generations == 2
    assert tree.trace.tolist() == [0, 1] * 4 + [2, 3] * 4
    assert tree.level.tolist() == [0, 0, 0, 0, 1, 1, 1, 1] * 2
    assert rollouts.group.tolist() == [row // 2 for row in range(16)]
    prompts = trained.asked[0][2]
    assert prompts == [prompts[0]] * 8 + [prompts[8]] * 8
    assert prompts[0] != prompts[8]


def test_rows_of_a_trace_share_its_thinking_which_one_of_them_learns_from(trained: Any) -> None:
    rollouts, _ = trained.seen[0]
    tree = rollouts.budgets
    assert torch.equal(rollouts.mask, tree.segment >= 0)
    for trace in range(4):
        rows = (tree.trace == trace).nonzero().flatten().tolist()
        *others, last = rows
        thinking = int(((tree.segment[last] == 0) | (tree.segment[last] == 1)).sum())
        assert 1 <= thinking <= 4
        assert tree.segment[last, :thinking].tolist() == [0, 0, 1, 1][:thinking]
        for row in others:
            assert set(tree.segment[row].tolist()) == {-1, 2}
            shared = min(thinking, tree.levels[tree.level[row]])
            own, full = rollouts.completion_ids[row], rollouts.completion_ids[last]
            assert torch.equal(own[:shared], full[:shared])


def test_forced_tokens_stand_between_thinking_and_summary_and_never_learn(trained: Any) -> None:
    forced = ForcedTokens.of(trained.args.thinking_budgets, tiny_tokenizer())
    rollouts, _ = trained.seen[0]
    ids = rollouts.completion_ids
    for row, segment in enumerate(rollouts.budgets.segment):
        start = int((segment == 2).nonzero()[0])
        prefix = len(forced.answer_prefix)
        assert tuple(ids[row, start - prefix : start].tolist()) == forced.answer_prefix
        assert (segment[start - prefix : start] == -1).all()


def test_rewards_see_the_prefix_and_the_summary(trained: Any) -> None:
    texts, token_ids, _ = trained.asked[0]
    rollouts, _ = trained.seen[0]
    for row, (text, ids) in enumerate(zip(texts, token_ids, strict=True)):
        summary = rollouts.completion_ids[row][rollouts.budgets.segment[row] == 2].tolist()
        assert text.startswith("answer is")
        assert ids[2:] == summary


def test_captured_scores_are_those_of_the_policy(tiny_folder: Path, tmp_path: Path) -> None:
    trainer = make_trainer(
        Watching, tiny_folder, tmp_path, interventions=[BRPO()], num_iterations=2, **OPTIONS
    )
    trainer.model.train()
    trainer._generate_and_score_completions([trainer.train_dataset[row // 2] for row in range(4)])
    rollouts, batch = trainer.seen[-1]
    logp, entropy = score(trainer, batch)
    mask = rollouts.mask
    torch.testing.assert_close(rollouts.old_logp[mask], logp[mask], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(rollouts.old_entropy[mask], entropy[mask], rtol=1e-4, atol=1e-5)
    assert mask.sum() < batch["completion_mask"].sum()


def test_the_denominator_counts_what_learns(trained: Any) -> None:
    rollouts, batch = trained.seen[0]
    assert int(batch["num_items_in_batch"]) == int(rollouts.mask.sum())


def test_the_batch_is_split_into_the_same_number_of_micro_batches(trained: Any) -> None:
    assert trained.state.global_step == 2
    assert len(trained._buffered_inputs) == trained.args.steps_per_generation


def test_metrics_name_the_budgets(trained: Any) -> None:
    logged = trained.state.log_history[0]
    scores = trained.seen[0][0].reward
    assert logged["brpo/score/2"] == pytest.approx(scores[rows_at(0)].mean().item())
    assert logged["brpo/score/4"] == pytest.approx(scores[rows_at(1)].mean().item())
    assert logged["brpo/anytime_score"] == pytest.approx(scores.mean().item())
    assert logged["reward"] == pytest.approx(scores.mean().item())


def rows_at(level: int) -> list[int]:
    return [row for row in range(16) if row % 8 // 4 == level]


def test_the_log_holds_what_learns(trained: Any) -> None:
    rows = read_rollouts(trained.folder / "rollouts")
    first = [row for row in rows if row["step"] == 0]
    rollouts = trained.seen[0][0]
    assert [len(row["token_id"]) for row in first] == rollouts.mask.sum(1).tolist()


def test_one_budget_and_one_summary_trains_as_grpo_on_the_same_rows(
    tiny_folder: Path, tmp_path: Path
) -> None:
    single = {**BUDGETS, "levels": [4], "summaries": 1}
    weights = []
    for name, interventions in {"brpo": [BRPO()], "grpo": []}.items():
        trainer = make_trainer(
            EntropyGRPOTrainer,
            tiny_folder,
            tmp_path / name,
            max_steps=2,
            interventions=interventions,
            **{**OPTIONS, "budgets": single, "scale_rewards": "none"},
        )
        trainer.train()
        weights.append(torch.cat([p.detach().flatten() for p in trainer.model.parameters()]))
    torch.testing.assert_close(weights[0], weights[1], rtol=0, atol=1e-7)


def test_a_run_with_budgets_is_the_same_every_time(tiny_folder: Path, tmp_path: Path) -> None:
    losses = []
    for name in ("a", "b"):
        trainer = make_trainer(
            EntropyGRPOTrainer,
            tiny_folder,
            tmp_path / name,
            max_steps=1,
            interventions=[BRPO()],
            **OPTIONS,
        )
        trainer.train()
        losses.append(trainer.state.log_history[0]["loss"])
    assert losses[0] == losses[1]


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"budgets": None}, "interventions.0.brpo"),
        ({"rollout_engine": "transformers"}, "rollout.budgets"),
        ({"mask_truncated_completions": True}, "trainer.mask_truncated_completions"),
        ({"max_completion_length": 5}, "trainer.max_completion_length"),
        ({"max_completion_length": 9}, "trainer.max_completion_length"),
        ({"budgets": {"levels": [4, 2]}}, "rollout.budgets"),
        ({"budgets": {"levels": [4], "other": 1}}, "rollout.budgets"),
        ({"interventions": [BRPO(), DynamicSampling()]}, "interventions.1.dynamic_sampling"),
    ],
)
def test_what_does_not_fit_is_refused(
    changes: dict[str, Any], key: str, tiny_folder: Path, tmp_path: Path
) -> None:
    options = {**OPTIONS, "interventions": [BRPO()], **changes}
    with pytest.raises(ConfigError) as caught:
        make_trainer(EntropyGRPOTrainer, tiny_folder, tmp_path, **options)
    assert caught.value.key == key


def test_a_prompts_rows_must_be_on_one_rank(tmp_path: Path) -> None:
    args = EntropyGRPOConfig(str(tmp_path), use_cpu=True, bf16=False, **OPTIONS)
    check_needs(chain([]), args)
    args.per_device_train_batch_size = 3  # as a rank of two would have it
    with pytest.raises(ConfigError, match="on one rank") as caught:
        check_needs(chain([]), args)
    assert caught.value.key == "rollout.budgets"
