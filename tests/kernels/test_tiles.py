"""Tiles fit the cache that the device reports."""

import pytest
import torch

from rlent_kernels import cache
from rlent_kernels.plan import default_tile

CPU = torch.device("cpu")


@pytest.fixture
def core(monkeypatch):
    """Sets the level-2 cache of a core, with one thread."""
    threads = torch.get_num_threads()

    def set_size(size):
        monkeypatch.setattr(cache, "_cpu_core", lambda: size)
        torch.set_num_threads(1)

    yield set_size
    torch.set_num_threads(threads)


@pytest.mark.parametrize("size", [2**18, 2**20, 2**21, 2**22])
@pytest.mark.parametrize("rows", [1, 64, 500, 10**6])
@pytest.mark.parametrize("vocabulary", [1, 50, 5000, 151936])
@pytest.mark.parametrize("itemsize", [4, 8])
def test_a_tile_takes_at_most_half_the_cache(core, size, rows, vocabulary, itemsize):
    core(size)
    r, c = default_tile(rows, vocabulary, itemsize, CPU)
    assert 1 <= c <= vocabulary
    # 64 rows and 1024 columns are the least, whatever the cache.
    assert r * c * itemsize <= max(size // 2, 64 * min(vocabulary, 1024) * itemsize)


def test_few_rows_make_wide_tiles(core):
    core(2**22)
    assert default_tile(10**6, 151936, 4, CPU) == (512, 1024)
    assert default_tile(100, 151936, 4, CPU) == (64, 5242)
    assert default_tile(1, 151936, 4, CPU) == (64, 8192)


def test_threads_share_what_their_caches_hold(core):
    core(2**20)
    torch.set_num_threads(2)
    assert cache.cache_bytes(CPU) == 2**21


def test_the_size_is_read_from_the_system(tmp_path, monkeypatch):
    for index, (level, size) in enumerate([("1", "48K"), ("2", "2048K"), ("3", "32768K")]):
        (tmp_path / f"index{index}").mkdir()
        (tmp_path / f"index{index}/level").write_text(level + "\n")
        (tmp_path / f"index{index}/size").write_text(size + "\n")
    monkeypatch.setattr(cache, "_LINUX", tmp_path)
    assert cache._cpu_core.__wrapped__() == 2**21


def test_an_unknown_cpu_has_a_mebibyte(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "_LINUX", tmp_path / "absent")
    assert cache._cpu_core.__wrapped__() == 2**20
