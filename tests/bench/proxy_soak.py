"""`python -m tests.bench.proxy_soak` (make soak-proxy): many streams at once through fortieth, from an
upstream that cuts, stalls, fails and talks nonsense (Linux).

Every answer bears a mark of its own, so that streams that were mixed up are seen. Exits with 1 where a client
got anything but its answer or one clean error, where something hangs, or where memory grows.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import random
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.bench.proxy_arms import Arm, fortieth, upstream
from tests.bench.proxy_client import as_http, body
from tests.bench.proxy_upstream import FAULTS, MODEL, Play
from tests.bench.servers import resident
from tests.bench.soak import gauges, growth

FLAT = 1.05
QUIET_S = 30.0  # that what still runs at the end may take to be gone
HANG_S = 90.0  # three silences of the upstream, and plenty
SILENCE_S = 3
_MARK = re.compile(r"k\d+k")


@dataclass(frozen=True, slots=True)
class Wish:
    """What a client asks for. leave_after: bytes of the answer after which it hangs up."""

    play: Play
    stream: bool
    leave_after: int | None = None


@dataclass(slots=True)
class Got:
    """What it got. error: of the response or of its stream; errors: how many came. verdict: the guard's."""

    status: int = 0
    text: str = ""
    calls: list[tuple[str, str]] = field(default_factory=list)
    finish: str = ""
    errors: int = 0
    broken: str = ""
    marks: set[str] = field(default_factory=set)


def wishes(seed: int) -> Iterator[Wish]:
    """Endless; the same for the same seed."""
    rng = random.Random(seed)
    for number in itertools.count():
        pieces = rng.randint(1, 30)
        kind = rng.choices(("text", "calls", "once", "always", "fault"), (35, 25, 10, 5, 25))[0]
        fault = rng.choice(FAULTS[1:]) if kind == "fault" else ""
        play = Play(
            mark=f"k{number}k",
            pieces=pieces,
            gap_s=rng.uniform(0.02, 0.3),
            calls=0 if kind == "text" else rng.randint(1, 3),
            wrong=kind if kind in ("once", "always") else "",
            fault=fault,
            at=rng.randrange(pieces),
        )
        leave = rng.randint(1, 4000) if rng.random() < 0.1 else None
        yield Wish(play, rng.random() < 0.8, leave)


async def ask(port: int, wish: Wish) -> Got:
    """Sends it and reads to the end, or hangs up on the way."""
    got = Got()
    raw = b""
    try:
        async with asyncio.timeout(HANG_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                request = as_http(port, body(wish.play, wish.stream))
                fields = b"\r\nConnection: close\r\nx-fortieth-give-up: text\r\n\r\n"
                writer.write(request.replace(b"\r\n\r\n", fields, 1))
                await writer.drain()
                while part := await reader.read(1 << 16):
                    raw += part
                    if wish.leave_after is not None and len(raw) >= wish.leave_after:
                        break
            finally:
                writer.close()
        read(raw, got, whole=wish.leave_after is None)
    except (OSError, TimeoutError, ValueError, KeyError, IndexError) as error:
        got.broken = f"{type(error).__name__}: {error} after {raw[-200:]!r}"
    return got


def read(raw: bytes, got: Got, whole: bool = True) -> None:
    """An answer's bytes. whole: it was read to its end. Raises ValueError, KeyError for what is no answer."""
    text = raw.decode(errors="replace")
    got.marks = set(_MARK.findall(text))
    if not whole:
        return
    got.status = int(text.split(" ", 2)[1])
    events = [line[6:] for line in text.split("\n") if line.startswith("data: {")]
    if events or "text/event-stream" in text.partition("\r\n\r\n")[0]:
        for event in events:
            _take(json.loads(event), got)
        return
    content = json.loads(text[text.index("{") : text.rindex("}") + 1])
    if got.status != 200:
        got.errors += "message" in content["error"]
        return
    choice = content["choices"][0]
    _take({"choices": [{"delta": choice["message"], "finish_reason": choice["finish_reason"]}]}, got)


def _take(event: dict[str, Any], got: Got) -> None:
    if "error" in event:
        got.errors += 1
        return
    for choice in event["choices"]:
        if got.errors or got.finish:
            raise ValueError("something came behind the end")
        delta = choice.get("delta") or {}
        got.text += delta.get("content") or ""
        for place, call in enumerate(delta.get("tool_calls") or ()):
            function = call["function"]
            if call.get("index", place) == len(got.calls):
                got.calls.append((function.get("name") or "", ""))
            name, begun = got.calls[-1]
            got.calls[-1] = (name, begun + (function.get("arguments") or ""))
        got.finish = choice.get("finish_reason") or ""


def judge(wish: Wish, got: Got) -> tuple[str, str]:
    """(how it ended, what is wrong with that or "")."""
    play = wish.play
    if got.marks - {play.mark}:
        return "mixed up", f"{play.mark} got {sorted(got.marks)}"
    if got.broken:
        return "broken", got.broken
    if wish.leave_after is not None:
        return "left", ""
    text = "".join(play.text(piece) for piece in range(play.pieces))
    if play.fault:
        whole = not wish.stream or got.status != 200
        clean = got.errors == 1 and not got.calls and not got.finish and text.startswith(got.text)
        shape = (got.status >= 400) if whole else got.status == 200
        return f"{play.fault}: error", "" if clean and shape else f"no clean error: {got}"
    if got.errors or got.status != 200:
        return "failed", f"an error for {play}: {got}"
    if play.wrong == "always":
        right = not got.calls and got.finish == "stop" and got.text.startswith(text)
        return "given up", "" if right else f"not given up: {got}"
    calls = [("get_weather", play.arguments(call, True)) for call in range(play.calls)]
    same = [(name, json.loads(arguments)) for name, arguments in got.calls] == [
        (name, json.loads(arguments)) for name, arguments in calls
    ]
    ended = got.finish == ("tool_calls" if calls else "stop")
    kind = "reasked" if play.wrong else "answered"
    return (
        kind,
        "" if same and ended and got.text.strip() == text.strip() else f"not its answer: {play} {got}",
    )


@dataclass(slots=True)
class Report:
    """kinds: how requests ended. wrong: what should not have happened. sizes: resident bytes of the proxy, a
    second apart.
    """

    kinds: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)


async def soak(proxy: Arm, at_once: int, seconds: float, seed: int) -> Report:
    """So many clients ask again and again for that long; then nothing may be left running."""
    report, source = Report(), wishes(seed)
    until = time.monotonic() + seconds

    async def client() -> None:
        while time.monotonic() < until:
            wish = next(source)
            kind, wrong = judge(wish, await ask(proxy.port, wish))
            report.kinds[kind] += 1
            report.wrong += [wrong] if wrong else []

    async def watch() -> None:
        while time.monotonic() < until:
            report.sizes.append(resident(proxy.pid))
            await asyncio.sleep(1)

    await asyncio.gather(watch(), *(client() for _ in range(at_once)))
    quiet = time.monotonic() + QUIET_S
    while (busy := await gauges(proxy.port)) and time.monotonic() < quiet:
        await asyncio.sleep(0.2)
    report.wrong += [f"still running: {busy}"] if busy else []
    return report


def settings(folder: Path, behind: Arm) -> Path:
    """A fortieth.toml whose upstream may be silent for SILENCE_S."""
    path = folder / "fortieth.toml"
    path.write_text(
        f'[[upstream]]\nbase_url = "http://127.0.0.1:{behind.port}/v1"\nmodel = "{MODEL}"\n'
        f"timeout_s = {SILENCE_S}\n"
    )
    return path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--at-once", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        upstream() as behind,
        fortieth(behind, config=settings(Path(folder), behind)) as proxy,
    ):
        report = asyncio.run(soak(proxy, asked.at_once, asked.seconds, asked.seed))
    grown = growth(report.sizes)
    print(f"{report.kinds.total()} requests, {asked.at_once} at once for {asked.seconds:g} s:")
    print(dict(report.kinds.most_common()))
    print(f"memory over the second half x{grown:.3f}; MiB along the way:", end=" ")
    print(*(size >> 20 for size in report.sizes[:: max(1, len(report.sizes) // 12)]))
    wrong = report.wrong + ([f"the proxy grew x{grown:.3f}"] if grown > FLAT else [])
    print("\n".join(wrong[:20]) or "nothing went wrong")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
