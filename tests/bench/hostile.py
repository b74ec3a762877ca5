"""Heavy requests beside a short chat: how each is answered, and what the chat notices of it (Linux).

    python -m tests.bench.hostile [--model FOLDER] [--scale 1.0] [--rounds 3]

The chat is asked again and again, alone and then beside each kind of heavy request. What counts is its time
to first token beside, as a multiple of that alone just before, and the memory of both processes before and
afterwards.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench.servers import Live, engine_pid, ours, resident, running
from tests.bench.wire import ask, body

BUNDLED = Path(__file__).parents[2] / "engine/models/fortieth-tiny"
MIB = 1024 * 1024
ALONE = 30
REST_S = 2.0
# The bars: seconds until a refusal, multiple of the chat's time to first token, of the memory.
MOST_S, MOST_SLOWER, MOST_GROWN = 1.0, 2.0, 1.1


@dataclass(frozen=True, slots=True)
class Heavy:
    """bodies: are sent at once, each over a connection of its own."""

    name: str
    bodies: tuple[bytes, ...]


@dataclass(slots=True)
class Row:
    """Seconds, of each: took, from the last byte of a heavy request to its answer; alone and beside, the
    chat's times to first token. bytes_before, bytes_after: resident, of both processes.
    """

    name: str
    statuses: list[int] = field(default_factory=list)
    took: list[float] = field(default_factory=list)
    alone: list[float] = field(default_factory=list)
    beside: list[float] = field(default_factory=list)
    bytes_before: int = 0
    bytes_after: int = 0

    @property
    def slower(self) -> float:
        return median(self.beside) / median(self.alone) if self.beside else 0.0

    @property
    def grown(self) -> float:
        return self.bytes_after / self.bytes_before

    def missed(self) -> list[str]:
        """What is beyond its bar."""
        refused = [seconds for seconds, status in zip(self.took, self.statuses, strict=True) if status != 200]
        return [
            f"{self.name}: {what}"
            for what, wrong in (
                (
                    f"statuses {sorted(set(self.statuses))}",
                    any(not 200 <= one < 500 for one in self.statuses),
                ),
                (f"a refusal took {max(refused, default=0):.2f} s", max(refused, default=0) > MOST_S),
                (f"the chat took {self.slower:.2f} times as long", self.slower > MOST_SLOWER),
                (f"the memory is {self.grown:.2f} times what it was", self.grown > MOST_GROWN),
            )
            if wrong
        ]


def kinds(scale: float = 1.0) -> list[Heavy]:
    """scale: of the sizes."""

    def size(full: int) -> int:
        return int(full * scale)

    def text(length: int) -> str:
        return "the word is read " * (length // 17)

    wide = {
        "type": "object",
        "properties": {f"property_{at}": {"type": "string"} for at in range(size(20_000))},
    }
    tool = {"type": "function", "function": {"name": "f", "description": "", "parameters": wide}}
    turn = {"role": "user", "content": "hi"}
    result = {"role": "tool", "tool_call_id": "c1", "content": text(size(4_000_000))}
    alternating = [{"role": ("user", "assistant")[at % 2], "content": "x"} for at in range(size(60_000))]
    return [
        Heavy("one prompt of 63 MiB", (_body([{"role": "user", "content": text(size(63 * MIB))}]),)),
        Heavy("one line of 63 MiB", (_body([{"role": "user", "content": "x" * size(63 * MIB)}]),)),
        Heavy("ten results of 4 MB", (_body([turn, result, turn]),) * 10),
        Heavy(
            "an answer of 4 MB",
            (_body([turn, {"role": "assistant", "content": text(size(4_000_000))}, turn]),),
        ),
        Heavy("60,000 messages", (_body(alternating),)),
        Heavy("20,000 properties", (_body([turn], tools=[tool]),)),
        Heavy("20,000 properties, a call required", (_body([turn], tools=[tool], tool_choice="required"),)),
        Heavy("20,000 properties, of the answer", (_body([turn], response_format=_answer(wide)),)),
    ]


def _answer(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}


def _body(messages: Sequence[dict[str, Any]], **fields: Any) -> bytes:
    return json.dumps({"messages": messages, "max_tokens": 4, **fields}).encode()


def post(port: int, data: bytes, row: Row) -> None:
    lines = (
        "POST /v1/chat/completions HTTP/1.1",
        "host: x",
        "connection: close",
        f"content-length: {len(data)}",
    )
    with socket.create_connection(("127.0.0.1", port), timeout=600) as client:
        client.sendall("\r\n".join([*lines, "", ""]).encode())
        client.sendall(data)
        began = time.perf_counter()
        said = client.recv(65_536)
        row.took.append(time.perf_counter() - began)
        row.statuses.append(int(said.split(b" ", 2)[1]) if said else 0)
        while client.recv(65_536):
            pass


def memory(live: Live) -> int:
    return resident(live.pid) + resident(engine_pid(live.pid))


async def chat(live: Live) -> float:
    """Seconds to the first token of a short chat. Raises RuntimeError where there is no answer."""
    answer = await ask(live.port, body("How warm is it in Lisbon?", 8, "default"))
    if answer.status != 200:
        raise RuntimeError(f"the chat got {answer.status}: {answer.error[:200]}")
    return answer.ttft


async def measured(live: Live, heavy: Heavy, rounds: int, alone: int) -> Row:
    row = Row(heavy.name)
    row.bytes_before = memory(live)
    row.alone = [await chat(live) for _ in range(alone)]
    for _ in range(rounds):
        sending = [threading.Thread(target=post, args=(live.port, data, row)) for data in heavy.bodies]
        for one in sending:
            one.start()
        row.beside.append(await chat(live))  # what is refused at once is gone before a second one
        while any(one.is_alive() for one in sending):
            row.beside.append(await chat(live))
    await asyncio.sleep(REST_S)
    row.bytes_after = memory(live)
    return row


def line(row: Row) -> str:
    beside = f"{median(row.beside) * 1000:.0f} | {max(row.beside) * 1000:.0f}" if row.beside else "- | -"
    statuses = ", ".join(map(str, sorted(set(row.statuses))))
    return (
        f"| {row.name} | {statuses} | {max(row.took):.2f} | {median(row.alone) * 1000:.0f} | {beside} | "
        f"{row.slower:.2f} | {row.grown:.2f} |"
    )


async def table(live: Live, heavies: Sequence[Heavy], rounds: int, alone: int = ALONE) -> list[Row]:
    """alone: how often the chat is asked without anything beside it, before each kind."""
    for _ in range(alone):  # the first requests are slower
        await chat(live)
    print("| request | status | s | chat alone, ms | beside, ms | worst, ms | times | memory |")
    print("|---|---|---|---|---|---|---|---|")
    rows = []
    for heavy in heavies:
        row = await measured(live, heavy, rounds, alone)
        print(line(row), flush=True)
        rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, default=BUNDLED)
    parser.add_argument("--scale", type=float, default=1.0, help="of all sizes")
    parser.add_argument("--rounds", type=int, default=3, help="how often each kind is sent")
    given = parser.parse_args()
    with running(ours("--cache-dir", "off"), given.model) as live:
        rows = asyncio.run(table(live, kinds(given.scale), given.rounds))
    missed = [one for row in rows for one in row.missed()]
    print("\n".join(["", *missed]) if missed else "\nall within the bars")
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
