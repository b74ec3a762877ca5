"""`python -m tests.bench.long_run FOLDER` (make soak): two hours of agent loops over two servers that are
restarted, killed and left by their clients (Linux).

One server has the bundled model in 4 bits, decoded hot; the other has an upstream that writes right calls
wrongly, or fails. In the first quarter of the time both servers are restarted and killed, in the second the
engine process and the upstream are; then what the servers keep of past answers is filled, and in the rest of
the time only clients hang up, and nothing may grow. Writes samples.csv and report.html into the folder. Exits
with 1 where a bar is missed, with 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.resolve import BUNDLED, bundled
from proxy.cli.interrupts import until_interrupted
from tests.bench.long_run.agents import Agent, Tally
from tests.bench.long_run.corrupted import MODEL, SILENCE_S, CorruptedModel, corrupted_model
from tests.bench.long_run.dialects import Sdks
from tests.bench.long_run.filling import STORED, fill
from tests.bench.long_run.fleet import GAUGES, ServerUnderTest, size_of
from tests.bench.long_run.report import write_page
from tests.bench.long_run.samples import Row, SampleFile
from tests.bench.long_run.verdicts import Bar, bars

ENGINE, UPSTREAM = "engine", "upstream"
ROUND_S = 1200.0  # of the whole time has one round of restarts and one of crashes
OUT_S = 3.0  # that an upstream is away
QUIET_S = 60.0  # that what still runs at the end may take to be gone
LEDGER_MB = 16
# Budgets that are full within minutes, so that what still grows afterwards is a leak.
_COMMON = f'guard = "full"\nlog_level = "warning"\nledger = "ledger.sqlite"\nledger_mb = {LEDGER_MB}\n'
_ENGINE = 'cache_dir = "cache"\ncache_ram_gb = 0.0625\ncache_disk_gb = 0.25\n'
_REMOTE = 'cache_dir = "off"\n'


@dataclass(frozen=True, slots=True)
class Duration:
    """How long everything takes.

    seconds: of the whole run; more where the last deed is late.
    every_s: between two samples.
    agents: on each server.
    pause_s: between two turns of an agent, at most.
    most_deeds: restarts, and crashes.
    stored: answers that each server is asked for after them, which fill what it keeps.
    """

    seconds: float
    every_s: float
    agents: int
    pause_s: float
    most_deeds: int = 1000
    stored: int = STORED

    @property
    def steady(self) -> float:
        """From here on nothing may grow: an eighth of the time after the last crash, the caches are full."""
        return self.seconds * 5 / 8


Deed = Callable[[], Awaitable[None]]


class LongRun:
    """Servers, agents, and what is seen of them."""

    def __init__(self, folder: Path, duration: Duration, behind: CorruptedModel) -> None:
        self._duration = duration
        self._behind = behind
        self.tally = Tally()
        self.servers = [
            _server(folder / ENGINE, ENGINE, _COMMON + _ENGINE, str(bundled(BUNDLED[2]))),
            _server(folder / UPSTREAM, UPSTREAM, _COMMON + _REMOTE + _table(behind.base_url)),
        ]
        self._began = 0.0
        self._until = float("inf")
        self._may_ask = asyncio.Event()
        self._may_ask.set()

    async def run(self, samples: SampleFile) -> None:
        """Plays for the whole time; everything is stopped when it returns, however it ends."""
        try:
            await asyncio.gather(*(server.start() for server in self.servers))
            self._began = time.monotonic()
            async with asyncio.TaskGroup() as watched:  # what fails in watching ends the run
                watching = watched.create_task(self._watch(samples))
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._disturb())
                    for server in self.servers:
                        group.create_task(self._agents(server))
                await self._settle()
                watching.cancel()
        finally:
            for server in self.servers:
                await asyncio.to_thread(server.stop)

    async def _agents(self, server: ServerUnderTest) -> None:
        sdks = Sdks(server.port)
        behind = self._behind if server.name == UPSTREAM else None
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(self._duration.agents):
                    how = (self._duration.pause_s, self._is_over, self._may_ask)
                    agent = Agent(number, server, sdks, _model(server), self.tally, behind, *how)
                    group.create_task(agent.run())
        finally:
            await sdks.close()

    def _is_over(self) -> bool:
        return time.monotonic() >= self._until

    async def _disturb(self) -> None:
        seconds = self._duration.seconds
        for at, deeds in schedule(seconds, self._duration.most_deeds, *self._deeds()):
            await asyncio.sleep(max(0.0, self._began + at - time.monotonic()))
            await asyncio.gather(*(deed() for deed in deeds))
        until = max(self._began + self._duration.steady, time.monotonic() + seconds / 8)
        self._may_ask.clear()
        await asyncio.gather(
            *(
                fill(server, _model(server), self.tally, self._duration.stored, until)
                for server in self.servers
            )
        )
        self._may_ask.set()
        self._until = max(self._began + seconds, time.monotonic() + seconds / 4)

    def _deeds(self) -> tuple[list[list[Deed]], list[list[Deed]]]:
        """Restarts and kills; crashes of what stands behind the servers."""
        engine, remote = self.servers
        term, kill = signal.SIGTERM, signal.SIGKILL
        restarts: list[list[Deed]] = [
            [lambda: engine.restart(kill)],
            [lambda: remote.restart(term)],
            [lambda: engine.restart(term)],
            [lambda: remote.restart(kill)],
        ]
        return restarts, [[engine.kill_engine, self._outage]]

    async def _outage(self) -> None:
        """The upstream cuts every connection that it gets, as one that is starting again."""
        with self.servers[1].disturbed("outage of the upstream"):
            self._behind.out = True
            await asyncio.sleep(OUT_S)
            self._behind.out = False

    async def _settle(self) -> None:
        """Waits until nothing is under way any more; what still is has been left behind."""
        until = time.monotonic() + QUIET_S
        for server in self.servers:
            while (busy := (await server.gauges()).get(GAUGES[0], 0.0)) and time.monotonic() < until:
                await asyncio.sleep(0.2)
            if busy:
                server.wrong.append(f"{busy:.0f} requests still run {QUIET_S:.0f} s after the last client")

    async def _watch(self, samples: SampleFile) -> None:
        for number in itertools.count(1):
            for server in self.servers:
                samples.add(await self._sample(server))
            await asyncio.sleep(max(0.0, self._began + number * self._duration.every_s - time.monotonic()))

    async def _sample(self, server: ServerUnderTest) -> Row:
        held = await asyncio.to_thread(server.held)
        gauges = await server.gauges()
        tally = self.tally
        row: dict[str, float | str | None] = {
            "seconds": round(time.monotonic() - self._began, 1),
            "server": server.name,
            "lifetime": server.lifetime,
        }
        for name in ("server", "engine"):
            one = held.get(name)
            row |= {
                f"{name}_memory": one.memory if one else None,
                f"{name}_handles": one.handles if one else None,
                f"{name}_threads": one.threads if one else None,
            }
        names = ("in_flight", "cache_ram", "cache_disk", "cache_ram_limit", "cache_disk_limit")
        row |= {name: gauges.get(gauge) for name, gauge in zip(names, GAUGES, strict=True)}
        if server.name == ENGINE:
            row["cache_disk"] = await asyncio.to_thread(size_of, server.folder / "cache")
        row |= {
            "ledger": sum(map(size_of, server.folder.glob("ledger.sqlite*"))),
            "ledger_limit": LEDGER_MB * 1e6,
            "turns": tally.of("turn", server.name),
            "asked_again": sum(
                tally.of(kind, server.name) for kind in ("error", "error, disturbed", "cut", "left")
            ),
            "wrong": sum(tally.of(kind, server.name) for kind in ("broken", "lost", "not recovered")),
            "deeds": len(server.disturbances),
        }
        return row


def _model(server: ServerUnderTest) -> str:
    return BUNDLED[2] if server.name == ENGINE else MODEL


def _table(base_url: str) -> str:
    return f'[[upstream]]\nbase_url = "{base_url}"\nmodel = "{MODEL}"\ntimeout_s = {SILENCE_S}\n'


def _server(folder: Path, name: str, settings: str, *model: str) -> ServerUnderTest:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "fortieth.toml").write_text(settings, "utf-8")
    file = (folder / "fortieth.toml").resolve()  # the server has a working directory of its own
    return ServerUnderTest(name, [*model, "--config", str(file)], folder)


def schedule(
    seconds: float, most: int, restarts: Sequence[Sequence[Deed]], crashes: Sequence[Sequence[Deed]]
) -> Iterator[tuple[float, Sequence[Deed]]]:
    """What is done when: seconds from the beginning, and deeds that are done at once. most: of each kind."""
    rounds = max(1, round(seconds / ROUND_S))
    for first, deeds in ((0.0, restarts), (seconds / 4, crashes)):
        count = min(most, rounds * len(deeds))
        for number in range(count):
            yield first + (number + 0.5) * seconds / 4 / count, deeds[number % len(deeds)]


def play(folder: Path, duration: Duration) -> tuple[bool, list[Bar]]:
    """Plays, and writes both files. Returns whether it came to its end, and the bars. Raises FileExistsError
    for a folder that is there: a server must not find what another run left.
    """
    folder.mkdir(parents=True)
    with SampleFile(folder / "samples.csv") as samples, corrupted_model() as behind:
        run = LongRun(folder, duration, behind)
        whole = True
        try:
            whole = asyncio.run(_until_told(run, samples))
        finally:
            found = bars(run.tally, run.servers, samples.rows, duration.steady)
            told = (
                f"{duration.seconds / 3600:g} hours, {duration.agents} agents on each of two servers; "
                f"the upstream's answers: {behind.did}"
            )
            text = write_page(told, found, run.tally, run.servers, samples.rows)
            (folder / "report.html").write_text(text, "utf-8")
    return whole, found


async def _until_told(run: LongRun, samples: SampleFile) -> bool:
    async def played() -> bool:
        await run.run(samples)
        return True

    return await until_interrupted(played(), lambda: print("stopping", flush=True)) is not None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="new: for samples.csv, report.html and the servers' files")
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--every", type=float, default=5.0, help="seconds between two samples")
    parser.add_argument("--agents", type=int, default=4, help="on each server")
    parser.add_argument("--pause", type=float, default=2.0, help="seconds at most between two turns")
    asked = parser.parse_args()
    whole, found = play(asked.folder, Duration(asked.hours * 3600, asked.every, asked.agents, asked.pause))
    print("\n".join(map(str, found)))
    print(asked.folder / "report.html")
    return 1 if any(one.met is False for one in found) else 0 if whole else 130


if __name__ == "__main__":
    sys.exit(main())
