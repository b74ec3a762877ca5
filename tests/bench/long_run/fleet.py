"""The servers of the long run: started, stopped, killed, and looked at while they work (Linux)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from proxy.ab.processes import end_group, free_port
from tests.bench.resting import Held
from tests.bench.servers import ROOT, engine_pid

START_S = 180.0
STOP_S = 90.0  # an engine may write for a minute before it ends
_POLL_S = 0.1
# What of /metrics is written down, summed over its labels but for tiers.
GAUGES = (
    "fortieth_requests_in_flight",
    'fortieth_prefix_cache_bytes{tier="ram"}',
    'fortieth_prefix_cache_bytes{tier="disk"}',
    'fortieth_prefix_cache_limit_bytes{tier="ram"}',
    'fortieth_prefix_cache_limit_bytes{tier="disk"}',
)


@dataclass(slots=True)
class Disturbance:
    """Something that was done to a server. began, back: by time.monotonic(); back is None until it answers
    again. asked: requests that were under way.
    """

    deed: str
    began: float
    back: float | None = None
    asked: int = 0


@dataclass(slots=True)
class ServerUnderTest:
    """One server and its folder, which outlives its processes. options: of `fortieth serve`.

    left: processes of it that were still there long after it had ended. wrong: what no server may do.
    """

    name: str
    options: Sequence[str]
    folder: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None
    disturbances: list[Disturbance] = field(default_factory=list)
    in_flight: int = 0
    left: list[int] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    lifetime: int = 0

    @property
    def log(self) -> Path:
        return self.folder / "server.log"

    async def start(self) -> None:
        """Returns when it answers. Raises RuntimeError where it does not come up."""
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "proxy", "serve", *self.options, "--port", str(self.port)]
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                command,
                env={**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.folder,
                start_new_session=True,
            )
        self.lifetime += 1
        until = time.monotonic() + START_S
        while not await self.answers():
            if self.process.poll() is not None or time.monotonic() > until:
                end_group(self.process)
                raise RuntimeError(f"{self.name} did not come up: {self.log.read_text()[-600:]}")
            await asyncio.sleep(_POLL_S)

    async def answers(self) -> bool:
        async with httpx.AsyncClient(timeout=10) as client:
            with contextlib.suppress(httpx.HTTPError):
                return (await client.get(f"http://127.0.0.1:{self.port}/health")).status_code == 200
        return False

    async def restart(self, number: signal.Signals) -> None:
        """Ends the process by a signal and starts the server again, as a service manager would."""
        assert self.process is not None
        deed = "restart" if number == signal.SIGTERM else "kill -9"
        with self.disturbed(deed):
            engine = engine_pid(self.process.pid)
            os.kill(self.process.pid, number)
            try:
                await asyncio.to_thread(self.process.wait, STOP_S)
            except subprocess.TimeoutExpired:
                self.wrong.append(f"{self.name}: it did not stop within {STOP_S:.0f} s of SIGTERM")
                end_group(self.process)
            if number == signal.SIGTERM and self.process.returncode:
                self.wrong.append(f"{self.name}: exit code {self.process.returncode} after SIGTERM")
            await self.start()
        if engine:
            await self._gone(engine)

    async def kill_engine(self) -> None:
        """Kills the engine process, and waits until a live one has answered."""
        assert self.process is not None
        with self.disturbed("kill -9 of the engine"):
            engine = engine_pid(self.process.pid)
            if not engine:
                return
            os.kill(engine, signal.SIGKILL)
            until = time.monotonic() + START_S
            while engine_pid(self.process.pid) in (0, engine) or not await self.answers():
                if time.monotonic() > until:
                    self.wrong.append(f"{self.name}: no engine {START_S:.0f} s after it was killed")
                    return
                await asyncio.sleep(_POLL_S)

    @contextlib.contextmanager
    def disturbed(self, deed: str) -> Iterator[None]:
        """Notes that something is done to the server, until it answers again."""
        one = Disturbance(deed, time.monotonic(), asked=self.in_flight)
        self.disturbances.append(one)
        try:
            yield
        finally:
            one.back = time.monotonic()

    def was_disturbed(self, since: float) -> bool:
        """Whether anything was done to the server between then and now."""
        return any(one.back is None or one.back >= since for one in self.disturbances)

    async def _gone(self, pid: int) -> None:
        until = time.monotonic() + STOP_S
        while Path(f"/proc/{pid}").exists():
            if time.monotonic() > until:
                self.left.append(pid)
                return
            await asyncio.sleep(_POLL_S)

    def stop(self) -> None:
        """Ends it for good, and notes an exit that nobody asked for."""
        if self.process is None:
            return
        if self.process.poll() is not None:
            self.wrong.append(f"{self.name}: it ended by itself, exit code {self.process.returncode}")
        end_group(self.process)

    def held(self) -> dict[str, Held]:
        """What the server's process and its engine's hold; nothing of one that is gone."""
        assert self.process is not None
        pids = {"server": self.process.pid, "engine": engine_pid(self.process.pid)}
        found: dict[str, Held] = {}
        for name, pid in pids.items():
            with contextlib.suppress(OSError):
                if pid:
                    found[name] = Held.of([pid])
        return found

    async def gauges(self) -> dict[str, float]:
        """Those of GAUGES; nothing while it does not answer."""
        async with httpx.AsyncClient(timeout=10) as client:
            try:
                text = (await client.get(f"http://127.0.0.1:{self.port}/metrics")).text
            except httpx.HTTPError:
                return {}
        found: dict[str, float] = {}
        for line in text.splitlines():
            named, _, value = line.rpartition(" ")
            for gauge in GAUGES:
                if named == gauge or (named.startswith(f"{gauge}{{") and "{" not in gauge):
                    found[gauge] = found.get(gauge, 0.0) + float(value)
        return found


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files below a folder; 0 for nothing, and for what is deleted meanwhile."""
    total = 0
    with contextlib.suppress(OSError):
        if not path.is_dir():
            return path.stat().st_size
        for one in path.iterdir():
            total += size_of(one)
    return total
