"""One client through many runs: its driver is fed jobs, each within a time limit, and what came is judged."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO, Any

from proxy.cli.connections.base import ServerAddress
from proxy.cli.connections.table import CLIENTS
from tests.clients.drivers.common import CONTEXT_WINDOW
from tests.clients.environments import Environment
from tests.clients.faults import Fault
from tests.clients.recorder import listening
from tests.clients.upstream import MODEL, FaultyUpstream, Play, step_done
from tests.clients.witness import OnWire, Witness, on_wire, port_of, unasked

# The arm in which the bundled model answers.
BUNDLED = "bundled"
START_S = 120.0
# One run with a real model may take this long: on a busy CPU a prompt of 25,000 tokens takes minutes.
REAL_MODEL_S = 900.0
# A further turn of a session may take this long.
TURN_S = 8.0


class Outcome(StrEnum):
    """How a loop ended, as the client's user sees it. finished: with the answer. silent: with other words or
    none, and no error. died: with an error. hung: not within its time.
    """

    finished = "finished"
    silent = "silent"
    died = "died"
    hung = "hung"


@dataclass(frozen=True, slots=True)
class Case:
    """What one run is to be. arm: `bare`, how fortieth is to give up, or BUNDLED. base_url: where the client
    goes. turns: of the tool (see Play). model: its id, where a real one answers; context: of it, in tokens.
    """

    arm: str
    base_url: str
    fault: Fault | None
    times: int
    stream: bool
    turns: int = 1
    model: str = MODEL
    context: int = CONTEXT_WINDOW


@dataclass(frozen=True, slots=True)
class Run:
    """What one came to. executed: how often the tool was; wrongly: with other than the right arguments, or,
    where a real model decides what is looked up, without a valid call that asked for it. asked: requests that
    reached the model. words: the client's last ones, or its error's. mendable: the wrong call was none (see
    Play). wire: where a real model answered.
    """

    client: str
    version: str
    case: Case
    outcome: Outcome
    executed: int
    wrongly: int
    asked: int
    words: str
    mendable: bool = False
    wire: OnWire | None = None


def runs(environment: Environment, cases: Iterable[Case], upstream: FaultyUpstream) -> Iterator[Run]:
    """The cases one after the other; a driver that dies or hangs is started anew for the next."""
    driver: Driver | None = None
    try:
        for case in cases:
            confined = case.arm == BUNDLED and environment.client.has_shell
            if driver is not None and driver.confined is not confined:
                driver.stop()
            if driver is None or not driver.alive:
                driver = Driver(environment, confined)
            yield _run(environment, driver, case, upstream)
    finally:
        if driver is not None:
            driver.stop()


def _run(environment: Environment, driver: Driver, case: Case, upstream: FaultyUpstream) -> Run:
    client = environment.client
    identity = f"t{secrets.token_hex(4)}"
    play = Play(client.task, case.fault, case.times, secrets.token_hex(6), case.turns)
    upstream.plays[identity] = play
    steps = [play.place(turn).recorded for turn in range(1, case.turns)]
    seconds = REAL_MODEL_S if case.arm == BUNDLED else client.seconds + TURN_S * len(steps)
    with _watched(case) as (base_url, witness):
        job = {
            "id": identity,
            "base_url": base_url,
            "model": case.model,
            "context_window": case.context,
            "prompt": f"This is task {identity}. {client.prompt}",
            "stream": case.stream,
            "token": play.token,
            "recorded": client.task.recorded,
            "steps": [[recorded, step_done(step)] for step, recorded in enumerate(steps, 1)],
            "client": client.connected_as,
            "code": code_for(client.connected_as, base_url, case.model, case.context),
            "seconds": seconds - 10,
        }
        result = driver.run(job, seconds)
        executions = result.get("executions", [])
        wrongly = sum(one not in (client.task.recorded, *steps) for one in executions)
        wire = None
        if witness is not None:
            wire, wrongly = (
                on_wire(witness, case.base_url),
                len(unasked(executions, witness, client.task.tool)),
            )
    words = str(result.get("error") or result.get("answer") or "")
    return Run(
        client.name,
        environment.version,
        case,
        judge(result, play.token if witness else play.answer),
        len(executions),
        wrongly,
        wire.answers if wire else play.asked,
        " ".join(words.split())[-300:],
        play.mendable,
        wire,
    )


@contextlib.contextmanager
def _watched(case: Case) -> Iterator[tuple[str, Witness | None]]:
    """The base_url for one run: a real model's server is watched, since what it answers is not known."""
    if case.arm != BUNDLED:
        yield case.base_url, None
        return
    with listening(Witness(port_of(case.base_url))) as witness:
        yield f"http://127.0.0.1:{witness.port}/v1", witness


def code_for(name: str, base_url: str, model: str = MODEL, context: int = CONTEXT_WINDOW) -> str:
    """The lines that `fortieth connect` prints for a library; "" for an agent."""
    server = ServerAddress(base_url.removesuffix("/v1"), model, context_window=context)
    return CLIENTS[name].settings_for(server, Path.home(), {}).code


def judge(result: dict[str, Any], answer: str) -> Outcome:
    """answer: what only a right execution could tell."""
    if result.get("hung"):
        return Outcome.hung
    if answer in result["answer"]:
        return Outcome.finished
    return Outcome.died if result["error"] else Outcome.silent


class Driver:
    """A driver's process in a folder of its own, which is its HOME too.

    confined: it can write there alone, since a real model decides what is run in its client's shell.
    """

    def __init__(self, environment: Environment, confined: bool = False) -> None:
        self.confined = confined
        self._folder = tempfile.TemporaryDirectory(prefix="fortieth-client-", ignore_cleanup_errors=True)
        home = Path(self._folder.name)
        confining = (sys.executable, "-m", "tests.clients.confine", str(home)) if confined else ()
        self._log = (home / "stderr").open("w+", errors="replace")
        self._process = subprocess.Popen(
            [*confining, *environment.command()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            cwd=home,
            env=environment.variables(home),
            text=True,
            start_new_session=True,
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin: IO[str] = self._process.stdin
        self._stdout: IO[str] = self._process.stdout
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._ready = self._next(START_S)

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def run(self, job: dict[str, Any], seconds: float) -> dict[str, Any]:
        """What the driver says of the job, or {"hung": True}, after which it is stopped."""
        if "error" in self._ready or "hung" in self._ready:
            said = self._said()
            self.stop()
            return {"answer": "", "error": f"the driver did not start: {said}"}
        try:
            self._stdin.write(json.dumps(job) + "\n")
            self._stdin.flush()
        except BrokenPipeError:
            return {"answer": "", "error": f"the driver ended: {self._said()}"}
        result = self._next(seconds)
        if result.get("hung"):
            self.stop()
        return result

    def _read(self) -> None:
        for line in self._stdout:
            self._lines.put(line)
        self._lines.put(None)

    def _next(self, seconds: float) -> dict[str, Any]:
        try:
            line = self._lines.get(timeout=seconds)
        except queue.Empty:
            return {"hung": True}
        if line is None:
            return {"answer": "", "error": f"the driver ended: {self._said()}"}
        said: dict[str, Any] = json.loads(line)
        return said

    def _said(self) -> str:
        self._log.flush()
        return Path(self._log.name).read_text(errors="replace")[-600:]

    def stop(self) -> None:
        """Ends the driver and all that it started."""
        if self.alive:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._reader.join(10)
        for pipe in (self._stdin, self._stdout):
            with contextlib.suppress(OSError):
                pipe.close()
        self._log.close()
        self._folder.cleanup()
