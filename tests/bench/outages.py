"""`python -m tests.bench.outages` (make bench-outages): the cache's folder taken from a running server.

Each row does one thing to the folder while the bundled model is served from it, asks new and known prompts
for a while, and sees what the log, /metrics and the answers say; what does not go by itself is then undone.
Prints Markdown; exits with 1 where a line or the metric is missing, an answer is another than that of a
server without a cache, or nothing is written a minute after the cause is gone. Linux; disks of a size of
their own need root.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from engine.cache.ownership import LOCK
from engine.resolve import BUNDLED, MODELS
from tests.bench.servers import Running, ours, running
from tests.bench.sessions import opening
from tests.bench.wire import ask
from tests.engine.cache.folders import GONE, other_version, put

MODEL = BUNDLED[0]
CHARS = 700  # of a prompt: some 400 tokens
NOTICED_S, BACK_S = 60.0, 60.0
EVERY_S = 2.0  # between two prompts
OUTAGES, WRITTEN = "fortieth_prefix_cache_outages_total", "fortieth_prefix_cache_written_total"
READONLY = "fortieth_prefix_cache_readonly"
Undo = Callable[[], object] | None  # of what was done; None where the server has to help itself


@dataclass(slots=True)
class Row:
    """What was seen of one outage. noticed: seconds from its beginning; back: from its end until it wrote."""

    name: str
    lines: int = 0
    noticed: float | None = None
    back: float | None = None
    outages: float = 0.0
    wrong: list[str] = field(default_factory=list)

    def missed(self) -> list[str]:
        found = list(self.wrong)
        found += [] if self.lines >= 2 else [f"{self.lines} lines"]
        found += [] if self.outages == 1 else [f"counted {self.outages:.0f} times"]
        return found + ([] if self.back is not None else ["not written again"])

    def __str__(self) -> str:
        noticed, back = (f"{one:.0f}" if one is not None else "never" for one in (self.noticed, self.back))
        told = ", ".join(self.missed())
        return f"| {self.name} | {noticed} | {back} | {self.lines} | {f'**{told}**' if told else 'met'} |"


def swapped(how: Callable[[Path], None]) -> Callable[[Path], Undo]:
    """Another folder in its place, until the old one is put back."""

    def act(path: Path) -> Undo:
        path.rename(path.with_name("kept"))
        how(path)

        def undo() -> None:
            shutil.rmtree(path)
            path.with_name("kept").rename(path)

        return undo

    return act


def for_good(how: Callable[[Path], None]) -> Callable[[Path], Undo]:
    def act(path: Path) -> Undo:
        how(path)
        return None

    return act


def locked(path: Path) -> Undo:
    """The lock taken by another process, as a second server that finds it free takes it."""
    (path / LOCK).unlink()
    held = os.open(path / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(held, fcntl.LOCK_EX)
    return lambda: os.close(held)


def filled(path: Path) -> Undo:
    ballast = path.parent / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(2**16)):
            pass
    return ballast.unlink


def read_only(path: Path) -> Undo:
    """Mounted again over itself, read-only: a mount with files that are open for writing is not changed."""
    for options in (["--bind"], ["-o", "remount,bind,ro"]):
        subprocess.run(["mount", *options, str(path.parent), str(path.parent)], check=True)
    return lambda: subprocess.run(["umount", "-l", str(path.parent)], check=True)


ACTS: dict[str, Callable[[Path], Undo]] = {
    **{name: for_good(how) for name, how in GONE.items()},
    "a user's folder in its place": swapped(lambda path: put(path, "notes.txt")),
    "a cache of another version in its place": swapped(other_version),
    "locked by another process": locked,
    "a full disk": filled,
    "mounted read-only": read_only,
}
ON_A_DISK = ("a full disk", "mounted read-only")


def metric(live: Running, name: str) -> float:
    """0 where it is not told."""
    with urllib.request.urlopen(f"http://127.0.0.1:{live.port}/metrics", timeout=10) as response:
        lines = response.read().decode().splitlines()
    return next((float(line.split()[-1]) for line in lines if line.split("{")[0].split(" ")[0] == name), 0.0)


async def answer(live: Running, seed: int) -> str:
    request = {"model": MODEL, "messages": opening(seed, CHARS), "max_tokens": 12, "temperature": 0.0}
    got = await ask(live.port, {**request, "stream": True})
    return got.text if got.status == 200 and not got.error else f"{got.status} {got.error}"


async def outage(live: Running, plain: Running, row: Row, path: Path, act: Callable[[Path], Undo]) -> None:
    """Act, and ask until it is noticed; undo, and ask until it is written again. Each prompt is asked twice,
    the second time when it could come from the folder, and of a server without a cache.
    """
    seeds = iter(range(1, 10_000))

    async def same() -> None:
        seed = next(seeds)
        for number in (seed, max(1, seed - 3)):
            expected, got = await answer(plain, number), await answer(live, number)
            row.wrong += (
                [] if got == expected and expected else [f"prompt {number}: {got!r}, not {expected!r}"]
            )

    async def until(seconds: float, done: Callable[[], bool]) -> float | None:
        began = time.monotonic()
        while time.monotonic() < began + seconds:
            await same()
            if done():
                return time.monotonic() - began
            await asyncio.sleep(EVERY_S)
        return None

    for _ in range(4):
        await same()
    undo = act(path)
    row.noticed = await until(NOTICED_S, lambda: metric(live, OUTAGES) > 0)
    if undo is not None:
        undo()
    before = metric(live, WRITTEN)
    row.back = await until(BACK_S, lambda: not metric(live, READONLY) and metric(live, WRITTEN) > before)
    row.outages = metric(live, OUTAGES)


@contextlib.contextmanager
def folder(on_a_disk: bool) -> Iterator[Path]:
    """Where the cache's folder is to be; on a disk of its own of 64 MB."""
    with tempfile.TemporaryDirectory() as name:
        if not on_a_disk:
            yield Path(name) / "cache"
            return
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", name], check=True)
        try:
            yield Path(name) / "cache"
        finally:
            subprocess.run(["umount", "-l", name], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="rows whose name has this in it")
    arguments = parser.parse_args()
    acts = {name: act for name, act in ACTS.items() if arguments.only in name}
    if os.geteuid() != 0:
        acts = {name: act for name, act in acts.items() if name not in ON_A_DISK}
    print("| the folder | s until noticed | s until written again | lines in the log | |")
    print("|---|--:|--:|--:|---|", flush=True)
    wrong = False
    with running(ours("--guard", "off", "--cache-dir", "off"), MODELS / MODEL) as plain:
        for name, act in acts.items():
            row = Row(name)
            with folder(name in ON_A_DISK) as path:
                server = ours("--guard", "off", "--cache-dir", str(path))
                with running(server, MODELS / MODEL) as live:
                    asyncio.run(outage(live, plain, row, path, act))
                log = Path(tempfile.gettempdir()) / f"fortieth-bench-fortieth-{live.port}.log"
                row.lines = sum(
                    "written" in line and str(path) in line for line in log.read_text().splitlines()
                )
            print(row, flush=True)
            wrong |= bool(row.missed())
    sys.exit(wrong)


if __name__ == "__main__":
    main()
