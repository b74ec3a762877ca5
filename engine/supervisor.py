"""Keeps one engine process alive: starts it, notices its end or its silence, restarts it with back-off."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from engine.config import EngineConfig
from engine.errors import EngineFailed, EngineUnavailable
from engine.frames import Events, FromWorker, Load, LoadFailed, Ready, SessionList, ToWorker
from engine.process import EngineProcess, launch
from engine.types import Finished, ModelInfo

log = logging.getLogger("engine.supervisor")

State = Literal["starting", "ready", "restarting", "resting", "waking", "failed", "closed"]
LOAD_MARGIN = 1.5  # times as long as the last load took, before a request gives up waiting for another


@dataclass(frozen=True, slots=True)
class Backoff:
    """Seconds before the n-th restart in a row: none before the first, then doubling up to a ceiling.

    A process that has finished a request, or has lived for healthy_s, ends such a row.
    """

    first: float = 0.2
    ceiling: float = 15.0
    healthy_s: float = 30.0

    def delay(self, attempt: int) -> float:
        """The wait in seconds. attempt: counts from 0."""
        return 0.0 if attempt == 0 else min(self.ceiling, self.first * 2.0 ** min(attempt - 1, 30))


class Supervisor:
    """Keeps one engine process alive.

    on_events: gets each Events frame.
    on_sessions: gets each answer about sessions.
    on_ready: called when a process has come up.
    on_death: called when it is gone, with the reason.
    """

    def __init__(
        self,
        config: EngineConfig,
        *,
        on_events: Callable[[Events], None],
        on_ready: Callable[[], None],
        on_death: Callable[[str], None],
        on_sessions: Callable[[SessionList], None] | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        self._config = config
        self._on_events = on_events
        self._on_ready = on_ready
        self._on_death = on_death
        self._on_sessions = on_sessions
        self._backoff = backoff or Backoff()
        self._process: EngineProcess | None = None
        self._loaded: asyncio.Future[ModelInfo] | None = None
        self._served = False  # whether the current process has finished a request
        self._ready = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._leaving: asyncio.Task[None] | None = None  # the end of a process that is to rest
        self._wanted = asyncio.Event()  # whether a process that rests, or is about to, is to be started again
        self._load_s = 0.0  # seconds that the last process took to load its model
        self._began = 0.0
        self.state: State = "closed"
        self.reason = "not started"
        self.restarts = 0

    @property
    def pid(self) -> int:
        """The id of the current process; 0 when there is none."""
        return self._process.pid if self._process is not None else 0

    async def start(self) -> ModelInfo:
        """Starts a process and waits for its model. Raises EngineFailed; a first start is not retried."""
        self._set("starting", f"loading {self._config.model}")
        try:
            info = await self._launch()
        except EngineFailed as error:
            self._set("failed", str(error))
            raise
        self._task = asyncio.create_task(self._keep_alive(), name="engine-supervisor")
        return info

    async def ready(self) -> None:
        """Waits for a live process. Raises EngineUnavailable when none comes in time."""
        if self._ready.is_set():
            return
        self.wake()
        if self.state not in ("starting", "restarting", "waking"):
            raise self.unavailable()
        try:
            longest = self._config.ready_wait_s + LOAD_MARGIN * self._load_s
            await asyncio.wait_for(self._ready.wait(), longest)
        except TimeoutError:
            raise self.unavailable() from None

    def unavailable(self) -> EngineUnavailable:
        """The error that says why nothing can be computed now, and when to ask again: once the model is
        loaded.
        """
        loading = self._began + self._load_s - asyncio.get_running_loop().time()
        return EngineUnavailable(f"the engine is {self.state}: {self.reason}", max(1.0, loading))

    def send(self, frame: ToWorker) -> None:
        """Sends a frame to the live process. Frames to a dead one are dropped; its requests were told."""
        if self._process is not None and self._leaving is None:
            self._process.send(frame)

    def rest(self) -> None:
        """Ends the process, when it has written what is to be kept, until wake(). For a process that is ready
        and has nothing to do: what is sent to it from here on is lost.
        """
        assert self._process is not None
        assert self._task is not None
        self._set("resting", "no request came for some time")
        self._wanted.clear()
        self._leaving = asyncio.create_task(self._process.end())
        self._task.cancel()
        self._task = asyncio.create_task(self._rest(self._leaving), name="engine-supervisor")

    def wake(self) -> None:
        """Starts a process again where one rests, or is ending in order to rest."""
        if self.state == "resting":
            self._set("waking", f"loading {self._config.model}")
            self._wanted.set()

    async def _rest(self, leaving: asyncio.Task[None]) -> None:
        await asyncio.shield(leaving)
        self._process = self._leaving = None
        await self._wanted.wait()
        await self._keep_alive()

    async def close(self) -> None:
        """Ends the process, when it has written what is to be kept, for good. Idempotent."""
        serves = self.state == "ready"
        self._set("closed", "closed")
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        process = self._process
        if self._leaving is not None:
            await self._leaving
        elif process is not None:
            await (process.end() if serves else process.stop())
        self._process = None

    def kill(self) -> None:
        """Ends the process at once; what it has not written is lost."""
        if self._process is not None:
            self._process.kill()

    def _set(self, state: State, reason: str) -> None:
        self.state, self.reason = state, reason
        if state == "ready":
            self._ready.set()
        else:
            self._ready.clear()
        log.info("engine %s: %s", state, reason)

    def _receive(self, frame: FromWorker) -> None:
        match frame:
            case Events(outputs):
                self._served = self._served or any(isinstance(one, Finished) for one in outputs)
                self._on_events(frame)
            case SessionList() if self._on_sessions is not None:
                self._on_sessions(frame)
            case Ready(info) if self._loaded is not None and not self._loaded.done():
                self._loaded.set_result(info)
            case LoadFailed(reason) if self._loaded is not None and not self._loaded.done():
                self._loaded.set_exception(EngineFailed(reason))

    async def _launch(self) -> ModelInfo:
        """Starts one process and loads its model. Raises EngineFailed, leaving no process behind."""
        self._served = False
        self._began = asyncio.get_running_loop().time()
        loaded = self._loaded = asyncio.get_running_loop().create_future()
        try:
            process = await launch(self._receive)
        except OSError as error:
            raise EngineFailed(f"no engine process could be started: {error}") from error
        self._process = process
        process.send(Load(self._config))
        ended = asyncio.create_task(process.ended(self._config.load_timeout_s))
        try:
            await asyncio.wait({loaded, ended}, return_when=asyncio.FIRST_COMPLETED)
            if not loaded.done():
                raise EngineFailed(f"while loading the model: {ended.result()}")
            info: ModelInfo = loaded.result()
        except BaseException:
            await process.stop()
            self._process = None
            raise
        finally:
            ended.cancel()
            await asyncio.gather(ended, return_exceptions=True)
        self._load_s = asyncio.get_running_loop().time() - self._began
        self._set("ready", f"serving {info.path}")
        return info

    async def _keep_alive(self) -> None:
        """Watches the process, if there is one; when it ends, tells, waits, launches the next, forever."""
        loop = asyncio.get_running_loop()
        attempt = 0
        while True:
            if self._process is not None:
                since = loop.time()
                reason = await self._process.ended(self._config.stall_timeout_s)
                self._process = None
                if self._served or loop.time() - since > self._backoff.healthy_s:
                    attempt = 0
                self._process_died(reason)
            await asyncio.sleep(self._backoff.delay(attempt))
            attempt += 1
            try:
                await self._launch()
            except EngineFailed as error:
                self._process_died(str(error))
            else:
                self._on_ready()

    def _process_died(self, reason: str) -> None:
        log.warning("engine restarting: %s", reason)
        self.restarts += 1
        self._set("restarting", reason)
        self._on_death(reason)
