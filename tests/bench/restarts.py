"""`python -m tests.bench.restarts` (make bench-restarts): servers ended right after an answer (Linux).

Conversations of 1k to 8k tokens. Each server answers the second turn of the last server's conversation, then
the first turn of one of its own, and is sent a signal as that answer's last byte comes. Exits with 1 where a
prompt was computed again.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from typing import Any

from engine.resolve import BUNDLED, MODELS
from tests.bench.servers import Running, ours, running
from tests.bench.sessions import TOOLS, Turn, opening, turn

LEAST, MOST = 1_000, 7_300  # tokens of a first prompt
CHARS = 1.72  # of these prompts for each token of the bundled model
AGAIN = 2  # tokens: an answer's last one is computed by the next turn, and the line that the template adds
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@dataclass(slots=True)
class Conversation:
    messages: list[dict[str, Any]]
    first: Turn


async def serve_one(
    live: Running, last: Conversation | None, seed: int, chars: int
) -> tuple[int, Conversation]:
    """Tokens of the last conversation that were computed again, and a new one."""
    again = 0
    if last is not None:
        second = await turn(live, BUNDLED[0], last.messages, {"tools": TOOLS})
        again = last.first.prompt + last.first.answer - second.cached
    messages = opening(seed, chars)
    return again, Conversation(messages, await turn(live, BUNDLED[0], messages, {"tools": TOOLS}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--signal", choices=[one.name for one in SIGNALS], default="SIGTERM")
    arguments = parser.parse_args()
    number = signal.Signals[arguments.signal]
    print(f"| {number.name} | tokens before it | computed again | seconds until it had ended |")
    print("|---|---|---|---|")
    again: list[int] = []
    with tempfile.TemporaryDirectory() as folder:
        server = ours("--guard", "off", "--cache-dir", folder)  # asking again would be added up
        last: Conversation | None = None
        took = 0.0
        for n in range(arguments.rounds + 1):
            chars = int(CHARS * (LEAST + (MOST - LEAST) * n // max(1, arguments.rounds)))
            with running(server, MODELS / BUNDLED[0]) as live:
                lost, new = asyncio.run(serve_one(live, last, n + 1, chars))
                if last is not None:
                    again.append(lost)
                    tokens = last.first.prompt + last.first.answer
                    print(f"| {n} | {tokens} | {lost} | {took:.1f} |", flush=True)
                last = new
                live.process.send_signal(number)
                began = time.monotonic()
                live.process.wait(60)
                took = time.monotonic() - began
    print(f"{sum(one <= AGAIN for one in again)} of {len(again)} were reused whole")
    sys.exit(any(one > AGAIN for one in again))


if __name__ == "__main__":
    main()
