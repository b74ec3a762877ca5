"""The end of an engine process: what has been computed is on disk by then, within a time that fits it."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import mlx.core as mx
import pytest

from engine.cache.archive import LEAST_GRACE_S, MOST_GRACE_S, SLOW_DISK, Archive
from engine.cache.disk import Folder
from engine.cache.layers import Kept
from engine.cache.record import FORMAT, Record
from engine.cache.throttle import Throttle
from engine.client import EngineClient
from engine.config import EngineConfig
from engine.errors import EngineDied
from engine.types import Finished
from tests.engine.drive import request

ROOT = Path(__file__).parents[2]
PROMPT = "a conversation that is to be there again " * 9


async def ask(client: EngineClient, prompt: str | tuple[int, ...], max_tokens: int = 8) -> Finished:
    events = [
        event
        async for event in client.generate(
            request("r", prompt, session="s", max_tokens=max_tokens, ignore_eos=True)
        )
    ]
    assert isinstance(events[-1], Finished)
    return events[-1]


@contextlib.asynccontextmanager
async def started(config: EngineConfig) -> AsyncIterator[EngineClient]:
    client = EngineClient(config)
    await client.start()
    try:
        yield client
    finally:
        await client.close()


def stored(folder: Path) -> int:
    """Tokens on disk."""
    opened = Folder(folder, 2**30, write_wanted=False)
    try:
        return sum(record.end - record.start for record in opened.load())
    finally:
        opened.close()


async def test_what_was_answered_just_before_the_end_is_reused_after_it(tiny: Path, tmp_path: Path) -> None:
    config = EngineConfig(model=str(tiny), cache_dir=str(tmp_path))
    async with started(config) as client:
        end = await ask(client, PROMPT)
        await asyncio.gather(client.close(), client.close())
    turn = (*PROMPT.encode(), *end.completion[:-1])  # the last token is computed by whoever goes on from it
    async with started(config) as client:
        again = await ask(client, (*turn, *b"and so on"))
    assert again.cached_tokens == len(turn)
    assert again.cache.tier == "disk"


async def test_what_was_being_computed_at_the_end_is_kept_too(tiny: Path, tmp_path: Path) -> None:
    async with started(EngineConfig(model=str(tiny), cache_dir=str(tmp_path))) as client:
        stream = client.generate(request("r", PROMPT, session="s", max_tokens=100, ignore_eos=True))
        await anext(stream)
        closing = asyncio.create_task(client.close())
        with pytest.raises(EngineDied, match="closed"):
            async for _ in stream:
                pass
        await closing
    assert stored(tmp_path) >= len(PROMPT)


PARENT = """
import asyncio, os, signal, sys
from engine.client import EngineClient
from engine.config import EngineConfig
from tests.engine.drive import request

async def main():
    client = EngineClient(EngineConfig(model=sys.argv[1], cache_dir=sys.argv[2]))
    await client.start()
    print(client.stats().pid, flush=True)
    async for _ in client.generate(request("r", sys.argv[3], session="s", max_tokens=4, ignore_eos=True)):
        pass
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


async def test_an_engine_whose_parent_was_killed_keeps_what_it_has(tiny: Path, tmp_path: Path) -> None:
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PARENT, str(tiny), str(tmp_path), PROMPT),
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    assert parent.stdout is not None
    engine = Path(f"/proc/{int(await parent.stdout.readline())}")
    await parent.wait()
    async with asyncio.timeout(20):
        while engine.exists() and "Z" not in (engine / "stat").read_text().rsplit(")", 1)[1].split()[0]:
            await asyncio.sleep(0.02)
    assert stored(tmp_path) >= len(PROMPT)


class SlowDisk(Throttle):
    """A tenth of a second for every piece of work."""

    @contextlib.contextmanager
    def work(self) -> Iterator[None]:
        with super().work():
            time.sleep(0.1)
            yield


def conversation(name: int, arrays: int = 8) -> tuple[Record, Kept]:
    kept = Kept(0, 4, tuple(mx.full((1, 2, 4, 4096), name) for _ in range(arrays)))
    mx.eval(kept.arrays)
    record = Record(
        format=FORMAT,
        fingerprint="f",
        model="m",
        name=bytes([name]) * 24,
        parent=None,
        start=0,
        end=4,
        tokens=bytes(16),
        size=0,
        checksum=b"",
        saved=0.0,
    )
    return record, kept


def test_a_disk_too_slow_for_the_grace_leaves_no_half_of_anything(tmp_path: Path) -> None:
    archive = Archive(Folder(tmp_path, 2**30), "keep", 2**30)
    archive.breaks = SlowDisk(0.0)
    for name in range(1, 9):
        assert archive.save(*conversation(name))
    began = time.monotonic()
    left = archive.close(grace_s=3.0)
    assert time.monotonic() - began < 6.0
    again = Folder(tmp_path, 2**30)
    records = again.load()
    files = list((tmp_path / "segments").rglob("*.val"))
    sizes = [archive.pending[record.name].nbytes for record in records]
    assert 0 < len(records) == len(files) < 8
    assert left == archive.waiting - sum(sizes)
    assert again.verify() == []
    again.close()


def test_the_grace_fits_what_waits(tmp_path: Path) -> None:
    archive = Archive(Folder(tmp_path, 2**30), "keep", 2**40)
    assert (archive.waiting, archive.grace_s) == (0, LEAST_GRACE_S)
    _, kept = conversation(1)
    archive.pending[b"a"] = kept
    assert archive.grace_s == LEAST_GRACE_S + kept.nbytes / SLOW_DISK
    archive.pending |= {n.to_bytes(4, "big"): kept for n in range(2000)}
    assert archive.grace_s == MOST_GRACE_S
    archive.pending.clear()
    assert archive.close() == 0
