"""What a process does while nothing is asked of it, read from /proc (Linux)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from tests.bench.servers import Live, engine_pid, resident

MOST_CPU = 0.01  # of a core, all processes together
MOST_WAKEUPS = 10.0  # a second, all processes and threads together
HEAP = 64 << 20
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Held:
    """What some processes hold, together."""

    threads: int
    handles: int
    memory: int

    @classmethod
    def of(cls, pids: Sequence[int]) -> Held:
        roots = [Path(f"/proc/{pid}") for pid in pids]
        return cls(
            sum(len(list((root / "task").iterdir())) for root in roots),
            sum(len(list((root / "fd").iterdir())) for root in roots),
            sum(map(resident, pids)),
        )


@dataclass(frozen=True, slots=True)
class Rest:
    """cpu: cores in use; wakeups: voluntary context switches of all threads, a second; held: at the end."""

    cpu: float
    wakeups: float
    held: Held

    @property
    def quiet(self) -> bool:
        return self.cpu <= MOST_CPU and self.wakeups <= MOST_WAKEUPS


def pids(live: Live) -> list[int]:
    """Of the server, and of its engine while there is one."""
    return [pid for pid in (live.pid, engine_pid(live.pid)) if pid]


def heaps_of_threads(pid: int) -> int:
    """Of glibc, beside the one that all threads share: each reserves what lies between two multiples of its
    size (HEAP_MAX_SIZE in glibc's malloc/arena.c), and may use the beginning of it.
    """
    areas: list[tuple[int, int, str]] = []
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        area, access, *_ = line.split()
        begin, end = (int(place, 16) for place in area.split("-"))
        areas.append((begin, end, access))
    return sum(
        (access, rest) == ("rw-p", "---p") and begin % HEAP == 0 and used == again and end == begin + HEAP
        for (begin, used, access), (again, end, rest) in pairwise(areas)
    )


def ticks(pid: int) -> int:
    """Of CPU time so far, in user and system mode."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def switches(pid: int) -> dict[str, int]:
    """Times that each thread has waited for something so far."""
    found: dict[str, int] = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            lines = (task / "status").read_text().splitlines()
            found[task.name] = next(int(one.split()[1]) for one in lines if one.startswith("voluntary"))
    return found


async def watch(pids: Sequence[int], seconds: float) -> Rest:
    """For so long. Threads that end meanwhile are not counted, new ones are from their beginning."""
    began = time.monotonic()
    cpu, waits = sum(map(ticks, pids)), [switches(pid) for pid in pids]
    await asyncio.sleep(seconds)
    took = time.monotonic() - began
    woken = sum(
        count - before.get(task, 0)
        for pid, before in zip(pids, waits, strict=True)
        for task, count in switches(pid).items()
    )
    return Rest((sum(map(ticks, pids)) - cpu) / TICKS / took, woken / took, Held.of(pids))
