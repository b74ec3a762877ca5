"""The engine as the proxy sees it: a real process behind an async door."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from engine.client import EngineClient, Stream
from engine.config import EngineConfig
from engine.errors import (
    ContextOverflow,
    EngineDied,
    EngineError,
    EngineFailed,
    EngineUnavailable,
    InvalidRequest,
    QueueFull,
)
from engine.supervisor import Backoff
from engine.types import Began, Finished, GenerateRequest, Output, TextChunk
from tests.engine.drive import PRINTABLE, request

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def client(tiny: Path) -> AsyncIterator[EngineClient]:
    async with started(EngineConfig(model=str(tiny), max_batch=16)) as client:
        yield client


@contextlib.asynccontextmanager
async def started(config: EngineConfig) -> AsyncIterator[EngineClient]:
    client = EngineClient(config)
    await client.start()
    try:
        yield client
    finally:
        await client.close()


async def collect(client: EngineClient, one: GenerateRequest) -> tuple[str, Finished]:
    events = [event async for event in client.generate(one)]
    assert isinstance(events[-1], Finished)
    assert all(isinstance(event, TextChunk) for event in events[:-1])
    return "".join(event.text for event in events if isinstance(event, TextChunk)), events[-1]


async def drain(stream: AsyncIterator[Output]) -> None:
    async for _ in stream:
        pass


async def until(holds: Any, timeout_s: float = 20.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not holds():
            await asyncio.sleep(0.02)


def alive(pid: int) -> bool:
    """Zombies are dead."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_sixteen_at_once_share_a_batch_and_get_what_each_gets_alone(client: EngineClient) -> None:
    requests = [
        request(f"b{n}", f"prompt {n} " * (1 + n % 5), max_tokens=40, temperature=0.9 * (n % 2), seed=n)
        for n in range(16)
    ]
    together = await asyncio.gather(*(collect(client, one) for one in requests))
    assert client.stats().peak_batch > 8
    for one, (text, _) in zip(requests[::5], together[::5], strict=True):
        assert (await collect(client, one))[0] == text


async def test_the_info_is_the_models(client: EngineClient, tiny: Path) -> None:
    info = client.info
    assert (info.path, info.model_type, info.vocab_size) == (str(tiny), "qwen3", 261)
    assert (info.context_length, info.eos_token_ids, info.dtype) == (512, (258,), "float32")


@pytest.mark.parametrize(
    ("bad", "error", "attributes"),
    [
        ({"prompt": ()}, InvalidRequest, {"param": "prompt"}),
        ({"seed": 10**30}, InvalidRequest, {"param": "seed"}),
        ({"max_tokens": 10**30}, InvalidRequest, {"param": "max_tokens"}),
        ({"top_k": 10**6}, InvalidRequest, {"param": "top_k"}),
        ({"logit_bias": {10**30: 1.0}}, InvalidRequest, {"param": "logit_bias"}),
        ({"prompt": "p" * 600}, ContextOverflow, {"tokens": 600, "limit": 512}),
    ],
)
async def test_refusals_arrive_as_their_own_errors(
    client: EngineClient, bad: dict[str, Any], error: type[EngineError], attributes: dict[str, Any]
) -> None:
    with pytest.raises(error) as caught:
        await collect(client, request("bad", **bad))
    assert {name: getattr(caught.value, name) for name in attributes} == attributes
    await client.probe(10.0)


async def test_callers_may_use_an_id_twice(client: EngineClient) -> None:
    twins = [request("twin", f"twin {n}", max_tokens=20, ignore_eos=True) for n in range(2)]
    together = [text for text, _ in await asyncio.gather(*(collect(client, one) for one in twins))]
    assert together == [(await collect(client, one))[0] for one in twins]
    assert together[0] != together[1]


@pytest.mark.parametrize("take", [0, 1, 5])
async def test_closing_a_stream_early_aborts_in_the_engine(client: EngineClient, take: int) -> None:
    stream = client.generate(request("gone", max_tokens=480, ignore_eos=True))
    if take:
        for _ in range(take):
            await anext(stream)
        await stream.aclose()
    else:
        task = asyncio.create_task(collect(client, request("gone", max_tokens=480, ignore_eos=True)))
        await asyncio.sleep(0.005)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await client.probe(10.0)  # its answer says that what was sent before it has been dealt with
    assert client.stats().running == 0
    before = client.stats().tokens_generated
    text, _ = await collect(client, request("gone", max_tokens=4, logit_bias=PRINTABLE))
    assert len(text) == 4
    assert client.stats().tokens_generated <= before + 5


async def test_a_probe_generates_and_does_not_wait_for_a_place(tiny: Path) -> None:
    async with started(EngineConfig(model=str(tiny), max_batch=1, queue_limit=2)) as client:
        tasks = [
            asyncio.create_task(collect(client, request(f"q{n}", max_tokens=200, ignore_eos=True)))
            for n in range(3)
        ]
        await until(lambda: client.stats().waiting == 2)
        with pytest.raises(QueueFull) as full:
            await collect(client, request("one-too-many"))
        assert full.value.retry_after_s >= 1
        await client.probe(10.0)
        assert not all(task.done() for task in tasks)
        assert all(end.completion_tokens == 200 for _, end in await asyncio.gather(*tasks))
        assert client.stats().peak_batch == 2, "one place, and the probe's"


async def test_kill_9_mid_stream_is_a_clean_error_and_the_engine_comes_back(tiny: Path) -> None:
    async with started(EngineConfig(model=str(tiny))) as client:
        stream = client.generate(request("killed", max_tokens=500, ignore_eos=True))
        await anext(stream)
        first = client.stats().pid
        os.kill(first, signal.SIGKILL)
        with pytest.raises(EngineDied, match="SIGKILL"):
            await drain(stream)
        assert client.stats().state == "restarting"
        assert "SIGKILL" in client.stats().reason
        with pytest.raises(EngineUnavailable):
            await client.probe(1.0)
        _, end = await collect(client, request("next", max_tokens=5))
        assert end.completion_tokens == 5
        await client.probe(10.0)
        stats = client.stats()
        assert (stats.state, stats.restarts) == ("ready", 1)
        assert stats.pid != first
        assert not alive(first)
        assert alive(stats.pid)
    assert not alive(stats.pid)


async def test_signals_meant_for_the_server_do_not_end_the_engine(client: EngineClient) -> None:
    """Ctrl-C and service managers signal the whole process group; the server ends the engine itself."""
    pid = client.stats().pid
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(pid, number)
    await client.probe(20)
    assert client.stats().pid == pid
    assert client.stats().restarts == 0


async def test_what_had_not_emitted_anything_is_replayed_once(tiny: Path) -> None:
    async with started(EngineConfig(model=str(tiny))) as client:
        os.kill(client.stats().pid, signal.SIGSTOP)  # nothing can come back before the end
        task = asyncio.create_task(collect(client, request("patient", max_tokens=6, ignore_eos=True)))
        await asyncio.sleep(0.05)
        os.kill(client.stats().pid, signal.SIGKILL)
        _, end = await task
        assert (end.completion_tokens, client.stats().restarts) == (6, 1)

        os.kill(client.stats().pid, signal.SIGSTOP)
        task = asyncio.create_task(collect(client, request("unlucky", max_tokens=6)))
        await asyncio.sleep(0.05)
        os.kill(client.stats().pid, signal.SIGKILL)
        await until(lambda: client.stats().restarts == 2)
        await until(lambda: client.stats().pid != 0)
        os.kill(client.stats().pid, signal.SIGKILL)
        with pytest.raises(EngineDied):
            await task


async def test_a_request_is_announced_with_what_the_cache_has_of_its_prompt(client: EngineClient) -> None:
    words = "a prompt of some length, the same twice " * 8
    for again in (False, True):
        asked = request("announced", words, announce=True, max_tokens=4, ignore_eos=True)
        first, *rest = [event async for event in client.generate(asked)]
        end = rest[-1]
        assert isinstance(end, Finished)
        assert first == Began("announced", end.cached_tokens)
        assert (end.cached_tokens > len(words) // 2) == again
        assert not any(isinstance(event, Began) for event in rest)


async def test_an_announcement_is_no_answer_and_comes_once() -> None:
    """Whose process died behind it can be started anew, which announces it again."""
    stream = Stream(request(announce=True), "1")
    stream.put(Began("1", 5))
    assert (stream.touched, stream.ended) == (False, False)
    stream.put(Began("1", 9))
    stream.put(TextChunk("1", "a", 1))
    assert [await stream.get(), await stream.get()] == [Began("1", 5), TextChunk("1", "a", 1)]
    assert stream.touched


@dataclass(frozen=True)
class Noted(Backoff):
    """Waits for nothing and keeps what it was asked."""

    attempts: list[int] = field(default_factory=list)

    def delay(self, attempt: int) -> float:
        self.attempts.append(attempt)
        return 0.0


@pytest.mark.parametrize("serves", [True, False])
async def test_only_processes_that_never_served_wait_longer_each_time(tiny: Path, serves: bool) -> None:
    async with started(EngineConfig(model=str(tiny))) as client:
        noted = client._supervisor._backoff = Noted()
        for n in range(3):
            if serves:
                await collect(client, request(f"served {n}", max_tokens=2))
            os.kill(client.stats().pid, signal.SIGKILL)
            await until(lambda n=n: client.stats().restarts > n and client.stats().state == "ready")
        assert noted.attempts == ([0, 0, 0] if serves else [0, 1, 2])


async def test_a_wedged_process_is_noticed_and_restarted(tiny: Path) -> None:
    config = EngineConfig(model=str(tiny), stall_timeout_s=1.5, heartbeat_s=0.1, replay=False)
    async with started(config) as client:
        stream = client.generate(request("stuck", max_tokens=500, ignore_eos=True))
        await anext(stream)
        wedged = client.stats().pid
        os.kill(wedged, signal.SIGSTOP)
        with pytest.raises(EngineDied, match="no progress"):
            await drain(stream)
        _, end = await collect(client, request("next", max_tokens=3))
        assert end.completion_tokens == 3
        assert not alive(wedged)


async def test_an_idle_engine_is_not_taken_for_a_wedged_one(tiny: Path) -> None:
    async with started(EngineConfig(model=str(tiny), stall_timeout_s=1.0, heartbeat_s=0.1)) as client:
        await asyncio.sleep(2.0)
        assert client.stats().restarts == 0


@pytest.mark.parametrize("files", [{}, {"config.json": "{}"}, {"config.json": "not json"}])
async def test_a_model_that_cannot_be_loaded_fails_the_start_with_the_reason(
    tmp_path: Path, files: dict[str, str]
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    client = EngineClient(EngineConfig(model=str(tmp_path)))
    with pytest.raises(EngineFailed, match=str(tmp_path)):
        await client.start()
    assert client.stats().state == "failed"
    assert client.stats().pid == 0
    await client.close()


async def test_a_parent_with_many_open_files_gets_its_engine(tiny: Path) -> None:
    """The engine inherits its socket under the parent's number for it, which may be above select()'s 1023."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 2048)), hard))
    try:
        with contextlib.ExitStack() as stack:
            for _ in range(1030):
                stack.enter_context(Path("/dev/null").open())
            async with started(EngineConfig(model=str(tiny))) as client:
                assert (await collect(client, request("r", max_tokens=3, ignore_eos=True)))[
                    1
                ].completion_tokens == 3
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_closing_fails_what_still_runs(tiny: Path) -> None:
    async with started(EngineConfig(model=str(tiny))) as client:
        stream = client.generate(request("open", max_tokens=500, ignore_eos=True))
        await anext(stream)
        await client.close()
        with pytest.raises(EngineDied, match="closed"):
            await drain(stream)
        with pytest.raises(EngineUnavailable):
            await anext(client.generate(request("late")))


PARENT = """
import asyncio, sys
from engine.client import EngineClient
from engine.config import EngineConfig

async def main():
    client = EngineClient(EngineConfig(model=sys.argv[1]))
    await client.start()
    print(client.stats().pid, flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


async def test_the_engine_dies_with_a_parent_that_was_killed(tiny: Path) -> None:
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PARENT, str(tiny)),
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    assert parent.stdout is not None
    engine = int(await parent.stdout.readline())
    assert alive(engine)
    parent.kill()
    await parent.wait()
    await until(lambda: not alive(engine))


async def test_sessions_are_listed_pinned_and_dropped(client: EngineClient) -> None:
    await collect(client, request("a", "a prompt of a session", session="mine"))
    (listed,) = [one for one in await client.sessions() if one.id == "mine"]
    assert (listed.turns, listed.branches, listed.pinned) == (1, 1, False)
    assert await client.pin_session("mine")
    assert [one.pinned for one in await client.sessions() if one.id == "mine"] == [True]
    assert await client.drop_session("mine")
    assert not await client.drop_session("mine")
    assert not [one for one in await client.sessions() if one.id == "mine"]
    assert client.stats().cache.ram_budget > 0


async def test_a_session_is_warm_again_after_the_process_was_killed(tiny: Path, tmp_path: Path) -> None:
    config = EngineConfig(model=str(tiny), cache_dir=str(tmp_path))
    prompt = "a long conversation " * 10
    async with started(config) as client:
        text, _ = await collect(client, request("a", prompt, session="s", max_tokens=4))
        async with asyncio.timeout(20):
            while not client.stats().cache.written:
                await asyncio.sleep(0.05)
        os.kill(client.stats().pid, signal.SIGKILL)
        async with asyncio.timeout(60):
            while client.stats().restarts == 0 or client.stats().state != "ready":
                await asyncio.sleep(0.05)
        again, end = await collect(client, request("b", prompt, session="s", max_tokens=4))
    assert again == text
    assert (end.cached_tokens, end.cache.tier) == (len(prompt) - 1, "disk")
