"""Rollouts as Parquet: one row per completion, one entry per token."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from rlent.surrogates import CISPO, GSPO, PPO
from rlent.tracking import RolloutLog, read_rollouts
from rlent.tracking.rollouts import PER_TOKEN
from tests.interventions.examples import make_rollouts, make_signal, make_tokens
from tests.laws.pipeline import rows


class Words:
    """Decodes token 7 as ``w7``."""

    def decode(self, token_ids: Any, skip_special_tokens: bool = False) -> str:
        return " ".join(f"w{int(token)}" for token in token_ids)


@pytest.fixture
def log(tmp_path: Path) -> RolloutLog:
    return RolloutLog(tmp_path / "rollouts", Words(), ["digits"], rank=1)


def test_rows_hold_what_the_first_update_saw(log: RolloutLog, tmp_path: Path) -> None:
    tokens = make_tokens(dtype=torch.float32)
    rollouts, signal = make_rollouts(tokens), make_signal(tokens)
    log.start(rollouts)
    order = torch.tensor([2, 0, 3, 1])  # TRL shuffles a generation batch
    for part in (slice(0, 2), slice(2, 4)):
        mine = order[part]
        log.record(mine, pick(tokens, mine), pick(signal, mine))
    later = replace(tokens, logp=tokens.logp - 1)
    log.record(torch.arange(4), later, signal)
    log.flush()
    table = pq.read_table(
        tmp_path / "rollouts" / "step-000003.batch-000.rank-1.parquet"
    ).to_pylist()
    assert len(table) == 4
    for row, record in enumerate(table):
        mask = tokens.mask[row]
        ids = rollouts.completion_ids[row][mask].tolist()
        assert record["token_id"] == ids
        assert record["token"] == [f"w{token}" for token in ids]
        assert record["completion"] == " ".join(record["token"])
        assert record["logp"] == pytest.approx(tokens.logp[row][mask].tolist())
        assert record["entropy"] == pytest.approx(tokens.entropy[row][mask].tolist())
        assert record["advantage"] == pytest.approx(signal.advantage[row][mask].tolist())
        assert record["reward/digits"] == record["reward"] == rollouts.reward[row]
        assert {len(record[name]) for name in PER_TOKEN} == {int(mask.sum())}


def pick(record: Any, chosen: torch.Tensor) -> Any:
    return rows(record, chosen)


def test_a_new_batch_writes_the_one_before(log: RolloutLog, tmp_path: Path) -> None:
    tokens = make_tokens(dtype=torch.float32)
    for step in (1, 2):
        log.start(replace(make_rollouts(tokens), step=step))
        log.record(torch.arange(4), tokens, make_signal(tokens))
    assert [row["step"] for row in read_rollouts(tmp_path / "rollouts")] == [1] * 4
    log.flush()
    assert [row["step"] for row in read_rollouts(tmp_path / "rollouts")] == [1] * 4 + [2] * 4


def test_several_batches_of_one_step_are_all_kept(log: RolloutLog, tmp_path: Path) -> None:
    tokens = make_tokens(dtype=torch.float32)
    for _ in range(3):
        log.start(make_rollouts(tokens))
        log.record(torch.arange(4), tokens, make_signal(tokens))
    log.flush()
    assert len(list((tmp_path / "rollouts").glob("*.parquet"))) == 3
    assert len(read_rollouts(tmp_path / "rollouts")) == 12


def test_rollouts_that_were_not_trained_on_are_not_written(log: RolloutLog, tmp_path: Path) -> None:
    tokens = make_tokens(dtype=torch.float32)
    log.start(make_rollouts(tokens))
    log.flush()
    assert not (tmp_path / "rollouts").exists()


def test_a_run_without_reward_functions_has_no_parts(tmp_path: Path) -> None:
    log = RolloutLog(tmp_path, Words(), [])
    tokens = make_tokens(dtype=torch.float32)
    log.start(make_rollouts(tokens))
    log.record(torch.arange(4), tokens, make_signal(tokens))
    log.flush()
    rows = read_rollouts(tmp_path)
    assert [row["reward"] for row in rows] == tokens.reward.tolist()
    assert not [name for name in rows[0] if name.startswith("reward/")]


def test_no_half_written_file_is_ever_read(log: RolloutLog, tmp_path: Path) -> None:
    folder = tmp_path / "rollouts"
    folder.mkdir()
    (folder / "step-000001.rank-0.unfinished").write_bytes(b"half")
    assert read_rollouts(folder) == []


def drifting(log_ratios: list[float], advantages: list[float]) -> tuple[Any, Any]:
    """One completion whose tokens have these log-ratios and advantages."""
    mask = torch.ones(1, len(log_ratios), dtype=torch.bool)
    tokens = make_tokens(1, len(log_ratios), mask=mask)
    logp = tokens.old_logp + torch.tensor([log_ratios], dtype=torch.float64)
    signal = make_signal(tokens, low=0.8, high=1.28)
    advantage = torch.tensor([advantages], dtype=torch.float64)
    return replace(tokens, logp=logp), replace(signal, advantage=advantage)


def test_clipped_in_any_update_and_preserved_with_a_share_of_gradient(tmp_path: Path) -> None:
    log = RolloutLog(tmp_path, Words(), ["digits"], surrogate=PPO())
    # Outside and clipped, outside on the side that PPO does not clip, inside; then each of these on the other side.
    first, signal = drifting([0.3, 0.3, 0.0, -0.3, -0.3, 0.0], [1.0, -1.0, 1.0, -1.0, 1.0, -1.0])
    later, _ = drifting([0.0, 0.0, 0.3, 0.0, 0.0, -0.3], [1.0] * 6)
    log.start(make_rollouts(first))
    row = torch.tensor([0])
    log.record(row, first, signal)
    log.record(row, later, replace(signal, keep_high=0.5 * torch.ones_like(signal.keep_high)))
    log.flush()
    (record,) = read_rollouts(tmp_path)
    assert record["clipped"] == [True, False, True, True, False, True]
    assert record["preserved"] == [False, False, True, False, False, False]
    assert record["logp"] == pytest.approx(first.logp[0].tolist())


def test_preserved_below_is_read_from_the_lower_share(tmp_path: Path) -> None:
    log = RolloutLog(tmp_path, Words(), ["digits"], surrogate=PPO())
    tokens, signal = drifting([-0.3, 0.3], [-1.0, 1.0])
    log.start(make_rollouts(tokens))
    kept = 0.5 * torch.ones_like(signal.keep_low)
    log.record(torch.tensor([0]), tokens, replace(signal, keep_low=kept))
    log.flush()
    (record,) = read_rollouts(tmp_path)
    assert record["clipped"] == [True, True]
    assert record["preserved"] == [True, False]


def test_a_sequence_is_clipped_as_a_whole(tmp_path: Path) -> None:
    log = RolloutLog(tmp_path, Words(), ["digits"], surrogate=GSPO())
    tokens, signal = drifting([0.9, 0.0, 0.0], [1.0, 1.0, 1.0])  # geometric mean e^0.3 > 1.28
    log.start(make_rollouts(tokens))
    log.record(torch.tensor([0]), tokens, signal)
    log.flush()
    (record,) = read_rollouts(tmp_path)
    assert record["clipped"] == [True, True, True]


def test_masked_junk_does_not_reach_the_marks(tmp_path: Path) -> None:
    log = RolloutLog(tmp_path, Words(), ["digits"], surrogate=PPO())
    tokens, signal = drifting([0.3, 0.0, 0.3], [1.0, 1.0, 1.0])
    mask = torch.tensor([[True, False, True]])
    logp = tokens.logp.detach().clone()
    logp[0, 1] = torch.nan
    tokens = replace(tokens, logp=logp, mask=mask)
    log.start(make_rollouts(tokens))
    log.record(torch.tensor([0]), tokens, signal)
    log.flush()
    (record,) = read_rollouts(tmp_path)
    assert record["clipped"] == [True, True]


def test_a_surrogate_that_does_not_clip_has_no_such_columns(tmp_path: Path) -> None:
    log = RolloutLog(tmp_path, Words(), ["digits"], surrogate=CISPO())
    tokens, signal = drifting([0.9], [1.0])
    log.start(make_rollouts(tokens))
    log.record(torch.tensor([0]), tokens, signal)
    log.flush()
    (record,) = read_rollouts(tmp_path)
    assert "clipped" not in record
    assert "preserved" not in record


def test_without_a_surrogate_nothing_is_said_about_clipping(
    log: RolloutLog, tmp_path: Path
) -> None:
    tokens = make_tokens(dtype=torch.float32)
    log.start(make_rollouts(tokens))
    log.record(torch.arange(4), tokens, make_signal(tokens))
    log.flush()
    rows = read_rollouts(tmp_path / "rollouts")
    assert len(rows) == 4
    assert all("clipped" not in row and "preserved" not in row for row in rows)
