"""`python -m tests.bench.engine` (make bench-engine): the engine beside the bare library and its rivals.

All over HTTP with the same load generator, the same model directory and, where they let themselves be
preloaded, the same BLAS; the bare library in a process of its own. Prints Markdown.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from engine.blas import LIBRARY, PACKAGE, BlasUnavailable, cache_directory, forwarding_library
from tests.bench.model import make_model
from tests.bench.servers import Running, Server, ours, rivals, running
from tests.bench.wire import Answer, ask, body, together

ROUNDS = 3
LONG, MIDDLE = 4096, 2048
CACHE = ("--cache-dir", f"{tempfile.gettempdir()}/fortieth-bench-cache")  # on, as by default; not the user's
FRESH = itertools.count(1000)  # no prompt comes twice: nobody's prefix cache may help


def prompt(tokens: int) -> str:
    """A text of so many characters, each a token, unlike every other from its first word on."""
    return (f"{next(FRESH)} " * (tokens // 5 + 1))[:tokens]


def blas_library() -> Path | None:
    """What to preload: the forwarder that our engine loads itself. None where there is none."""
    if sys.platform != "linux":
        return None
    package = Path(__import__(PACKAGE).__file__ or "").parent
    try:
        return forwarding_library(package / "lib" / LIBRARY, cache_directory())
    except (BlasUnavailable, OSError):
        return None


def bare(model: Path, what: str, streams: int, tokens: int) -> float:
    command = [sys.executable, "-m", "tests.bench.bare", str(model), what, str(streams), str(tokens)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout.splitlines()[-1]))


async def throughput(server: Running, name: str, streams: int, tokens: int) -> float:
    """Tokens a second of all streams together, prefill of short prompts included; the best of some rounds."""
    best = 0.0
    for _ in range(ROUNDS):
        answers = await together(server.port, [body(prompt(32), tokens, name) for _ in range(streams)])
        check(answers)
        took = max(answer.ended for answer in answers) - min(answer.began for answer in answers)
        best = max(best, sum(made(answer) for answer in answers) / took)
    return best


def made(answer: Answer) -> int:
    """Tokens: each is one character of this model, whatever a server says of its usage."""
    return len(answer.text)


def check(answers: list[Answer]) -> None:
    for answer in answers:
        if answer.status != 200 or answer.error or not answer.text:
            raise RuntimeError(f"status {answer.status}: {answer.error[:200] or 'no text'}")


async def alone(server: Running, name: str, tokens: int) -> float:
    """TTFT of one prompt on an idle server; the median of some."""
    answers = [await ask(server.port, body(prompt(tokens), 4, name)) for _ in range(ROUNDS)]
    check(answers)
    return statistics.median(answer.ttft for answer in answers)


async def gap(server: Running, name: str) -> tuple[float, float]:
    """(worst gap / normal gap of three streams when a long prompt arrives, its TTFT / alone)."""
    before = await alone(server, name, LONG)
    streams = [asyncio.create_task(ask(server.port, body(prompt(32), 3000, name))) for _ in range(3)]
    await asyncio.sleep(3.0)
    newcomer = await ask(server.port, body(prompt(LONG), 40, name))
    answers = await asyncio.gather(*streams)
    check([newcomer, *answers])
    calm = [g for a in answers for g, at in zip(a.gaps, a.times, strict=False) if at < newcomer.began]
    worst = max(
        after - at
        for answer in answers
        for at, after in itertools.pairwise(answer.times)
        if after > newcomer.began and at < newcomer.ended
    )
    return worst / statistics.median(calm), newcomer.ttft / before


async def mixed(server: Running, name: str) -> float:
    """Mean TTFT of seven short prompts that come with a long one, over that of a short one alone."""
    before = await alone(server, name, 16)
    long = asyncio.create_task(ask(server.port, body(prompt(MIDDLE), 8, name)))
    shorts = await together(server.port, [body(prompt(16), 8, name) for _ in range(7)])
    check([await long, *shorts])
    return statistics.mean(answer.ttft for answer in shorts) / before


async def exactness(server: Running, name: str) -> tuple[float, bool]:
    """(largest difference of a log probability between alone and in a batch of 8, whether tokens agree)."""
    requests = [body(prompt(16 + 9 * n), 40, name, logprobs=True, top_logprobs=0) for n in range(8)]
    by_itself = [await ask(server.port, request) for request in requests]
    batched = await together(server.port, requests)
    check([*by_itself, *batched])
    pairs = [
        pair
        for a, b in zip(by_itself, batched, strict=True)
        for pair in zip(a.logprobs, b.logprobs, strict=True)
    ]
    if not pairs:
        raise RuntimeError("no logprobs came")
    return max(abs(a[1] - b[1]) for a, b in pairs), all(a[0] == b[0] for a, b in pairs)


def speeds(server: Server, model: Path, sizes: list[int], tokens: int, blas: Path | None) -> list[str]:
    """One row of the table: tokens a second at each size, or why there is none."""
    if server.missing:
        return [f"not measured: {server.missing}", *[""] * (len(sizes) - 1)]
    try:
        with running(server, model, blas) as live:
            name = served_name(server, model)
            asyncio.run(throughput(live, name, 2, 16))
            return [f"{asyncio.run(throughput(live, name, size, tokens)):.0f}" for size in sizes]
    except RuntimeError as error:
        return [f"failed: {' '.join(str(error).split())[-160:]}", *[""] * (len(sizes) - 1)]


def served_name(server: Server, model: Path) -> str:
    return model.name if server.name == "fortieth" else str(model)


def row(*cells: str) -> None:
    print("| " + " | ".join(cells) + " |", flush=True)


def throughput_table(model: Path, sizes: list[int], tokens: int, folder: Path) -> None:
    print(f"\n### Decode throughput, tokens a second ({tokens} tokens a stream)\n")
    row("server", *(f"{size} streams" for size in sizes))
    row("---", *("--:" for _ in sizes))
    blas = blas_library()
    row("bare BatchGenerator", *(f"{bare(model, 'decode', size, tokens):.0f}" for size in sizes))
    for server in [ours("--guard", "off", *CACHE), ours(*CACHE), *rivals(folder)]:
        label = f"{server.name}, guard off" if "--guard" in server.command else server.name
        row(label, *speeds(server, model, sizes, tokens, blas if server.name != "fortieth" else None))
    row("bare BatchGenerator, again", *(f"{bare(model, 'decode', size, tokens):.0f}" for size in sizes))


def bars_table(model: Path) -> None:
    print("\n### Fairness and exactness\n")
    row("measure", "bar", "measured")
    row("---", "---", "--:")
    with running(ours(*CACHE), model) as live:
        name = model.name
        results: list[tuple[str, str, Callable[[], str]]] = [
            ("4096 tokens arrive while 3 streams decode: worst gap / normal, TTFT / alone", "<= 12, <= 1.5",
             lambda: "{:.1f}, {:.2f}".format(*asyncio.run(gap(live, name)))),
            ("1 x 2048 and 7 x 16 tokens at once: mean TTFT of the short / alone", "<= 4",
             lambda: f"{asyncio.run(mixed(live, name)):.1f}"),
            ("logprobs in a batch of 8 against alone: largest difference, tokens identical", "<= 1e-4, yes",
             lambda: "{:.1e}, {}".format(*asyncio.run(exactness(live, name)))),
        ]  # fmt: skip
        for what, bar, measure in results:
            row(what, bar, measure())
    cost = bare(model, "constrained", 8, 200)
    row("a step of 8 streams under grammars / without", "<= 1.10", f"{cost:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("/tmp/fortieth-bench-model"))
    parser.add_argument("--sizes", default="1,4,8,16")
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--rivals", type=Path, default=Path("/tmp/fortieth-rivals"))
    parser.add_argument("--only", choices=("throughput", "bars"))
    arguments = parser.parse_args()
    model = make_model(arguments.model)
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("mlx", "mlx-lm", "llguidance"))
    machine = f"{os.cpu_count()} cores, {platform.machine()}"
    print(f"Load average before: {os.getloadavg()[0]:.1f}; {machine}; {versions}")
    if arguments.only != "bars":
        sizes = [int(size) for size in arguments.sizes.split(",")]
        throughput_table(model, sizes, arguments.tokens, arguments.rivals)
    if arguments.only != "throughput":
        bars_table(model)


if __name__ == "__main__":
    main()
