"""Runs a server from its settings to its end: socket, model, HTTP, signals."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import uvicorn
import uvloop
from fastapi import FastAPI

from engine.config import EngineConfig
from engine.errors import EngineError
from engine.limits import raise_descriptors
from engine.resolve import in_full, resolve_model
from proxy.conversation.errors import StartError
from proxy.http.app import create_app
from proxy.http.connection import KEEP_ALIVE_S, HttpConnection
from proxy.http.first_answer import answer_once, unapplied_adapters
from proxy.http.machine import check_machine, watch_descriptors
from proxy.http.routes import Limits
from proxy.http.settings import GIB, Settings
from proxy.http.warming import warm_prompts, warm_up
from proxy.http.welcome import Where, welcome
from proxy.prompts.canonical import ALL_RULES
from proxy.records.ledger import Ledger, LedgerLimits
from proxy.records.request_record import Sink
from proxy.upstreams.base import Upstream
from proxy.upstreams.engine import AnswerSettings, EngineUpstream
from proxy.upstreams.remote.litellm import LiteLLMUpstream, Routing

_log = logging.getLogger(__name__)

# Streams that still run this long after the server was asked to stop get an error event.
_GRACE_S = 5.0
_BACKLOG = 2048
_TICK_S = 1.0
# How long a thread that decodes a large body may keep the event loop waiting each time that the loop has
# something to do: an answer takes dozens of such times, and Python's own 5 ms would add up to a quarter of a
# second.
_SWITCH_S = 0.0005
# Blocking calls are rare and short. asyncio's own pool adds a thread for each call that finds none idle, up
# to four more than there are cores, and keeps them: a server that rested with 30 threads later rested with
# 32.
_BLOCKING_THREADS = 2


class HttpServer(uvicorn.Server):
    """A uvicorn server that leaves signals alone: uvicorn would end the process by the signal, before our
    clean-up. It waits to be told when to end, where uvicorn looks ten times a second.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._ending = asyncio.Event()

    async def end(self) -> None:
        """Begins to end; running requests go on for a while."""
        self.should_exit = True
        self._ending.set()

    async def main_loop(self) -> None:
        while not await self.on_tick(0):  # also renews the date in the responses
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), _TICK_S)

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        return nullcontext()


class Stop:
    """How urgently the server was asked to stop. Once: streams may end. Twice: they are ended at once. Three
    times: not even the prefix cache is written.
    """

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.urgent = asyncio.Event()
        self.abandoned = asyncio.Event()

    def ask(self) -> None:
        if self.urgent.is_set():
            self.abandoned.set()
        if self.asked.is_set():
            self.urgent.set()
        self.asked.set()


def no_progress(text: str) -> None:
    """Shows nothing."""


def serve(
    settings: Settings, announce: Callable[[str], None], progress: Callable[[str], None] = no_progress
) -> None:
    """Serves until SIGINT, SIGTERM or SIGHUP.

    announce: gets the text for the user once the server answers.
    progress: gets a line before anything that may take its time.

    Raises StartError where the server cannot start.
    """
    # Otherwise transformers tells every user that torch is missing, which nothing here needs.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    sys.setswitchinterval(_SWITCH_S)
    uvloop.run(_serve(settings, announce, progress))


def blocking_threads() -> ThreadPoolExecutor:
    """A pool for blocking calls with all of its threads started: otherwise the second one is started whenever
    two calls happen to overlap.
    """
    pool = ThreadPoolExecutor(_BLOCKING_THREADS, "blocking")
    started = threading.Barrier(_BLOCKING_THREADS)
    for _ in range(_BLOCKING_THREADS):
        pool.submit(started.wait)
    return pool


async def _serve(
    settings: Settings, announce: Callable[[str], None], progress: Callable[[str], None]
) -> None:
    stop = Stop()
    loop = asyncio.get_running_loop()
    loop.set_default_executor(blocking_threads())
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        ignored = number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN
        if not ignored:  # nohup asks for that
            loop.add_signal_handler(number, stop.ask)
    prompts = warm_prompts(settings)
    check_machine(settings)
    descriptors = raise_descriptors()
    # Bound first, so that a taken port is found out before a model is loaded.
    with bind(settings.host, settings.port) as listener, _ledger(settings) as ledger:
        upstream = await _unless_stopped(stop.asked, start_upstream(settings, progress))
        if upstream is None:
            return
        warming = asyncio.gather(warm_up(upstream, prompts), watch_descriptors(descriptors))
        try:
            await run_http(upstream, settings, listener, stop, announce, ledger=ledger)
        finally:
            warming.cancel()
            await _close(upstream, stop)
            await asyncio.gather(warming, return_exceptions=True)


async def _close(upstream: Upstream, stop: Stop) -> None:
    """Ends the upstream. The engine first writes what its cache is to keep, unless it is told not to."""
    closing = asyncio.create_task(upstream.close())
    abandoning = asyncio.create_task(stop.abandoned.wait())
    await asyncio.wait({closing, abandoning}, return_when=asyncio.FIRST_COMPLETED)
    if not closing.done():
        upstream.abandon()
    abandoning.cancel()
    await closing


@contextmanager
def _ledger(settings: Settings) -> Iterator[Ledger | None]:
    """The ledger that the settings name. What waits in it is written when the block ends."""
    if settings.ledger is None:
        yield None
        return
    limits = LedgerLimits(
        settings.ledger_rows,
        settings.ledger_mb * 2**20,
        redact=settings.ledger_redact,
        requests=settings.ledger_requests,
        refused=settings.ledger_refused,
    )
    ledger = Ledger.open(settings.ledger, limits)
    try:
        yield ledger
    finally:
        ledger.close()


async def _unless_stopped(stop: asyncio.Event, start: Coroutine[Any, Any, Upstream]) -> Upstream | None:
    """The started upstream; None where the server was stopped before that."""
    starting = asyncio.create_task(start)
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        return await starting if starting.done() else None
    finally:
        for task in (starting, stopping):
            if not task.done():
                task.cancel()
        await asyncio.gather(starting, stopping, return_exceptions=True)


async def start_upstream(settings: Settings, progress: Callable[[str], None] = no_progress) -> Upstream:
    """Finds and loads the model, or what is asked instead of one. progress: as in serve(). Raises
    StartError.
    """
    if settings.upstream:
        progress("asking the upstream servers what they serve ...")
        key = settings.upstream_api_key.get_secret_value() if settings.upstream_api_key else None
        routing = Routing(
            settings.upstream_routing,
            settings.upstream_cooldown_s,
            settings.upstream_retries,
            stop_repetition=settings.stop_repetition,
        )
        return await LiteLLMUpstream.start(settings.upstream, routing, os.environ, key, settings.model)
    try:
        path = await asyncio.to_thread(resolve_model, settings.model)
        config, name = engine_config(settings, path), served_name(settings, path)
        progress(f"loading the model {name} ...")
        upstream = await EngineUpstream.start(config, name, answer_settings(settings))
    except EngineError as error:
        raise StartError(str(error)) from error
    for adapter in unapplied_adapters(path):
        _log.warning("%s is not applied: merge the adapter into the weights (mlx_lm.fuse)", path / adapter)
    try:
        await answer_once(upstream, path)
    except BaseException:
        await upstream.close()
        raise
    return upstream


def answer_settings(settings: Settings) -> AnswerSettings:
    """What of the settings concerns the prompts and answers of the bundled engine's model."""
    return AnswerSettings(
        rules=ALL_RULES - frozenset(settings.no_canonical),
        think_time=settings.think_time,
        stop_repetition=settings.stop_repetition,
        answer_tokens=settings.answer_tokens,
        declared=tuple(one.row() for one in settings.format),
    )


def engine_config(settings: Settings, path: Path) -> EngineConfig:
    """The engine's settings for the model in `path`. Serial decoding admits as many requests as batches do;
    they wait longer.
    """
    batch = 1 if settings.deterministic else settings.max_batch
    return EngineConfig(
        model=str(path),
        max_batch=batch,
        queue_limit=settings.queue_limit + settings.max_batch - batch,
        context_limit=settings.context_limit,
        # a reused prefix was computed in other pieces, and its last bits may differ
        cache_ram=0 if settings.deterministic else in_bytes(settings.cache_ram_gb),
        cache_dir=settings.cache_folder(),
        cache_disk=int(settings.cache_disk_gb * GIB),
        kv_at_rest=settings.kv_at_rest,
        moe_top_k=settings.moe_top_k,
        prompt_lookup=settings.prompt_lookup,
        cache_ram_ttl_s=settings.cache_ram_ttl,
        idle_unload_s=None if settings.idle_unload is None else settings.idle_unload * 60,
        stream_interval_s=settings.stream_interval_ms / 1000,
        log_level=settings.log_level,
    )


def in_bytes(gib: float | None) -> int | None:
    return None if gib is None else int(gib * GIB)


def served_name(settings: Settings, path: Path) -> str:
    """The id that clients see: as set, else the hub id, else the name of the model's directory."""
    if settings.served_model_name is not None:
        return settings.served_model_name
    is_hub_id = settings.model is not None and not in_full(settings.model).is_dir()
    return settings.model if settings.model is not None and is_hub_id else path.name


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. Raises StartError."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
        family, kind, protocol, _, address = found[0]
        # Made by hand, with its protocol: asyncio sets TCP_NODELAY only where it sees that a socket is TCP.
        # Without it every answer waits 40 ms for the client's delayed acknowledgement.
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(_BACKLOG)
        except OSError:
            listener.close()
            raise
        return listener
    except OSError as error:
        # asyncio and socket add the address to strerror, but the message already has it
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error.strerror)
        raise StartError(f"cannot listen on {host} port {port}: {reason}") from error


async def run_http(
    upstream: Upstream,
    settings: Settings,
    listener: socket.socket,
    stop: Stop,
    announce: Callable[[str], None],
    sinks: Sequence[Sink] = (),
    ledger: Ledger | None = None,
) -> None:
    """Answers HTTP on `listener` over a started upstream until asked to stop; streams may then go on for a
    while.

    sinks: get the record of each request, as does the ledger.
    """
    api_keys = tuple(key.get_secret_value() for key in settings.api_key)
    where = Where.of(listener)
    app = create_app(
        upstream,
        policy=settings.guard_policy(),
        sinks=sinks,
        api_keys=api_keys,
        limits=Limits(request_timeout_s=settings.request_timeout_s),
        ledger=ledger,
        cors=settings.cors,
        near=not where.is_open,
        redact=settings.ledger_redact,
    )
    server = _http_server(app)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started and not serving.done():
        await asyncio.sleep(0.005)
    if not api_keys and where.is_open:
        _log.warning("%s", where.warning())
    announce(welcome(where, upstream.models[0].id, settings.guard, bool(api_keys)))
    await _until(serving, stop.asked, None)
    app.state.feed.close()  # an open page would hold its connection
    await server.end()
    if not await _until(serving, stop.urgent, _GRACE_S):
        _log.warning("the server stops: requests that are still running end with an error")
        await _close(upstream, stop)
    if not await _until(serving, asyncio.Event(), _GRACE_S):
        server.force_exit = True
    await serving


def _http_server(app: FastAPI) -> HttpServer:
    config = uvicorn.Config(
        app,
        lifespan="off",
        access_log=False,
        log_config=None,  # the logging of our own, with dates, which never blocks
        log_level="warning",
        server_header=False,
        http=HttpConnection,
        timeout_keep_alive=KEEP_ALIVE_S,
    )
    return HttpServer(config)


async def _until(serving: asyncio.Task[None], event: asyncio.Event, timeout_s: float | None) -> bool:
    """Waits for the server's end, the event or the time; returns whether the server has ended."""
    waiting = asyncio.create_task(event.wait())
    await asyncio.wait({serving, waiting}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    return serving.done()
