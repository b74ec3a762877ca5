"""`python -m tests.bench.page` (make bench-page): the page open in ten browsers while eight streams run.

Rounds with and without open pages take turns on one server with the bundled model. A page is a process that
reads the events as a browser does. Prints Markdown; exits with 1 where the tokens a second are below the bar.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import multiprocessing
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import httpx

from engine.resolve import BUNDLED, MODELS
from tests.bench.servers import Running, ours, running
from tests.bench.versions import cpu_s

MODEL = BUNDLED[0]
BAR = 0.98
EVENTS = "/v1/fortieth/events"


@dataclass(frozen=True, slots=True)
class Round:
    """tokens_s: of all streams together. cpu_s: of the server's own process, without the engine's."""

    tokens_s: float
    cpu_s: float


async def _read(port: int, pages: int) -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=None) as client:

        async def page() -> None:
            async with client.stream("GET", EVENTS) as response:
                async for _ in response.aiter_bytes():
                    pass

        with contextlib.suppress(httpx.HTTPError):
            await asyncio.gather(*(page() for _ in range(pages)))


def _browse(port: int, pages: int) -> None:
    asyncio.run(_read(port, pages))


@contextlib.contextmanager
def pages_open(port: int, pages: int) -> Iterator[None]:
    """So many pages are open, in a process of their own, until the block ends."""
    if not pages:
        yield
        return
    browser = multiprocessing.get_context("spawn").Process(target=_browse, args=(port, pages), daemon=True)
    browser.start()
    try:
        time.sleep(2.0)  # until each has its first event
        yield
    finally:
        browser.terminate()
        browser.join()


async def _stream(client: httpx.AsyncClient, seed: int, tokens: int) -> None:
    asked = {
        "model": MODEL,
        "messages": [{"role": "user", "content": f"Tell me of number {seed}."}],
        "stream": True,
        "max_tokens": tokens,
        "ignore_eos": True,
        "seed": seed,
    }
    async with client.stream("POST", "/v1/chat/completions", json=asked) as response:
        response.raise_for_status()
        events = [line async for line in response.aiter_lines() if line.startswith("data: {")]
    if len(events) < tokens // 20:  # the engine sends a few pieces together
        raise RuntimeError(f"a stream of {tokens} tokens came in {len(events)} events: {events[-1][:300]}")


async def _streams(live: Running, streams: int, tokens: int, seed: int) -> float:
    """Tokens a second. Each stream has as many as it was asked for."""
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{live.port}", timeout=300) as client:
        began = time.monotonic()
        await asyncio.gather(*(_stream(client, seed + number, tokens) for number in range(streams)))
        return streams * tokens / (time.monotonic() - began)


def one_round(live: Running, pages: int, arguments: argparse.Namespace, seed: int) -> Round:
    with pages_open(live.port, pages):
        before = cpu_s(live.pid)
        rate = asyncio.run(_streams(live, arguments.streams, arguments.tokens, seed))
        return Round(rate, cpu_s(live.pid) - before)


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench-page", description=__doc__)
    parser.add_argument("--rounds", type=int, default=8, help="pairs of rounds")
    parser.add_argument("--pages", type=int, default=10)
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=400, help="of each stream")
    arguments = parser.parse_args()
    found: dict[int, list[Round]] = {0: [], arguments.pages: []}
    # the guard holds back what the model writes beyond its own end, and a page would have nothing to show
    with running(ours("--cache-dir", "off", "--ledger", "off", "--guard", "off"), MODELS / MODEL) as live:
        one_round(live, 0, arguments, 0)  # warms up
        for number in range(arguments.rounds):
            order = (0, arguments.pages) if number % 2 else (arguments.pages, 0)
            for pages in order:
                found[pages].append(one_round(live, pages, arguments, 100 * number))
    print("| round | tokens/s without | with pages | ratio |\n|--:|--:|--:|--:|")
    ratios = []
    for number, (without, with_pages) in enumerate(zip(found[0], found[arguments.pages], strict=True), 1):
        ratios.append(with_pages.tokens_s / without.tokens_s)
        print(f"| {number} | {without.tokens_s:.0f} | {with_pages.tokens_s:.0f} | {ratios[-1]:.3f} |")
    cpu = [statistics.median(one.cpu_s for one in rounds) for rounds in found.values()]
    ratio = statistics.median(ratios)
    print(f"\nmedian of the ratios: {ratio:.3f} (>= {BAR})")
    print(f"CPU seconds of the server's process in a round: {cpu[0]:.2f} without, {cpu[1]:.2f} with pages")
    sys.exit(ratio < BAR)


if __name__ == "__main__":
    main()
