"""Real processes: what is global must not depend on how many ranks there are."""

from pathlib import Path

import pytest

from tests.distributed.processes import launch


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [2, 3])
def test_global_top_share_is_that_of_one_process(ranks: int, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "many").mkdir()
    (one,) = launch("top_share.py", 1, tmp_path / "one")
    many = launch("top_share.py", ranks, tmp_path / "many")
    assert [row for rank in many for row in rank["chosen"]] == one["chosen"]
    assert sum(map(sum, one["chosen"])) == one["expected"]
