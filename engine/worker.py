"""The engine process's main loop, which engine.process starts. One thread owns MLX: drain, step, publish.

Frames (engine.frames) pass over the socket inherited as N. Standard input is a lifeline: the parent holds its
other end and never writes. When the parent is gone, however it died, the read returns and this process exits,
at once while it loads its model, else as soon as what was computed is on disk.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import selectors
import signal
import socket
import threading
import time
from typing import TYPE_CHECKING

from engine.config import EngineConfig
from engine.cpu.blas import keep_float32, prepare_blas
from engine.errors import EngineError
from engine.frames import (
    Abort,
    End,
    Ending,
    Events,
    FromWorker,
    Load,
    LoadFailed,
    Prefetch,
    Ready,
    SessionList,
    Sessions,
    Stop,
    Submit,
    ToWorker,
    encode,
    worker_reader,
)
from engine.heap import one_heap
from engine.limits import kept_limits
from engine.logs import log_to_stderr
from engine.memory import Spare
from engine.outbox import Outbox
from engine.tuning import keep_plans

if TYPE_CHECKING:
    from engine.core import EngineCore
    from engine.outbox import Event

log = logging.getLogger("engine.worker")

READ_SIZE = 1 << 20
NOTICE_S = 10.0  # until a step in progress has ended and the end of the client is seen


class Disconnected(Exception):
    """The client closed its end, so that nobody is left to serve."""


class Link:
    """The socket to the client: reads never wait longer than asked, writes are complete."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._woken, self._waker = socket.socketpair()
        for one in (self._woken, self._waker):
            one.setblocking(False)
        self._selector = selectors.DefaultSelector()  # select() knows no descriptor above 1023
        for one in (sock, self._woken):
            self._selector.register(one, selectors.EVENT_READ, one)
        self._reader = worker_reader()

    def close(self) -> None:
        """Closes what the link has added; the socket stays its owner's."""
        self._selector.close()
        self._woken.close()
        self._waker.close()

    def wake(self) -> None:
        """Makes receive() return, which waits or is about to. From any thread."""
        with contextlib.suppress(OSError):  # so many wakes wait already, or the link is gone
            self._waker.send(b"!")

    def receive(self, timeout_s: float) -> list[ToWorker]:
        """Every frame that has come, waiting at most `timeout_s` for the first. Raises Disconnected."""
        frames: list[ToWorker] = []
        while ready := self._selector.select(timeout_s):
            for key, _ in ready:
                try:
                    data = key.data.recv(READ_SIZE)
                except ConnectionError as error:  # it was killed before it had read all that was sent
                    raise Disconnected from error
                if key.data is self._woken:
                    continue
                if not data:
                    raise Disconnected
                frames += self._reader.feed(data)
            timeout_s = 0
        return frames

    def send(self, frame: FromWorker) -> None:
        """Sends a frame. Raises Disconnected."""
        try:
            self._socket.sendall(encode(frame))
        except OSError as error:
            raise Disconnected from error


class Worker:
    """Serves one core over one link until the client asks it to end or goes away."""

    def __init__(self, link: Link, core: EngineCore, config: EngineConfig) -> None:
        self._link = link
        self._core = core
        self._heartbeat_s = config.heartbeat_s
        self._outbox = Outbox(config.stream_interval_s)
        self._spare = Spare(core.release)
        self._said = 0.0
        self._unsettled = True

    def run(self) -> None:
        """Serves until it is asked to end. Raises Disconnected."""
        while True:
            events: list[Event] = []
            frames = self._link.receive(self._rest_s())
            for frame in frames:
                match frame:
                    case Submit(request):
                        refused = self._core.submit(request)
                        events += [refused] if refused else []
                    case Abort(id):
                        self._core.abort(id)
                        self._outbox.forget(id)
                    case Stop(id):
                        self._core.stop(id)
                    case Sessions(number, action, id):
                        known = self._core.reuse.handle(action, id)
                        self._link.send(SessionList(number, self._core.reuse.listed(), known))
                    case Prefetch(id):
                        self._core.reuse.sessions.prefetch(id)
                    case End():
                        return
                    case Load():
                        log.warning("a second load frame was ignored")
            if frames:
                self._publish(now=True)  # what has come may make the next step a long one
            if self._core.busy:
                self._spare.work()
                events += self._step()
            else:
                self._unsettled = self._core.rest()
                self._spare.idle(time.monotonic())
            self._outbox.put(events, time.monotonic())
            self._publish(now=not self._core.calm)

    def _rest_s(self) -> float:
        idle = not self._core.busy
        return 0.0 if idle and self._unsettled else self._core.rest_s(self._heartbeat_s)

    def _step(self) -> list[Event]:
        try:
            return self._core.step()
        except Exception as error:  # the process boundary: a step may raise anything, the engine must not end
            log.exception("a model step failed: the requests in it fail, and the generator is rebuilt")
            return self._core.fail_all(f"a model step failed: {type(error).__name__}: {error}")

    def _publish(self, now: bool) -> None:
        """Sends what is due, or with `now` everything; a sign of life at least once per heartbeat, also
        during a long prefill.
        """
        clock = time.monotonic()
        if now or self._outbox.due(clock) or clock - self._said >= self._heartbeat_s:
            events = self._outbox.take()
            if not events and clock - self._said < self._heartbeat_s:
                return
            self._link.send(Events(events, self._core.stats()))
            self._said = clock
            self._core.footprint.watch()


class Lifeline:
    """Ends the process when its parent is gone, whatever the main thread is doing by then."""

    def __init__(self) -> None:
        self._notice_s = 0.0
        self._until = 0.0

    def serves(self) -> None:
        """From now on there is something to be kept, and the main thread sees the end by itself."""
        self._notice_s = NOTICE_S

    def allow(self, seconds: float) -> None:
        """The main thread is ending the process, which takes so long at most."""
        self._until = time.monotonic() + seconds

    def watch(self) -> None:
        """Waits for the end of the parent, and never returns; to be run by a thread of its own."""
        while os.read(0, 1):
            pass
        gone = time.monotonic()
        while time.monotonic() < max(gone + self._notice_s, self._until):
            time.sleep(0.02)
        os._exit(0)


def serve(link: Link, lifeline: Lifeline) -> None:
    """Loads what the first frame names, answers Ready or LoadFailed, serves, and writes what is to be kept.

    Raises Disconnected.
    """
    frames: list[ToWorker] = []
    while not frames:
        frames = link.receive(1.0)
    first, *rest = frames
    if not isinstance(first, Load) or rest:
        raise Disconnected
    config = first.config
    logging.getLogger().setLevel(config.log_level.upper())
    started = time.monotonic()
    try:
        keep_float32()
        keep_plans()
        blas = prepare_blas(config.blas)
        # These import MLX, which must find the BLAS already loaded.
        with kept_limits():
            from engine.core import EngineCore
            from engine.model import load_model
            from engine.warm_up import warm_up

        model = load_model(config, blas)
        core = EngineCore(model, config)
    except Exception as error:  # the process boundary: a model directory may hold anything
        log.debug("the model could not be loaded", exc_info=True)  # the parent reports it in one line
        reason = str(error) if isinstance(error, EngineError) else f"{type(error).__name__}: {error}"
        in_one_line = " ".join(reason.split())  # libraries write paragraphs
        link.send(LoadFailed(f"cannot load {config.model}: {in_one_line}"))
        return
    try:
        warm_up(model, config)
    except Exception:  # as above: what cannot be computed now may never be asked for
        log.warning("the first shapes could not be computed before the first request", exc_info=True)
    log.info("loaded %s in %.1f s, %s", config.model, time.monotonic() - started, blas)
    link.send(Ready(core.info))
    lifeline.serves()
    core.wakes(link.wake)
    try:
        Worker(link, core, config).run()
    finally:
        end(link, lifeline, core)


def end(link: Link, lifeline: Lifeline, core: EngineCore) -> None:
    """Writes what was computed to disk, within a time that fits what waits to be written."""
    try:
        waiting, grace_s = core.wind_up()
        lifeline.allow(grace_s + NOTICE_S)
        with contextlib.suppress(Disconnected):
            link.send(Ending(waiting, grace_s))
        if waiting:
            log.info("%d MB of the prefix cache are written, for %.0f s at most", waiting >> 20, grace_s)
        if left := core.close(grace_s):
            log.warning("%d of %d MB of the prefix cache were not written", left >> 20, waiting >> 20)
    except Exception:  # the process boundary: the process ends all the same
        log.exception("not all of the prefix cache could be written")


def main() -> None:
    one_heap()
    parser = argparse.ArgumentParser(prog="engine.worker")
    parser.add_argument("--fd", type=int, required=True, help="inherited socket to the client")
    arguments = parser.parse_args()
    # signals for the whole group; the parent decides
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    log_to_stderr("warning", "%(levelname)s %(name)s: %(message)s")
    lifeline = Lifeline()
    threading.Thread(target=lifeline.watch, name="lifeline", daemon=True).start()
    try:
        with socket.socket(fileno=arguments.fd) as sock:
            serve(Link(sock), lifeline)
    except Disconnected:
        log.info("the client is gone")
    logging.shutdown()
    os._exit(0)  # without waiting for threads whose work nobody needs any more


if __name__ == "__main__":
    main()
