"""Calls that hang, crash or take all memory end alone; processes come and go as they should."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rlent_rewards.workers import Call, Failure, Limits, Pool, run
from tests.rewards.processes import alive, all_gone

ROOT = Path(__file__).parents[2]
SHORT = Limits(timeout=1.0, memory_mb=64, workers=2)
LONG = Limits(timeout=30.0, memory_mb=256, workers=2)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    pool = Pool("tests.rewards.tasks")
    yield pool
    pids = pool.pids
    pool.close()
    assert all_gone(pids, within=30)


def ask(pool: Pool, *calls: Call, limits: Limits = SHORT) -> list[Any]:
    return run(pool, calls, limits)


def doubles(count: int) -> list[Call]:
    return [("double", (number,)) for number in range(count)]


def test_values_come_back_in_order(pool: Pool) -> None:
    assert ask(pool, *doubles(300)) == [2 * number for number in range(300)]
    assert ask(pool) == []
    assert len(pool.pids) == 2


@pytest.mark.parametrize("value", [None, 1.5, "\ud800 \x00 \u202e", ["a", {"b": [1]}], 10**400])
def test_any_json_comes_back_as_it_was(pool: Pool, value: Any) -> None:
    assert ask(pool, ("echo", (value,))) == [value]


def test_arguments_and_values_may_be_large(pool: Pool) -> None:
    texts = [character * 500_000 for character in "abcdef"]
    assert ask(pool, *[("echo", (text,)) for text in texts], limits=LONG) == texts


def test_a_large_argument_behind_a_call_that_hangs_is_delivered_elsewhere(pool: Pool) -> None:
    outcomes = ask(pool, *[("deaf", ())] * 2, *[("echo", ("x" * 1_000_000,))] * 4)
    assert outcomes == [Failure("timeout")] * 2 + ["x" * 1_000_000] * 4


@pytest.mark.parametrize(
    ("call", "cause"),
    [
        (("spin", ()), "timeout"),
        (("spin_in_c", ()), "timeout"),
        (("sleep", (60,)), "timeout"),
        (("deaf", ()), "timeout"),
        (("leave", (0,)), "crash"),
        (("leave", (7,)), "crash"),
        (("segfault", ()), "crash"),
        (("raise_error", ("recursion",)), "crash"),
        (("raise_error", ("value",)), "crash"),
        (("raise_error", ("exit",)), "crash"),
        (("no_such_function", ()), "crash"),
        (("take_memory", (1000,)), "memory"),
    ],
)
def test_a_bad_call_fails_alone_and_in_time(pool: Pool, call: Call, cause: Any) -> None:
    ask(pool, *doubles(2))
    start = time.monotonic()
    outcomes = ask(pool, *doubles(6), call, *doubles(6))
    assert outcomes == [0, 2, 4, 6, 8, 10, Failure(cause), 0, 2, 4, 6, 8, 10]
    # A busy machine may take its time to start a fresh worker.
    assert time.monotonic() - start < SHORT.timeout + 60


def test_a_call_that_hangs_delays_the_others_by_its_limit_at_most(pool: Pool) -> None:
    calls = doubles(400)
    ask(pool, *calls)
    start = time.monotonic()
    outcomes = ask(pool, *calls[:200], ("spin", ()), *calls[200:])
    assert time.monotonic() - start < 2 * SHORT.timeout + 60
    assert outcomes[200] == Failure("timeout")
    assert outcomes[:200] + outcomes[201:] == [2 * number for number in range(400)]


def test_many_bad_calls_fail_one_by_one(pool: Pool) -> None:
    bad: list[Call] = [("segfault", ()), ("leave", (1,)), ("spin", ()), ("take_memory", (1000,))]
    outcomes = ask(pool, *[call for call in bad for call in (call, ("double", (1,)))])
    causes = [outcome.cause if isinstance(outcome, Failure) else outcome for outcome in outcomes]
    assert causes == ["crash", 2, "crash", 2, "timeout", 2, "memory", 2]


def test_memory_may_be_taken_bit_by_bit(pool: Pool) -> None:
    calls: list[Call] = [("hoard", ()), ("double", (1,))]
    limits = Limits(timeout=60.0, memory_mb=64, workers=1)
    assert ask(pool, *calls, limits=limits) == [Failure("memory"), 2]


def test_a_call_within_its_limits_has_a_value(pool: Pool) -> None:
    calls: list[Call] = [("sleep", (0.1,)), ("take_memory", (30,))]
    assert ask(pool, *calls, limits=Limits(timeout=10.0, memory_mb=64)) == [0.1, 30]


def test_limits_belong_to_the_batch_not_to_the_worker(pool: Pool) -> None:
    wide = Limits(timeout=5.0, memory_mb=400, workers=1)
    narrow = Limits(timeout=0.2, memory_mb=16, workers=1)
    calls: list[Call] = [("sleep", (0.5,)), ("take_memory", (100,))]
    assert ask(pool, *calls, limits=wide) == [0.5, 100]
    assert ask(pool, *calls, limits=narrow) == [Failure("timeout"), Failure("memory")]
    assert ask(pool, *calls, limits=wide) == [0.5, 100]


def test_a_worker_that_has_grown_is_replaced(pool: Pool) -> None:
    one = Limits(timeout=5.0, memory_mb=64, workers=1)
    grown = ask(pool, ("keep_memory", (40,)), limits=one)[0]
    assert not alive(grown)
    outcomes = ask(pool, *[("keep_memory", (40,))] * 4, limits=one)
    assert len({grown, *outcomes}) == 5


def test_a_worker_is_replaced_after_so_many_calls() -> None:
    pool = Pool("tests.rewards.tasks", recycle_after=3)
    pids = ask(pool, *[("pid", ())] * 10, limits=Limits(workers=1))
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [3, 3, 3, 1]
    assert not any(map(alive, pids[:9]))
    pool.close()


def test_an_idle_worker_that_was_killed_costs_no_call(pool: Pool) -> None:
    ask(pool, *doubles(50))
    for pid in pool.pids:
        os.kill(pid, signal.SIGKILL)
    assert all_gone(pool.pids, within=30)
    assert ask(pool, *doubles(50)) == [2 * number for number in range(50)]


def test_a_worker_has_nothing_of_its_parent(pool: Pool) -> None:
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    fresh = Pool("tests.rewards.tasks")
    os.environ["SECRET_OF_THE_PARENT"] = "1"
    try:
        seen = ask(fresh, ("surroundings", ()))[0]
    finally:
        del os.environ["SECRET_OF_THE_PARENT"]
        os.close(reading)
        os.close(writing)
        fresh.close()
    # Requests, nowhere twice, replies, the folder that is being listed, and the pipe as it is read.
    assert len(seen["descriptors"]) <= 6
    assert "SECRET_OF_THE_PARENT" not in seen["environment"]
    assert seen["environment"]["OMP_NUM_THREADS"] == "1"
    assert seen["folder"] == "/"
    assert seen["main"] is None


def test_what_a_worker_prints_or_writes_is_lost(pool: Pool, tmp_path: Path) -> None:
    path = tmp_path / "file"
    outcomes = ask(pool, ("speak", ()), ("write_file", (str(path),)), ("speak", ()))
    assert outcomes == ["spoken", Failure("crash"), "spoken"]
    assert not path.exists() or path.read_text() == ""


def test_threads_share_the_workers(pool: Pool) -> None:
    outcomes: dict[int, list[Any]] = {}

    def work(number: int) -> None:
        calls: list[Call] = [*doubles(40), ("spin", ()) if number % 2 else ("segfault", ())]
        outcomes[number] = ask(pool, *calls)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    values = [2 * number for number in range(40)]
    for number in range(6):
        assert outcomes[number] == [*values, Failure("timeout" if number % 2 else "crash")]
    assert len(pool.pids) <= 2


def test_a_batch_does_not_wait_for_another_one_to_end(pool: Pool) -> None:
    limits = Limits(timeout=60.0, workers=2)
    ask(pool, *doubles(20), limits=limits)
    long = threading.Thread(
        target=lambda: ask(pool, *[("sleep", (0.1,))] * 80, limits=limits), daemon=True
    )
    long.start()
    time.sleep(0.5)
    assert ask(pool, *doubles(20), limits=limits) == [2 * number for number in range(20)]
    assert long.is_alive()
    long.join(timeout=60)
    assert not long.is_alive()


def test_after_an_interrupt_the_pool_works_on(pool: Pool) -> None:
    busy = pool.pids
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        ask(pool, *[("spin", ())] * 4, *doubles(20), limits=LONG)
    assert all_gone(set(busy) - set(pool.pids), within=30)
    assert ask(pool, *doubles(20)) == [2 * number for number in range(20)]


def test_the_terminal_interrupts_no_worker(pool: Pool) -> None:
    """Ctrl-C goes to all processes of the terminal's foreground group."""
    ask(pool, *doubles(20))
    assert os.getpgrp() not in map(os.getpgid, pool.pids)


def test_a_forked_copy_of_the_process_has_workers_of_its_own(pool: Pool) -> None:
    ask(pool, *doubles(20))
    before = pool.pids
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            values = ask(pool, *doubles(20), ("spin", ()))
            own = values == [*(2 * number for number in range(20)), Failure("timeout")]
            own = own and not set(pool.pids) & set(before)
            os.write(writing, b"fine" if own else b"shared")
            pool.close()
        finally:
            os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    assert os.read(reading, 10) == b"fine"
    os.close(reading)
    assert pool.pids == before
    assert ask(pool, *doubles(20)) == [2 * number for number in range(20)]


PARENT = """
import sys, threading, time
from rlent_rewards.workers import Limits, Pool, run
pool, limits = Pool("tests.rewards.tasks"), Limits(timeout=2.0, workers=3)
run(pool, [("sleep", (0.2,))] * 12, limits)
calls = [("spin", ()), ("spin_in_c", ()), ("sleep", (60,))] if sys.argv[1] == "busy" else []
threading.Thread(target=run, args=(pool, calls * 3, limits), daemon=True).start()
time.sleep(0.5)
print(*pool.pids, flush=True)
sys.stdin.read()
"""


@pytest.mark.slow
@pytest.mark.parametrize("work", ["idle", "busy"])
@pytest.mark.parametrize("end", ["killed", "ended"])
def test_no_worker_outlives_its_parent_for_longer_than_a_call(work: str, end: str) -> None:
    path = os.pathsep.join([str(ROOT), str(ROOT / "rewards")])
    command = [sys.executable, "-c", PARENT, work]
    pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path}, **pipes) as process:
        assert process.stdout is not None
        pids = [int(pid) for pid in process.stdout.readline().split()]
        assert len(pids) == 3
        assert all(map(alive, pids))
        if end == "killed":
            process.kill()
        process.communicate(timeout=30)
    assert all_gone(pids, within=30)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        ("tests.rewards.no_such_module", "does not start: ModuleNotFoundError: No module named"),
        ("tests.rewards.processes", "does not start: AttributeError: .*warm_up"),
        ("tests.rewards.tasks_that_do_not_start", "3 workers for .* in a row ended before"),
    ],
)
def test_workers_that_do_not_start_are_an_error(module: str, message: str) -> None:
    pool = Pool(module)
    with pytest.raises(RuntimeError, match=message):
        ask(pool, *doubles(3))
    assert pool.pids == []


def test_a_closed_pool_starts_anew(pool: Pool) -> None:
    ask(pool, *doubles(20))
    before = pool.pids
    pool.close()
    assert pool.pids == []
    assert not any(map(alive, before))
    assert ask(pool, *doubles(20)) == [2 * number for number in range(20)]


@pytest.mark.parametrize("option", ["timeout", "memory_mb", "workers"])
@pytest.mark.parametrize("given", [0, -1])
def test_limits_are_positive(option: str, given: int) -> None:
    value: Any = float(given) if option == "timeout" else given
    with pytest.raises(ValueError, match=f"{option} must be positive; given: {value}"):
        Limits(**{option: value})


def test_by_default_there_are_as_many_processes_as_cores_and_at_most_four() -> None:
    assert Limits().processes == min(4, len(os.sched_getaffinity(0)))
    assert Limits(workers=7).processes == 7
