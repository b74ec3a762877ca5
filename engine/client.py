"""The async client of the engine, which is all that the proxy uses of it. It never imports MLX.

A client belongs to one event loop.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import AsyncGenerator
from pathlib import Path

import msgspec

from engine.cache.ownership import look_at
from engine.config import EngineConfig
from engine.errors import (
    DeadlineExceeded,
    EngineDied,
    EngineError,
    EngineFailed,
    EngineUnavailable,
    from_failed,
)
from engine.frames import Abort, Events, Prefetch, SessionList, Sessions, Stop, Submit
from engine.idle import IdleTimer
from engine.outbox import join
from engine.supervisor import Supervisor
from engine.types import (
    AT_REST,
    Began,
    EngineStats,
    Failed,
    Finished,
    GenerateRequest,
    ModelInfo,
    Output,
    Priority,
    SamplingParams,
    SessionInfo,
    TextChunk,
    WorkerStats,
)
from engine.validate import check_request

GRACE_S = 1.0  # how long the client waits for a step in progress when a deadline passes
LEAST_DEADLINE_S = 0.001
MOST_SIGNS = 1024


class Stream:
    """The events of one request on their way to its reader. Text that waits is joined into one chunk.

    wire_id: names the request to the engine process, and is never used again. So late events of an aborted
        request reach nobody, whatever ids the caller uses.
    """

    def __init__(self, request: GenerateRequest, wire_id: str) -> None:
        self.request = request
        self.wire_id = wire_id
        self.sent = False  # whether an engine process was ever given the request
        self.touched = False  # whether anything of the answer has come; what was sent cannot be taken back
        self.announced = False  # whether its Began has come; a second process would send another
        self.replayed = False
        self.ended = False
        self.began = asyncio.get_running_loop().time()
        self._events: deque[Output | EngineError] = deque()
        self._wake = asyncio.Event()

    def put(self, event: Output | EngineError) -> None:
        """Adds an event; after the last event of the request all others are ignored."""
        if self.ended or (isinstance(event, Began) and self.announced):
            return
        self.announced |= isinstance(event, Began)
        self.touched |= not isinstance(event, Began)
        self.ended = not isinstance(event, TextChunk | Began)
        last = self._events[-1] if self._events else None
        if isinstance(event, TextChunk) and isinstance(last, TextChunk):
            self._events[-1] = join(last, event)
        else:
            self._events.append(event)
        self._wake.set()

    @property
    def left_s(self) -> float | None:
        """Seconds left of the deadline; None without one."""
        deadline = self.request.deadline_s
        return None if deadline is None else self.began + deadline - asyncio.get_running_loop().time()

    async def get(self) -> Output:
        """The next event. Raises the EngineError that ended the request."""
        while not self._events:
            self._wake.clear()
            await self._wake.wait()
        event = self._events.popleft()
        if isinstance(event, EngineError):
            raise event
        return event


class EngineClient:
    """One engine with its process. Start it once, close it once."""

    info: ModelInfo

    def __init__(self, config: EngineConfig) -> None:
        self._config = config
        self._streams: dict[str, Stream] = {}
        self._worker = WorkerStats()
        self._ids = itertools.count()
        self._supervisor = Supervisor(
            config,
            on_events=self._receive,
            on_ready=self._replay,
            on_death=self._process_died,
            on_sessions=self._answer,
        )
        self._asked: dict[int, asyncio.Future[SessionList]] = {}
        self._closing: asyncio.Task[None] | None = None
        self._resting: asyncio.Task[None] | None = None
        self._idle = IdleTimer(config.idle_unload_s, self._busy, self._rest)
        self._slept: dict[str, SessionInfo] = {}  # the sessions when the process went to rest
        self._slept_at = 0.0
        self._signs: set[str] = set()  # sessions that gave a sign of life while there was no process

    async def start(self) -> ModelInfo:
        """Starts the engine process and waits for its model. Raises EngineFailed with the reason, which may
        be that the cache's folder is somebody else's.
        """
        if why := await asyncio.to_thread(refusal, self._config):
            raise EngineFailed(why)
        self.info = await self._supervisor.start()
        self._idle.touch()
        return self.info

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[Output, None]:
        """Yields TextChunks and then one Finished; before them one Began, where the request asks for it.
        Closing the generator early aborts the request in the engine.

        Raises at the first step QueueFull, InvalidRequest, ContextOverflow or EngineUnavailable; at any step
        DeadlineExceeded, EngineDied (the process ended) or EngineFault (its step failed).
        """
        check_request(
            request, self.info
        )  # the engine checks too; this keeps what cannot be sent from being sent
        stream = Stream(request, wire_id=str(next(self._ids)))
        self._streams[stream.wire_id] = stream
        timer = self._time(stream)
        used = request.priority is not Priority.probe
        try:
            await self._ready_for(stream)
            self._submit(stream)
            while True:
                event = await stream.get()
                yield event
                if isinstance(event, Finished):
                    return
        finally:
            del self._streams[stream.wire_id]
            if used and self._supervisor.state == "ready":
                self._idle.touch()
            if timer is not None:
                timer.cancel()
            if stream.sent and not stream.ended:
                self._supervisor.send(Abort(stream.wire_id))

    def stop(self, id: str) -> None:
        """Ends a request that has written all that is needed: its Finished comes, with the reason `stop`."""
        for stream in self._streams.values():
            if stream.request.id == id and stream.sent and not stream.ended:
                self._supervisor.send(Stop(stream.wire_id))

    async def probe(self, timeout_s: float) -> None:
        """Generates one token in the live process, ahead of the queue. Raises EngineError with the reason.

        A process at rest is healthy, and is left alone.
        """
        if self._supervisor.state in AT_REST:
            return
        if self._supervisor.state != "ready":
            raise self._supervisor.unavailable()
        request = GenerateRequest(
            id="probe",
            prompt=(0,),
            sampling=SamplingParams(max_tokens=1, ignore_eos=True),
            priority=Priority.probe,
            ephemeral=True,
        )
        try:
            async with asyncio.timeout(timeout_s):
                async for _ in self.generate(request):
                    pass
        except TimeoutError:
            raise EngineUnavailable(f"the engine generated no token within {timeout_s:g} s") from None

    def stats(self) -> EngineStats:
        """The state now, and the figures in the process's last frame, which is half a second old at most."""
        supervisor = self._supervisor
        return EngineStats(
            state=supervisor.state,
            reason=supervisor.reason,
            pid=supervisor.pid,
            restarts=supervisor.restarts,
            **msgspec.structs.asdict(self._worker),
        )

    async def sessions(self, timeout_s: float = 5.0) -> list[SessionInfo]:
        """What the prefix cache knows of agent sessions, the session seen last first.

        While the process rests, this is what it knew before, as it is for sessions not seen since. Raises
        EngineUnavailable when the process does not answer, as do the next two methods, which wake a process
        at rest.
        """
        resting = self._supervisor.state in AT_REST
        live = [] if resting else (await self._ask("list", "", timeout_s)).sessions
        later = asyncio.get_running_loop().time() - self._slept_at
        heard = {one.id for one in live}
        slept = [msgspec.structs.replace(one, idle_s=one.idle_s + later) for one in self._slept.values()]
        return [*live, *(one for one in slept if one.id not in heard)]

    async def pin_session(self, id: str, pinned: bool = True, timeout_s: float = 5.0) -> bool:
        """Protects what a session will ask for next until it is unpinned; returns whether the session was
        known.
        """
        return (await self._ask("pin" if pinned else "unpin", id, timeout_s)).known

    async def drop_session(self, id: str, timeout_s: float = 5.0) -> bool:
        """Deletes what only this session uses, on disk too; returns whether the session was known."""
        self._slept.pop(id, None)
        return (await self._ask("drop", id, timeout_s)).known

    def prefetch_session(self, id: str) -> None:
        """Takes a sign of life of a session: what its next turn will need is fetched from disk, by a process
        that is started for it where one rests. Does not wait.
        """
        self._supervisor.wake()
        if self._supervisor.state == "ready":
            self._idle.touch()
            self._supervisor.send(Prefetch(id))
        elif len(self._signs) < MOST_SIGNS:
            self._signs.add(id)

    async def _ask(self, action: str, id: str, timeout_s: float) -> SessionList:
        if self._supervisor.state in AT_REST:
            await self._supervisor.ready()
        if self._supervisor.state != "ready":
            raise self._supervisor.unavailable()
        number = next(self._ids)
        answer = self._asked[number] = asyncio.get_running_loop().create_future()
        self._supervisor.send(Sessions(number, action, id))
        try:
            return await asyncio.wait_for(answer, timeout_s)
        except TimeoutError:
            raise EngineUnavailable(f"the engine did not answer within {timeout_s:g} s") from None
        finally:
            del self._asked[number]

    def _answer(self, answer: SessionList) -> None:
        future = self._asked.get(answer.number)
        if future is not None and not future.done():
            future.set_result(answer)

    async def close(self) -> None:
        """Ends the process once it has written what is to be kept; requests still running get EngineDied at
        once. Idempotent.
        """
        if self._closing is None:
            self._idle.stop()
            self._closing = asyncio.create_task(self._supervisor.close())
            await asyncio.sleep(0)  # nothing is admitted from here on
            self._fail_all("the engine was closed")
        await asyncio.shield(self._closing)

    def kill(self) -> None:
        """Ends the process at once, even while it is being closed: what it has not written is lost."""
        self._supervisor.kill()

    def _receive(self, events: Events) -> None:
        self._worker = events.stats
        for event in events.outputs:
            stream = self._streams.get(event.id)
            if stream is None:
                continue  # an event of an aborted request, which was on its way
            if isinstance(event, Failed):
                stream.put(self._error(stream, event))
            else:
                stream.put(msgspec.structs.replace(event, id=stream.request.id))

    def _error(self, stream: Stream, event: Failed) -> EngineError:
        """The error as its caller knows it: with the whole deadline, where the process was given the rest."""
        error = from_failed(event)
        expired = isinstance(error, DeadlineExceeded)
        return DeadlineExceeded(stream.request.deadline_s or 0.0) if expired else error

    async def _ready_for(self, stream: Stream) -> None:
        """Waits for a live process, no longer than the request may take."""
        if stream.left_s is None:
            return await self._supervisor.ready()
        try:
            async with asyncio.timeout(max(0.0, stream.left_s)):
                await self._supervisor.ready()
        except TimeoutError:
            raise DeadlineExceeded(stream.request.deadline_s or 0.0) from None

    def _submit(self, stream: Stream) -> None:
        """Sends a request with the rest of its deadline: some may have passed in another process."""
        left = stream.left_s if stream.left_s is None else max(stream.left_s, LEAST_DEADLINE_S)
        request = msgspec.structs.replace(stream.request, id=stream.wire_id, deadline_s=left)
        self._supervisor.send(Submit(request))
        stream.sent = True

    def _time(self, stream: Stream) -> asyncio.TimerHandle | None:
        """A timer for the deadline. The engine keeps deadlines itself; this is for a process that hangs or is
        gone.
        """
        if stream.left_s is None:
            return None
        return asyncio.get_running_loop().call_later(stream.left_s + GRACE_S, self._expire, stream)

    def _expire(self, stream: Stream) -> None:
        if stream.sent and not stream.ended:
            self._supervisor.send(Abort(stream.wire_id))
        stream.put(DeadlineExceeded(stream.request.deadline_s or 0.0))

    def _process_died(self, reason: str) -> None:
        """The process has died: requests that emitted something fail, the others are given to the next
        process, once.
        """
        self._worker = WorkerStats()
        for stream in filter(lambda stream: stream.sent, self._streams.values()):
            if stream.touched or stream.replayed or not self._config.replay:
                stream.put(EngineDied(reason))
            else:
                stream.replayed = True

    def _busy(self) -> bool:
        return bool(self._streams or self._asked)

    def _rest(self) -> None:
        self._resting = asyncio.create_task(self._remember_and_rest())

    async def _remember_and_rest(self) -> None:
        """Sends the process to rest. What it knows of sessions is asked for first, to be shown while it
        rests.
        """
        try:
            known = await self.sessions()
        except EngineUnavailable:
            return self._idle.touch()  # the process is being restarted
        if self._busy() or self._supervisor.state != "ready":
            return self._idle.touch()
        self._slept = {one.id: msgspec.structs.replace(one, ram_bytes=0) for one in known[:MOST_SIGNS]}
        self._slept_at = asyncio.get_running_loop().time()
        self._worker = at_rest(self._worker)
        self._supervisor.rest()
        return None

    def _replay(self) -> None:
        self._idle.touch()
        for one in self._slept.values():
            if one.pinned:
                self._supervisor.send(Sessions(next(self._ids), "pin", one.id))
        for id in self._signs:
            self._supervisor.send(Prefetch(id))
        self._signs.clear()
        for stream in self._streams.values():
            if stream.replayed and not stream.ended:
                self._submit(stream)

    def _fail_all(self, reason: str) -> None:
        for stream in self._streams.values():
            stream.put(EngineDied(reason))


def refusal(config: EngineConfig) -> str:
    """Why the cache's folder may not be used at all; "" where it may, or where only trying can tell."""
    if config.cache_dir is None or config.cache_ram == 0:
        return ""
    try:
        return look_at(Path(config.cache_dir).expanduser()).why
    except (OSError, ValueError, RuntimeError):
        return ""  # the engine tries, reports what is wrong, and serves without it


def at_rest(last: WorkerStats) -> WorkerStats:
    """The figures of a process that has gone to rest: its counters, and what it left on disk."""
    cache = msgspec.structs.replace(last.cache, ram_bytes=0, sessions=0)
    nothing = dict.fromkeys(
        ("running", "waiting", "batch_size", "cache_bytes", "memory_bytes", "rss_bytes"), 0
    )
    return msgspec.structs.replace(last, cache=cache, **nothing)
