"""Every rank reads the data for itself: all of them must find the same rows, with nothing in the cache before."""

import json
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from tests.distributed.processes import run_under_torchrun, written

VERL = [
    {
        "data_source": "sums",
        "prompt": [{"role": "user", "content": f"{i} + 1"}],
        "reward_model": {"ground_truth": str(i + 1)},
    }
    for i in range(40)
]


def _sections(folder: Path) -> list[dict[str, Any]]:
    """A section for every kind of source, and one of several."""
    flat = [{"question": f"{i} + 2", "answer": i + 2} for i in range(40)]
    lines = [json.dumps(row) for row in [*flat, *flat[:10]]]
    (folder / "rows.jsonl").write_text("\n".join([*lines, "{"]) + "\n")
    Dataset.from_list(flat).to_csv(folder / "rows.csv")
    Dataset.from_list(flat).save_to_disk(folder / "saved")
    for part in (0, 1):
        Dataset.from_list(VERL[part::2]).to_parquet(folder / f"part-{part}.parquet")
    verl = {"name": f"{folder}/part-*.parquet", "answer": "reward_model.ground_truth"}
    jsonl = {"name": f"{folder}/rows.jsonl"}
    return [
        {**jsonl, "bad_rows": "skip", "duplicates": "drop", "seed": 3},
        {"name": f"{folder}/rows.csv", "size": 20},
        {"name": f"{folder}/saved"},
        verl,
        {"name": "reasoning_gym/chain_sum", "size": 30},
        {
            "mixture": [
                {**jsonl, "weight": 2.0},
                {**verl, "weight": 1.0},
                {"name": "small/arithmetic", "weight": 0.5},
            ],
            "bad_rows": "skip",
            "size": 35,
        },
    ]


@pytest.mark.slow
def test_two_ranks_read_what_one_process_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sections = tmp_path / "sections.json"
    sections.write_text(json.dumps(_sections(tmp_path)))
    found = []
    for ranks in (1, 2):
        results = tmp_path / str(ranks)
        results.mkdir()
        monkeypatch.setenv("HF_DATASETS_CACHE", str(results / "cache"))
        done = run_under_torchrun("data.py", ranks, results, str(sections))
        assert done.returncode == 0, done.stderr[-4000:]
        found += written(results, ranks)
    one, *two = found
    assert len(two) == 2
    assert two == [one, one]
    assert [len(section["rows"]) for section in one] == [40, 20, 40, 40, 30, 35]
    assert one[0]["left_out"] == ["1 bad", "10 duplicate"]
    for section in one:
        held_out = {str(row["prompt"]) for row in section["held_out"]}
        assert len(held_out) == 5
        assert not held_out & {str(row["prompt"]) for row in section["train"]}
