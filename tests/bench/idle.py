"""`python -m tests.bench.idle` (make bench-idle): what a server costs while nobody asks it (Linux).

After each kind of work comes a rest, which is held to the bars of tests.bench.resting. Prints Markdown and
exits with 1 where one is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace

from engine.memory import SPARE_S
from engine.resolve import BUNDLED, MODELS
from tests.bench.proxy_arms import Arm, fortieth, upstream
from tests.bench.resting import Held, Rest, pids, watch
from tests.bench.servers import Live, Server, engine_pid, ours, running
from tests.bench.sessions import TOOLS, opening, turn
from tests.bench.soak import AT_ONCE, wishes
from tests.bench.wire import ask, body

# What a turn leaves behind is written by then; on a busy machine later, but not as late as that.
SETTLE_S, MOST_SETTLE_S = 2.0, 10.0
GROWTH = 1.05
MODEL = BUNDLED[0]
# the engine's index holds in RAM what is on disk: both are full after the first burst, else it grows for days
SMALL = (("FORTIETH_CACHE_RAM_GB", "0.02"), ("FORTIETH_CACHE_DISK_GB", "0.0625"))


Work = Callable[[Live], Awaitable[None]]


async def nothing(live: Live) -> None:
    """As it was after the start."""


async def one_with_deadline(live: Live) -> None:
    await ask(live.port, body("hello", 4, MODEL, timeout_s=6.0))


async def turns_with_think_time(live: Live) -> None:
    messages = opening(int(time.monotonic() * 1000), 1200)
    for _ in range(10):
        await turn(live, MODEL, messages, {"tools": TOOLS})
        await asyncio.sleep(0.3)


async def aborts_in_each_stage(live: Live) -> None:
    """Waiting, compiling a grammar, prefilling, decoding."""
    constrained = {"response_format": {"type": "json_object"}}
    for wait_s, request in (
        (0.0, body("now", 500, MODEL)),
        (0.02, body("soon", 500, MODEL, **constrained)),
        (0.1, body("long " * 2000, 500, MODEL)),
        (0.5, body("told", 500, MODEL, ignore_eos=True)),
    ):
        many = [asyncio.create_task(ask(live.port, request)) for _ in range(AT_ONCE + 2)]
        await asyncio.sleep(wait_s)
        for one in many:
            one.cancel()
        await asyncio.gather(*many, return_exceptions=True)


async def no_grammar(live: Live) -> None:
    """Schemas that nothing satisfies, that go in circles, and that are none."""
    for schema in (
        {"allOf": [{"type": "string"}, {"type": "object"}]},
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}},
        {"type": "object", "properties": {"a": {"pattern": "(?<=x)y", "type": "string"}}},
        {"type": "nonsense"},
    ):
        wanted = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema, "strict": True}}
        await ask(live.port, body("say it", 20, MODEL, response_format=wanted, timeout_s=20.0))


async def anything(live: Live) -> None:
    """What `make soak-engine` asks, and clients that hang up."""
    source = wishes(7, MODEL)

    async def client() -> None:
        for wish, _ in zip(source, range(10), strict=False):
            await ask(live.port, wish.body, leave_after=wish.leave_after)

    await asyncio.gather(*(client() for _ in range(AT_ONCE)))


async def looked_at(live: Live) -> None:
    """Health, metrics, sessions; and twenty connections that stay open for half of the rest."""
    for path in ("/health", "/metrics", "/v1/fortieth/sessions", "/v1/models", "/nowhere") * 4:
        reader, writer = await asyncio.open_connection("127.0.0.1", live.port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        await reader.read(100)
        writer.close()


async def engine_killed(live: Live) -> None:
    os.kill(engine_pid(live.pid), signal.SIGKILL)
    while (await ask(live.port, body("back?", 2, MODEL))).status != 200:
        await asyncio.sleep(0.1)


WORK: dict[str, Work] = {
    "the start": nothing,
    "`kill -9` of the engine": engine_killed,
    "one request with a deadline of 6 s": one_with_deadline,
    "ten turns with think time": turns_with_think_time,
    "aborts in each stage": aborts_in_each_stage,
    "grammars that are none": no_grammar,
    "160 random requests": anything,
    "health, metrics, sessions": looked_at,
}


async def upstream_gone(live: Live) -> None:
    """Asked for a while with and without streams, and for its health."""
    for stream in (True, False, True):
        await ask(live.port, body("anybody?", 4, "wire", stream=stream))
        await looked_at(live)


@dataclass(frozen=True, slots=True)
class Row:
    """missed: what of the rest is beyond its bar."""

    name: str
    rest: Rest
    missed: tuple[str, ...]

    def __str__(self) -> str:
        rest, held = self.rest, self.rest.held
        told = "met" if not self.missed else f"**missed**: {', '.join(self.missed)}"
        return (
            f"| {self.name} | {100 * rest.cpu:.2f}% | {rest.wakeups:.1f} | {held.threads} | {held.handles} "
            f"| {held.memory >> 20} | {told} |"
        )


def missed(rest: Rest, before: Held | None) -> tuple[str, ...]:
    """What is beyond its bar. before: the most that was held in the first round, when threads, compiled code
    and the cache come into being.
    """
    found = [] if rest.quiet else ["not quiet"]
    if before is not None:
        for field in fields(Held):
            grown = getattr(rest.held, field.name) > GROWTH * getattr(before, field.name)
            found += [field.name] if grown else []
    return tuple(found)


def most(rows: Sequence[Row]) -> Held:
    """Of each thing, the most that was held."""
    return Held(*(max(getattr(row.rest.held, field.name) for row in rows) for field in fields(Held)))


async def settled(live: Live) -> None:
    """Waits until what the work has left behind is written, for MOST_SETTLE_S at most."""
    await asyncio.sleep(SETTLE_S)
    until = time.monotonic() + MOST_SETTLE_S - SETTLE_S
    while time.monotonic() < until and not (await watch(pids(live), 1.0)).quiet:
        pass


async def lasting(live: Live, rest: Rest, before: Held | None) -> Rest:
    """The same; where the memory is beyond its bar, with what is held of it when spare memory has been given
    back.
    """
    if "memory" not in missed(rest, before):
        return rest
    await asyncio.sleep(SPARE_S + SETTLE_S)
    return replace(rest, held=replace(rest.held, memory=Held.of(pids(live)).memory))


async def rests(
    live: Live, work: Mapping[str, Work], seconds: float, before: Held | None = None
) -> list[Row]:
    """One round of all of it."""
    rows: list[Row] = []
    for name, do in work.items():
        await do(live)
        await settled(live)
        rest = await lasting(live, await watch(pids(live), seconds), before)
        rows.append(Row(name, rest, missed(rest, before)))
        print(rows[-1], flush=True)
    return rows


def with_engine(folder: str) -> Server:
    """Ours with everything on, and a cache that is soon as full as it gets."""
    options = ("--cache-dir", f"{folder}/cache", "--ledger", f"{folder}/ledger.db", "--log-level", "error")
    return replace(ours(*options), environment=SMALL)


async def burst(live: Live) -> None:
    """Several kinds of work at once."""
    works = (anything, turns_with_think_time, aborts_in_each_stage, no_grammar, looked_at)
    await asyncio.gather(*(work(live) for work in works))


async def bursts(live: Live, minutes: float, seconds: float) -> list[Row]:
    """Bursts and pauses for so long; what is held after the last pause against what was after the first."""
    rows: list[Row] = []
    until = time.monotonic() + 60 * minutes
    while time.monotonic() < until:
        before = rows[0].rest.held if rows else None
        rows += await rests(live, {f"burst {len(rows) + 1}": burst}, seconds, before)
    return rows


@contextlib.contextmanager
def with_dead_upstream() -> Iterator[Arm]:
    with contextlib.ExitStack() as stack:
        dies = stack.enter_context(contextlib.ExitStack())
        arm = stack.enter_context(fortieth(dies.enter_context(upstream())))
        dies.close()
        yield arm


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each rest")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--bursts", type=float, default=0.0, metavar="MINUTES", help="bursts and pauses only")
    arguments = parser.parse_args()
    rows: list[Row] = []
    print("| rest after | CPU of a core | wake-ups a second | threads | handles | MB | |")
    print("|---|--:|--:|--:|--:|--:|---|", flush=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        running(with_engine(folder), MODELS / MODEL) as live,
    ):
        if arguments.bursts:
            rows = asyncio.run(bursts(live, arguments.bursts, arguments.seconds))
            sys.exit(bool(rows[-1].missed) or not all(row.rest.quiet for row in rows))
        before = None
        for _ in range(arguments.rounds):
            rows += asyncio.run(rests(live, WORK, arguments.seconds, before))
            before = before or most(rows)
    with with_dead_upstream() as live:
        work = {"a dead upstream": upstream_gone}
        first = asyncio.run(rests(live, work, arguments.seconds))
        rows += first + asyncio.run(rests(live, work, arguments.seconds, most(first)))
    sys.exit(any(row.missed for row in rows))


if __name__ == "__main__":
    main()
