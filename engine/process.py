"""One engine process, seen from its parent: start it, talk to it, kill it when it is silent, see it end.

The process ends with its parent: it holds the read end of a pipe (its standard input) whose write end only
the parent has, and exits when that closes. It also exits when the frame socket closes, and when it is
asked to; before that it writes what is to be kept.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from pathlib import Path
from typing import cast

from engine.frames import BrokenFrame, End, Ending, FromWorker, ToWorker, client_reader, encode

log = logging.getLogger("engine.supervisor")

ASKED_S = 12.0  # until a process that was asked to end has finished a step and computed what it keeps
PATIENT_S = 2.0  # of writing, after which the log says why the end takes so long
GRACE_S = 2.0  # that a process which was asked to end may take before it is killed
SECOND_LOOK_S = 0.2  # what waits in the socket is read before silence counts: our own loop may have been busy
STDERR = 2
# Imports this very copy of the package, whatever else has its name, and leaves the order of sys.path alone:
# if our folder came before the standard library's, so would everything that is installed beside us.
START = """\
import importlib.util, runpy, sys
spec = importlib.util.spec_from_file_location("engine", sys.argv.pop(1))
sys.modules["engine"] = package = importlib.util.module_from_spec(spec)
spec.loader.exec_module(package)
runpy.run_module("engine.worker", run_name="__main__", alter_sys=True)
"""
PACKAGE = Path(__file__).resolve().with_name("__init__.py")


class Connection(asyncio.Protocol):
    """The parent's end of the frame socket. Frames are passed on as they come, without a task in between."""

    def __init__(self, on_frame: Callable[[FromWorker], None]) -> None:
        self._on_frame = on_frame
        self._reader = client_reader()
        self._transport: asyncio.Transport | None = None
        self.lost = asyncio.Event()
        self.told_end = asyncio.Event()
        self.ending: Ending | None = None  # what the process said about its end
        self.last_seen = 0.0
        self.error = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # a stream socket's, on every event loop

    def data_received(self, data: bytes) -> None:
        self.last_seen = asyncio.get_running_loop().time()
        try:
            for frame in self._reader.feed(data):
                if isinstance(frame, Ending):
                    self.ending = frame
                    self.told_end.set()
                else:
                    self._on_frame(frame)
        except BrokenFrame as error:
            self.error = f"broken frame: {error}"
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()

    def send(self, frame: ToWorker) -> None:
        """Queues a frame. Nothing happens when the connection is gone: its loss is reported elsewhere."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(encode(frame))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class EngineProcess:
    """A running engine process and its connection. Made by launch()."""

    def __init__(self, process: Process, connection: Connection) -> None:
        self._process = process
        self._connection = connection

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, frame: ToWorker) -> None:
        """Queues a frame. Nothing happens when the process is gone."""
        self._connection.send(frame)

    async def ended(self, silence_s: float) -> str:
        """Waits until the process is gone or has been silent for `silence_s`, ends it, and returns why."""
        loop = asyncio.get_running_loop()
        self._connection.last_seen = max(self._connection.last_seen, loop.time())
        while not self._connection.lost.is_set():
            left = self._connection.last_seen + silence_s - loop.time()
            if left <= -SECOND_LOOK_S:
                await self.stop(grace_s=0)
                return f"the engine process made no progress for {silence_s:.0f} s and was killed"
            try:
                await asyncio.wait_for(self._connection.lost.wait(), max(left, SECOND_LOOK_S))
            except TimeoutError:
                continue
        await self.stop()
        return (
            self._connection.error or f"the engine process ended: {describe_exit(self._process.returncode)}"
        )

    async def end(self) -> None:
        """Has a process that serves write what is to be kept, waits for that as long as it said it may take,
        and stops it. Idempotent.
        """
        self.send(End())
        gone = asyncio.ensure_future(self._process.wait())
        told = asyncio.ensure_future(self._connection.told_end.wait())
        try:
            await asyncio.wait({gone, told}, timeout=ASKED_S, return_when=asyncio.FIRST_COMPLETED)
            if (ending := self._connection.ending) is not None:
                await asyncio.wait({gone}, timeout=PATIENT_S)
                if not gone.done():
                    log.warning(
                        "%d MB of the prefix cache are being written to disk, for %.0f s at most",
                        ending.waiting >> 20,
                        ending.grace_s,
                    )
                    await asyncio.wait({gone}, timeout=ending.grace_s)
        finally:
            gone.cancel()
            told.cancel()
            await self.stop()

    def kill(self) -> None:
        """Ends the process at once: what waits to be written is lost."""
        if self._process.returncode is None:
            self._process.kill()

    async def stop(self, grace_s: float = GRACE_S) -> None:
        """Closes the connection and the lifeline, and kills the process if it has not ended after `grace_s`.
        Idempotent.
        """
        self._connection.close()
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), max(grace_s, 0.001))
        except TimeoutError:
            self.kill()
            await self._process.wait()


async def launch(on_frame: Callable[[FromWorker], None]) -> EngineProcess:
    """Starts `engine.worker` and connects to it. Raises OSError when no process can be started."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with theirs:
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-P", "-c", START, str(PACKAGE), "--fd", str(theirs.fileno())),
                stdin=PIPE,
                stdout=STDERR,  # libraries print; our own standard output belongs to the caller
                pass_fds=(theirs.fileno(),),
                env=child_environment(),
            )
        except OSError:
            ours.close()
            raise
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_unix_connection(lambda: Connection(on_frame), sock=ours)
    return EngineProcess(process, connection)


def child_environment() -> dict[str, str]:
    """Ours, for a process whose model is a directory by now."""
    quiet = {"TOKENIZERS_PARALLELISM": "false", "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1"}
    return {**quiet, **os.environ, "HF_HUB_OFFLINE": "1"}


def describe_exit(code: int | None) -> str:
    """`exit code 3`, or `signal 9 (SIGKILL)`."""
    if code is None or code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {-code} ({signal.Signals(-code).name})"
    except ValueError:
        return f"signal {-code}"
