"""What `fortieth bench` does: starts servers, measures each part on all of them, and writes the figures."""

from __future__ import annotations

import asyncio
import shlex
import sqlite3
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from proxy.ab.arms import Arm, read_arms
from proxy.ab.client import open_client
from proxy.ab.run import started
from proxy.ab.serving import ServingBench, ServingFigures, ServingPlan
from proxy.ab.serving_report import SHORT, to_short_rows, write_serving
from proxy.ab.summary import ArmFacts, facts_of, machine
from proxy.cli.ab_run import INTERRUPTED, MOST_STREAMS, read_numbers
from proxy.cli.ab_screen import open_console
from proxy.cli.interrupts import until_interrupted
from proxy.conversation.errors import StartError

_MOST_TOKENS = 1_000_000


@dataclass(frozen=True, slots=True)
class BenchRequest:
    """The command line of `fortieth bench`."""

    servers: tuple[str, ...]
    model: str | None
    concurrency: str
    prompts: str
    answer: int
    requests: int
    timeout: float
    out: Path | None
    api_key: str = ""


def run_bench(request: BenchRequest) -> int:
    """Measures and prints. Returns the exit code. Raises StartError."""
    plan = ServingPlan(
        read_numbers("--concurrency", request.concurrency, MOST_STREAMS),
        read_numbers("--prompts", request.prompts, _MOST_TOKENS),
        request.answer,
        request.requests,
        request.timeout,
    )
    arms = read_arms(request.servers, request.model)
    folder = request.out or Path("fortieth-bench") / datetime.now().strftime("%Y-%m-%d-%H%M%S")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StartError(f"{folder} cannot be written: {error}") from error
    return asyncio.run(BenchWork(plan, arms, folder, request, open_console()).run())


def command_of(request: BenchRequest) -> str:
    """The command line that makes the same request, but for its folder."""
    words = ["fortieth", "bench", *request.servers, "--concurrency", request.concurrency]
    words += ["--prompts", request.prompts, "--answer", str(request.answer)]
    words += ["--requests", str(request.requests), "--timeout", f"{request.timeout:g}"]
    return shlex.join([*words, *(("--model", request.model) if request.model else ())])


@dataclass(slots=True)
class BenchWork:
    """A benchmark that is ready to begin, and what it has found so far."""

    plan: ServingPlan
    arms: Sequence[Arm]
    folder: Path
    request: BenchRequest
    console: Console
    found: list[ServingFigures] = field(default_factory=list)
    facts: list[ArmFacts] = field(default_factory=list)
    lost: set[str] = field(default_factory=set)

    async def run(self) -> int:
        began = datetime.now().astimezone().isoformat(timespec="seconds")
        stopping = "stopping: what was measured is kept"
        try:
            done = await until_interrupted(self._measure(), lambda: self.note(stopping))
        finally:
            self._write(began)
        if done is None:
            return INTERRUPTED
        return 1 if self.lost or any(one.failed for one in self.found) else 0

    def _write(self, began: str) -> None:
        """Table and files of what was measured until now; nothing where there is nothing."""
        if not self.found:
            return
        self._print()
        told = {"command": command_of(self.request), "machine": machine(), "began": began}
        try:
            files = write_serving(self.folder, self.found, self.facts, told)
        except (OSError, sqlite3.Error) as error:
            raise StartError(f"the figures cannot be written: {error}") from error
        self.note("\n".join(map(str, files)))

    async def _measure(self) -> bool:
        """Each part on one server after the other, so that a noisy minute meets all alike."""
        key = self.request.api_key
        async with (
            started(self.arms, self.folder / "servers", "", key, self.note) as servers,
            AsyncExitStack() as clients,
        ):
            self.facts = [facts_of(server) for server in servers]
            benches = []
            for server in servers:
                client = open_client(server.base_url, self.plan.timeout_s, key)
                await clients.enter_async_context(client)
                benches.append(ServingBench(server, self.plan, client))
            for bench in benches:
                await bench.calibrate()
            for prompt in self.plan.prompts:
                for level in self.plan.levels:
                    for bench in benches:
                        if bench.label not in self.lost:
                            await self._measure_part(bench, level, prompt)
        return True

    async def _measure_part(self, bench: ServingBench, level: int, prompt: int) -> None:
        """A part of which requests failed because the server ended says nothing of its speed."""
        self.note(f"{bench.label}: {level} at a time, prompts of {prompt} tokens")
        found = await bench.measure(level, prompt)
        why = await bench.death() if found.failed else ""
        if why:
            self.lost.add(bench.label)
            self.note(f"{bench.label}: {why}; its further parts are left out")
        else:
            self.found.append(found)

    def _print(self) -> None:
        table = Table(title="serving benchmark: medians")
        table.add_column("")
        for column in SHORT:
            table.add_column(column, justify="right")
        for arm, cells in to_short_rows(self.found):
            table.add_row(Text(arm), *map(Text, cells))
        self.console.print(table)
        for error in dict.fromkeys(f"{one.arm}: {one.error}" for one in self.found if one.error):
            self.note(error)

    def note(self, words: str) -> None:
        self.console.print(Text(words), soft_wrap=True)
