"""`python -m tests.bench.unload` (make bench-unload): an engine process ends for want of requests (Linux).

A long conversation whose next turn comes after the process has ended, beside a warm and a cold one; then
requests that come around the moment it ends, with `kill -9` among them. Prints Markdown; exits with 1 where a
bar is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import httpx

from engine.resolve import BUNDLED, MODELS
from tests.bench.restarts import CHARS
from tests.bench.resting import pids
from tests.bench.servers import Running, engine_pid, ours, resident, running
from tests.bench.sessions import TOOLS, Turn, opening, turn, words

MODEL = BUNDLED[0]
TOKENS = 7_300  # of the first prompt
SOON_MIN = 0.02
PLAIN = ("--guard", "off")  # which would ask again now and then, and add up what that took
REUSED, RSS_MB = 0.95, 200
LONGEST_S = 120.0


@dataclass(frozen=True, slots=True)
class Rested:
    """cold, warm, rested: a turn with nothing known, with all of it in RAM, and after the process had ended.
    known: tokens of the warm turn and its answer. rss: megabytes of all processes in between; looked: whether
    health, metrics and sessions went on meanwhile.
    """

    cold: Turn
    warm: Turn
    rested: Turn
    known: int
    rss: float
    looked: bool


async def wait_until_resting(live: Running, longest_s: float) -> None:
    until = time.monotonic() + longest_s
    while engine_pid(live.pid):
        if time.monotonic() > until:
            raise RuntimeError("the engine process has not ended")
        await asyncio.sleep(0.2)


async def look(live: Running) -> bool:
    """Whether a server without an engine process says what it should, and stays without one."""
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{live.port}", timeout=20) as client:
        health = await client.get("/health")
        metrics = (await client.get("/metrics")).text
        sessions = (await client.get("/v1/fortieth/sessions")).json()["data"]
    fine = health.status_code == 200 and health.json()["engine"] == "resting"
    fine = fine and "fortieth_engine_resting 1.0" in metrics and "fortieth_engine_up 1.0" in metrics
    return fine and bool(sessions) and sessions[0]["cache"] is not None and not engine_pid(live.pid)


async def one_session(live: Running, minutes: float) -> Rested:
    messages = opening(1, int(CHARS * TOKENS))
    cold = await turn(live, MODEL, messages, {"tools": TOOLS})
    await asyncio.sleep(1.0)  # as long as a tool takes
    warm = await turn(live, MODEL, messages, {"tools": TOOLS})
    await asyncio.sleep(minutes * 60)
    await wait_until_resting(live, LONGEST_S)
    rss = sum(map(resident, pids(live))) / 2**20
    looked = await look(live)
    rested = await turn(live, MODEL, messages, {"tools": TOOLS})
    return Rested(cold, warm, rested, warm.prompt + warm.answer, rss, looked)


def told(found: Rested) -> tuple[str, bool]:
    """A table, and whether its bars were met."""
    met = (found.rested.cached >= REUSED * found.known, found.rss < RSS_MB, found.looked)
    rows = [
        "| turn | tokens | reused | TTFT |",
        "|---|--:|--:|--:|",
        *(
            f"| {name} | {one.prompt} | {one.cached} | {one.ttft:.2f} s |"
            for name, one in (("cold", found.cold), ("warm", found.warm), ("after the rest", found.rested))
        ),
        f"reused of what was known: {found.rested.cached / found.known:.1%} (>= {REUSED:.0%})",
        f"resident memory of all processes in between: {found.rss:.0f} MB (< {RSS_MB})",
        f"health, metrics and sessions went on without waking it: {found.looked}",
    ]
    return "\n".join(rows), all(met)


async def ask_and_heed(client: httpx.AsyncClient, seed: int) -> str:
    """How a request ended: `answered`, `answered when told to come again`, or what was wrong."""
    request: dict[str, Any] = {
        "model": MODEL,
        "messages": [{"role": "user", "content": words(seed % 4, 400)}],
        "max_tokens": 4,
    }
    kind = "answered"
    for _ in range(2):
        response = await client.post("/v1/chat/completions", json=request)
        if response.status_code == 200:
            return kind
        if response.status_code != 503 or "retry-after" not in response.headers:
            return f"{response.status_code}: {response.text[:200]}"
        await asyncio.sleep(float(response.headers["retry-after"]))
        kind = "answered when told to come again"
    return f"503 again: {response.text[:200]}"


async def races(live: Running, count: int, seed: int) -> Counter[str]:
    """Requests about the time when the process ends; every other time it is killed somewhere around that."""
    rng = random.Random(seed)
    kinds: Counter[str] = Counter()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{live.port}", timeout=LONGEST_S) as client:
        for n in range(count):
            kinds[await ask_and_heed(client, n)] += 1
            asks = asyncio.create_task(after(SOON_MIN * 60 + rng.uniform(-0.1, 0.6), client, n))
            if n % 2:
                await asyncio.sleep(SOON_MIN * 60 + rng.uniform(-0.1, 0.9))
                with contextlib.suppress(ProcessLookupError):
                    if engine := engine_pid(live.pid):  # 0 would be our own group
                        os.kill(engine, signal.SIGKILL)
                        kinds["kills"] += 1
            kinds[await asks] += 1
    return kinds


async def after(seconds: float, client: httpx.AsyncClient, seed: int) -> str:
    await asyncio.sleep(seconds)
    return await ask_and_heed(client, seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=2.0, help="before the next turn")
    parser.add_argument("--races", type=int, default=20)
    arguments = parser.parse_args()
    good = True
    with tempfile.TemporaryDirectory() as folder:
        with running(ours(*PLAIN, "--cache-dir", folder, "--idle-unload", "1"), MODELS / MODEL) as live:
            table, good = told(asyncio.run(one_session(live, arguments.minutes)))
            print(table, flush=True)
        with running(
            ours(*PLAIN, "--cache-dir", folder, "--idle-unload", str(SOON_MIN)), MODELS / MODEL
        ) as live:
            kinds = asyncio.run(races(live, arguments.races, seed=1))
        print("requests while it ends, is killed and starts:", dict(kinds))
        good = good and not set(kinds) - {"answered", "answered when told to come again", "kills"}
    sys.exit(not good)


if __name__ == "__main__":
    main()
