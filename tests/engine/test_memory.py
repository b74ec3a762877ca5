"""The KV budget: what a token costs, what the machine has, and what that means for the context."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.config import EngineConfig
from engine.errors import EngineFailed
from engine.heap import HeapWatch
from engine.memory import (
    SPARE_S,
    KvCost,
    MemoryWatch,
    Spare,
    kv_budget,
    machine_memory,
    resident_bytes,
    split_budget,
)
from engine.model import load_model

GB = 2**30
PER_TOKEN = 2 * 2 * 2 * 16 * 4  # keys and values, layers, heads, width, bytes: the tiny model's


@pytest.mark.parametrize(
    ("limit", "weights", "on_gpu", "expected"),
    [
        (100 * GB, 30 * GB, True, 60 * GB),
        (100 * GB, 30 * GB, False, 30 * GB),
        (16 * GB, 15 * GB, False, int(16 * GB * 0.6) // 16),
    ],
)
def test_budget(limit: int, weights: int, on_gpu: bool, expected: int) -> None:
    assert kv_budget(limit, weights, on_gpu) == expected


def test_tokens_that_fit() -> None:
    assert KvCost(fixed=0, per_token=100).tokens(1050) == 10
    assert KvCost(fixed=500, per_token=0).tokens(10) > 10**15


def test_the_machine_has_some_memory() -> None:
    assert 2**26 < machine_memory() < 2**50


def test_a_budget_limits_the_context_that_is_offered(tiny: Path) -> None:
    def info(budget: int | None) -> tuple[int, int]:
        loaded = load_model(EngineConfig(model=str(tiny), kv_budget=budget), "").info
        return loaded.kv_tokens, loaded.context_length

    assert info(100 * PER_TOKEN) == (100, 100)
    assert info(10_000 * PER_TOKEN) == (10_000, 512)
    assert info(None)[1] == 512
    with pytest.raises(EngineFailed, match="no memory"):
        info(PER_TOKEN)


def test_growth_that_nobody_accounts_for_is_said_once_per_bound() -> None:
    watch = MemoryWatch(bound=100, every_s=10.0, settle=2)
    assert watch.due(0.0)
    assert [watch.observe(float(n), {"a": size, "b": 5}) for n, size in enumerate((50, 90))] == [[], []]
    assert not watch.due(10.9)
    assert watch.due(11.0)
    sizes = [190, 191, 200, 290, 292, 50]
    assert [watch.observe(0.0, {"a": size, "b": 5}) for size in sizes] == [[], ["a"], [], [], ["a"], []]


def test_what_the_process_holds_is_known() -> None:
    before = resident_bytes()
    assert before > 2**20
    block = bytearray(os.urandom(1)) * 2**26
    assert resident_bytes() > before + 2**25, len(block)


@pytest.mark.parametrize(
    ("total", "kv", "cache", "expected"),
    [
        (100, None, None, (75, 25)),
        (100, None, 40, (60, 40)),
        (100, None, 0, (100, 0)),
        (100, None, 500, (25, 500)),
        (100, 30, None, (30, 10)),
        (100, 30, 0, (30, 0)),
    ],
)
def test_the_budget_is_shared_with_the_prefix_cache(
    total: int, kv: int | None, cache: int | None, expected: tuple[int, int]
) -> None:
    assert split_budget(total, kv, cache) == expected


def test_freed_memory_is_given_back_when_there_is_much_of_it() -> None:
    now, used, after = 0.0, [100], 120
    given: list[float] = []

    def trim() -> bool:
        given.append(now)
        used[0] = after
        return True

    watch = HeapWatch(trim, slack=50, every_s=1.0)
    for size in (100, 90, 150, 400):
        used[0] = size
        watch.look(now, lambda: used[0])
        now += 0.5  # every second call is too early
    assert given == []
    used[0] = 151
    watch.look(now + 1, lambda: used[0])
    assert watch.trims == 1
    used[0] = 170
    watch.look(now + 2, lambda: used[0])
    assert watch.trims == 1, "what was left is in use"
    used[0] = 171
    watch.look(now + 3, lambda: used[0])
    assert watch.trims == 2


@pytest.mark.skipif(sys.platform != "linux", reason="the heap of glibc")
def test_the_heap_is_given_back_to_the_system() -> None:
    """In a process of its own: blocks that are freed below others stay in the heap until then."""
    code = """if True:
        import ctypes
        from engine.heap import give_back
        from engine.memory import resident_bytes
        libc = ctypes.CDLL(None)
        libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
        libc.free.argtypes = [ctypes.c_void_p]
        blocks = [libc.malloc(100_000) for _ in range(2000)]
        for block in blocks:
            ctypes.memset(block, 1, 100_000)
        for block in blocks[:-1]:
            libc.free(block)
        before = resident_bytes()
        can = give_back()
        print(int(can), before - resident_bytes())
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    can, freed = map(int, done.stdout.split())
    assert not can or freed > 150_000_000


@pytest.mark.skipif(sys.platform != "linux", reason="the heap of glibc")
def test_threads_share_one_heap() -> None:
    """In a process of its own, as glibc counts its heaps; without asking it makes some for threads."""
    code = """if True:
        import ctypes, sys, threading
        from engine.heap import one_heap
        asked = one_heap() if sys.argv[1] == "one" else True
        libc = ctypes.CDLL(None)
        libc.malloc.argtypes, libc.malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
        threads = [threading.Thread(target=lambda: libc.malloc(100_000)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        libc.fdopen.restype = ctypes.c_void_p
        libc.malloc_info.argtypes = [ctypes.c_int, ctypes.c_void_p]
        if asked:
            libc.malloc_info(0, libc.fdopen(1, b"w"))
            libc.fflush(None)
    """

    def heaps(asked: str) -> int:
        done = subprocess.run([sys.executable, "-c", code, asked], capture_output=True, text=True, check=True)
        return done.stdout.count("<heap nr=")

    assert heaps("none") > 1
    assert heaps("one") <= 1


def test_spare_memory_goes_once_after_each_long_rest() -> None:
    released: list[float] = []
    spare = Spare(lambda: released.append(0.0))
    spare.work()
    for now in (100.0, 100.0 + SPARE_S / 2, 100.0 + SPARE_S, 100.0 + 2 * SPARE_S):
        spare.idle(now)
    assert len(released) == 1
    spare.idle(500.0)
    spare.work()
    spare.idle(1000.0)
    spare.idle(1000.0 + SPARE_S - 1)
    assert len(released) == 1
    spare.idle(1000.0 + SPARE_S)
    assert len(released) == 2
