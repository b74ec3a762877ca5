"""`python -m tests.bench.engine` (make bench-engine): the engine beside the bare library and its rivals.

All over HTTP with the same load generator, the same model directory and, where they let themselves be
preloaded, the same BLAS; the bare library in a process of its own. Every figure is a median of several
rounds, and what is compared takes turns: a machine is not as fast now as a minute ago. Prints Markdown, each
bar beside what was measured.
"""

from __future__ import annotations

import argparse
import asyncio
import atexit
import contextlib
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

from engine.cpu.blas import LIBRARY, PACKAGE, BlasUnavailable, cache_directory, forwarding_library
from engine.repetition import TOKENS
from tests.bench.bare import PROMPT_TOKENS
from tests.bench.measures import Rate, Target, exactness, gap, mixed, throughput
from tests.bench.model import make_endless, make_model
from tests.bench.servers import Server, ours, rivals, running

MANY = 16  # streams from which on the bar is lower
Speeds = dict[int, list[Rate]]  # streams -> round by round


def blas_library() -> Path | None:
    """What to preload: the forwarder that our engine loads itself. None where there is none."""
    if sys.platform != "linux":
        return None
    package = Path(__import__(PACKAGE).__file__ or "").parent
    try:
        return forwarding_library(package / "lib" / LIBRARY, cache_directory())
    except (BlasUnavailable, OSError):
        return None


def cached() -> tuple[str, str]:
    """Options for a cache on disk, as by default, in a folder in which nothing lies: what an earlier run left
    would be read back. Each is removed at the end.
    """
    folder = tempfile.mkdtemp(prefix="fortieth-bench-cache-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return "--cache-dir", folder


def bare(model: Path, what: str, streams: int, tokens: int, prompt: int = PROMPT_TOKENS, *more: int) -> Any:
    """What tests.bench.bare prints."""
    command = [sys.executable, "-m", "tests.bench.bare", str(model), what]
    command += [str(number) for number in (streams, tokens, prompt, *more)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def served_name(server: Server, model: Path) -> str:
    return model.name if server.name == "fortieth" else str(model)


def label(server: Server) -> str:
    return f"{server.name}, guard off" if "--guard" in server.command else server.name


def row(*cells: str) -> None:
    print("| " + " | ".join(cells) + " |", flush=True)


def speeds(server: Server, model: Path, sizes: list[int], tokens: int, rounds: int) -> tuple[Speeds, Speeds]:
    """(its own, those of what it takes turns with: the bare library where the server is ours, else our
    server, which is up at the same time). Raises RuntimeError.
    """
    own: Speeds = {size: [] for size in sizes}
    other: Speeds = {size: [] for size in sizes}
    is_ours = server.name == "fortieth"
    with contextlib.ExitStack() as stack:
        live = stack.enter_context(running(server, model, None if is_ours else blas_library()))
        target = Target(live, served_name(server, model))
        asyncio.run(throughput(target, 2, 16))
        if not is_ours:
            mine = Target(stack.enter_context(running(unguarded(), model)), model.name)
            asyncio.run(throughput(mine, 2, 16))
        for _ in range(rounds):
            for size in sizes:
                rate = asyncio.run(throughput(target, size, tokens))
                own[size].append(rate)
                if is_ours:
                    decode, whole = bare(model, "decode", size, tokens, rate.prompt)
                    other[size].append(Rate(decode, whole, rate.prompt))
                else:
                    other[size].append(asyncio.run(throughput(mine, size, tokens)))
    return own, other


def unguarded() -> Server:
    return ours("--guard", "off", *cached())


def throughput_table(model: Path, folder: Path, arguments: argparse.Namespace) -> list[tuple[str, ...]]:
    """Prints tokens a second; (what, bar, measured, whether it is met) of each bar."""
    sizes = [int(size) for size in arguments.sizes.split(",")]
    print(f"\n### {model.name}: decode throughput, tokens a second ({arguments.tokens} tokens a stream)\n")
    row("server", *(f"{size} streams" for size in sizes))
    row("---", *("--:" for _ in sizes))
    bars: list[tuple[str, ...]] = []
    for server in [unguarded(), ours(*cached()), *rivals(folder)]:
        if server.missing:
            row(label(server), f"not measured: {server.missing}", *[""] * (len(sizes) - 1))
            continue
        try:
            own, other = speeds(server, model, sizes, arguments.tokens, arguments.rounds)
        except RuntimeError as error:
            row(label(server), f"failed: {' '.join(str(error).split())[-160:]}", *[""] * (len(sizes) - 1))
            continue
        row(label(server), *(shown(own[size]) for size in sizes))
        if server.name == "fortieth":
            row("bare BatchGenerator, in between", *(shown(other[size]) for size in sizes))
            bars += beside_bare(own, other, label(server))
        else:
            row("fortieth, guard off, in between", *(shown(other[size]) for size in sizes))
            bars += beside_rival(other, own, server.name)
    return bars


def shown(rates: list[Rate]) -> str:
    """While all streams write, and in brackets with their beginnings and ends."""
    decode, whole = (
        statistics.median(values) for values in zip(*((r.decode, r.whole) for r in rates), strict=True)
    )
    return f"{decode:.0f} ({whole:.0f})"


def beside_bare(own: Speeds, raw: Speeds, name: str) -> list[tuple[str, ...]]:
    """Each size's median of the ratios of neighbouring rounds: what slows the machine slows both."""
    bars = []
    for size, rounds in own.items():
        least = 0.85 if size >= MANY else 0.90
        pairs = list(zip(rounds, raw[size], strict=True))
        bars.append(
            bar(f"{name} / bare, {size} streams", [a.decode / b.decode for a, b in pairs], least=least)
        )
        whole = statistics.median(a.whole / b.whole for a, b in pairs)
        bars.append((f"the same with beginnings and ends, {size} streams", "", f"{whole:.2f}", ""))
    return bars


def beside_rival(own: Speeds, other: Speeds, name: str) -> list[tuple[str, ...]]:
    """As beside_bare()."""
    return [
        bar(
            f"fortieth, guard off / {name}, {size} streams",
            [a.decode / b.decode for a, b in zip(own[size], other[size], strict=True)],
            least=1.0 if size < 8 else 1.3,
        )
        for size in own
        if size in (1, 8)
    ]


def bar(what: str, values: list[float], *, least: float = 0.0, most: float = 0.0) -> tuple[str, ...]:
    """A row: the median of the values and, of several, how far they lie apart."""
    middle = statistics.median(values)
    shown = f"{middle:.2f}" + (f" ({min(values):.2f} to {max(values):.2f})" if len(values) > 1 else "")
    met = middle >= least if least else middle <= most
    return what, f">= {least}" if least else f"<= {most}", shown, "yes" if met else "**no**"


def fairness(model: Path, rounds: int) -> list[tuple[str, ...]]:
    """The bars that need our server alone, and the cost of grammars. Each token leaves by itself: else the
    normal gap would be the interval at which text leaves.
    """
    server = unguarded()
    server = replace(server, environment=(*server.environment, ("FORTIETH_STREAM_INTERVAL_MS", "0")))
    with running(server, model) as live:
        target = Target(live, model.name)
        gaps = [asyncio.run(gap(target)) for _ in range(rounds)]
        waits = [asyncio.run(mixed(target)) for _ in range(rounds)]
        differences = [asyncio.run(exactness(target)) for _ in range(2)]
    costs = [bare(model, "constrained", 8, 200) for _ in range(3)]
    largest = max(difference for difference, _ in differences)
    same = all(agree for _, agree in differences)
    exact = f"{largest:.1e}, {'identical' if same else 'tokens differ'}"
    return [
        bar("4096 tokens arrive while 3 streams decode: worst gap / normal", [g for g, _ in gaps], most=12),
        bar("the newcomer's TTFT / alone", [wait for _, wait in gaps], most=1.5),
        bar("1 x 2048 and 7 x 16 tokens at once: mean TTFT of the short / alone", waits, most=4),
        (
            "logprobs in a batch of 8 against alone: largest difference, tokens",
            "<= 1e-4, identical",
            exact,
            "yes" if largest <= 1e-4 and same else "**no**",
        ),
        bar("a step of 8 streams under grammars / without", costs, most=1.10),
        watching(model),
    ]


def watching(model: Path) -> tuple[str, ...]:
    """The price of looking for texts that repeat themselves."""
    ratios = bare(model, "watched", 8, TOKENS.least + 512)
    return bar("CPU time of 8 streams watched for repetition / not", ratios, most=1.02)


def bars_table(model: Path, bars: list[tuple[str, ...]]) -> None:
    print(f"\n### {model.name}: the bars\n")
    row("measure", "bar", "measured", "met")
    row("---", "---", "--:", "---")
    for cells in bars:
        row(*cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--models", type=Path, default=Path(tempfile.gettempdir()), help="where they are made"
    )
    parser.add_argument("--sizes", default="1,4,8,16")
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rivals", type=Path, default=Path("/tmp/fortieth-rivals"))
    parser.add_argument("--only", choices=("throughput", "bars", "watching"))
    arguments = parser.parse_args()
    random = make_model(arguments.models / "fortieth-bench-letters")
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("mlx", "mlx-lm", "llguidance"))
    machine = f"{os.cpu_count()} cores, {platform.machine()}"
    print(f"Load average before: {os.getloadavg()[0]:.1f}; {machine}; {versions}")
    for model in (random, make_endless(arguments.models / "fortieth-bench-bundled")):
        bars: list[tuple[str, ...]] = []
        if arguments.only not in ("bars", "watching"):
            bars += throughput_table(model, arguments.rivals, arguments)
        if arguments.only == "watching":
            bars.append(watching(model))
        elif arguments.only != "throughput" and model == random:
            bars += fairness(model, arguments.rounds)
        if bars:
            bars_table(model, bars)


if __name__ == "__main__":
    main()
