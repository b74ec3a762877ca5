"""Threads beside those who decode: breaks that are in proportion to the work, and end when somebody waits."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from functools import partial
from pathlib import Path

import mlx.core as mx
import msgspec
import pytest
from mlx_lm.models.cache import KVCache

from engine.cache.assembler import Assembler
from engine.cache.disk import Folder
from engine.cache.record import CHUNK, digest_of
from engine.cache.streaming import Joined
from engine.cache.throttle import NO_BREAKS, Throttle
from tests.bench.torture import segment


@pytest.fixture
def waited(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds of every break that was asked for; none is taken; without a share there is none."""
    seconds: list[float] = []

    def wait(self: threading.Event, timeout: float | None = None) -> bool:
        if timeout:
            seconds.append(timeout)
        return self.is_set()

    monkeypatch.setattr(threading.Event, "wait", wait)
    return seconds


def test_a_break_is_as_long_as_its_share_of_the_work(waited: list[float]) -> None:
    breaks = Throttle(3.0)
    breaks.hurry(False)
    began = time.perf_counter()
    with breaks.work():
        time.sleep(0.01)
    assert 0.03 <= waited[-1] <= 3.0 * (time.perf_counter() - began)


def test_a_break_ends_when_somebody_waits() -> None:
    breaks = Throttle(1e6)
    breaks.hurry(False)

    def work() -> None:
        with breaks.work():
            time.sleep(0.001)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(0.1)
    assert thread.is_alive()
    breaks.hurry(True)
    thread.join(10)
    assert not thread.is_alive()


def test_what_verifies_and_writes_a_large_segment_has_breaks_on_the_way(
    tmp_path: Path, waited: list[float]
) -> None:
    parts = (b"head", random.Random(0).randbytes(3 * CHUNK))
    size = sum(len(part) for part in parts)
    record = msgspec.structs.replace(segment(1)[0], size=size, checksum=digest_of(parts))
    breaks = Throttle(1.0)
    breaks.hurry(False)
    assert digest_of(parts, breaks) == digest_of(parts, NO_BREAKS)
    assert len(waited) == 4
    folder = Folder(tmp_path, 2**30)
    del waited[:]
    folder.load()
    assert folder.write(record, parts, breaks) == []
    assert len(waited) == len(parts)
    del waited[:]
    file = folder.read(record.name, breaks)
    assert file is not None
    with file:
        assert file.read() == b"".join(parts)
    assert len(waited) == 4
    folder.close()


def caches(value: float) -> Iterator[Joined]:
    layer = KVCache()
    layer.update_and_fetch(mx.full((1, 2, 5, 4), value), mx.full((1, 2, 5, 4), value))
    yield Joined([layer], 5)


def test_caches_come_computed_and_in_order() -> None:
    ours = Assembler(3.0)
    joining: list[Future[Joined]] = [ours.begin(partial(caches, float(n))) for n in range(3)]
    for n, one in enumerate(joining):
        (layer,) = one.result(10).caches
        assert layer.offset == 5
        assert (layer.keys[..., :5, :] == n).all().item()


def test_what_fails_is_told_to_whoever_takes_it_and_the_next_is_joined() -> None:
    def fail() -> Iterator[Joined]:
        raise MemoryError("no room")

    ours = Assembler(3.0)
    failing, next_one = ours.begin(fail), ours.begin(partial(caches, 1.0))
    with pytest.raises(MemoryError, match="no room"):
        failing.result(10)
    assert next_one.result(10).length == 5


def test_who_was_cancelled_holds_up_nobody() -> None:
    ours = Assembler(1e6)
    ours.breaks.hurry(False)
    gone, next_one = ours.begin(partial(caches, 1.0)), ours.begin(partial(caches, 2.0))
    assert gone.cancel()
    ours.breaks.hurry(True)
    (layer,) = next_one.result(10).caches
    assert (layer.keys[..., :5, :] == 2).all().item()
    assert gone.cancelled()
