"""One recipe on one process and on two, plain and under every stage of ZeRO: the same numbers."""

from pathlib import Path

import pytest

from tests.distributed.cases import CASES, ENGINES, STEPS, arguments, largest_difference
from tests.distributed.processes import launch


@pytest.fixture(scope="module")
def one_process(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict:
    folder = tmp_path_factory.mktemp("one")
    return launch("train.py", 1, folder, str(tiny_folder), *arguments({}))[0]


@pytest.fixture(scope="module", params=ENGINES)
def two_processes(
    request: pytest.FixtureRequest, tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, list[dict]]:
    folder = tmp_path_factory.mktemp("two")
    engine = ENGINES[request.param]
    return request.param, launch("train.py", 2, folder, str(tiny_folder), *arguments(engine))


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_two_processes_train_as_one(
    one_process: dict, two_processes: tuple[str, list[dict]], case: str
) -> None:
    """Loss, gradient norm, every metric, and the weights at the end."""
    engine, (first, second) = two_processes
    one, two = one_process[case], first[case]
    assert two["backend"] == f"DistributedType.{'DEEPSPEED' if 'zero' in engine else 'MULTI_CPU'}"
    assert two["sharding"].get("zero") == ENGINES[engine].get("zero")
    assert two["partitioned"] == (len(two["weights"]) if engine == "zero 3" else 0)
    assert len(one["steps"]) == STEPS["max_steps"]
    assert largest_difference(one["steps"], two["steps"], parts="parts" in case) < 1e-5
    assert all(row["grad_norm"] > 0 for row in two["steps"])
    assert 0 < two["steps"][0]["forking_tokens/kept_share"] < 1
    assert two["weights"] == pytest.approx(one["weights"], rel=1e-5, abs=1e-5)
    assert two["norms"] == pytest.approx(one["norms"], rel=1e-5, abs=1e-5)
    assert second[case]["weights"] == two["weights"]
    assert max(row["clip_ratio/region_mean"] for row in one["steps"]) > 0
    if "refilled" in case:
        assert max(row.get("resampling/rounds", 0) for row in one["steps"]) > 0


@pytest.mark.slow
@pytest.mark.parametrize(("zero", "offload"), [(2, "optimizer"), (3, "all")])
def test_what_is_offloaded_learns_the_same(
    one_process: dict, tiny_folder: Path, tmp_path: Path, zero: int, offload: str
) -> None:
    """DeepSpeed's code for it, that is: on a CPU there is no other memory to move anything to."""
    engine = {"zero": zero, "offload": offload}
    first, _ = launch(
        "train.py", 2, tmp_path, str(tiny_folder), *arguments(engine, {"plain": STEPS})
    )
    one, two = one_process["plain"], first["plain"]
    assert two["sharding"] == {
        "zero": zero,
        "optimizer offloaded": True,
        "weights offloaded": offload == "all",
    }
    assert largest_difference(one["steps"], two["steps"]) < 1e-5
    assert two["weights"] == pytest.approx(one["weights"], rel=1e-5, abs=1e-5)
