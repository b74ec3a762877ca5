"""The steps of `make bench-gpu`: each prints its rows when it has them, since it may be cut at any time.

A row is what was measured, its value, its bar, and whether that is met. Brings in MLX.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import time
import urllib.request
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

import mlx.core as mx

from tests.bench.cache_sessions import bench_gap
from tests.bench.cache_sessions import model as loaded_model
from tests.bench.engine import bare, blas_library, cached, row, served_name
from tests.bench.measures import Rate, Target, throughput
from tests.bench.model import LETTERS, QWEN3_0_6B, make_endless, make_model
from tests.bench.servers import ROOT, Running, Server, ours, rivals, running
from tests.bench.sessions import SAYS, Turn, loop

BARRED = (1, 8, 16)  # streams of which there is a bar
WRITING, WHOLE = 0.95, 0.90  # of the bare library: while all streams write; with their beginnings and ends
BESIDE_BARE, LATE, WORST = 2.0, 1.3, 3.0  # of a turn's time to first token
ASKED = 200  # tokens of a prompt whose first token is timed
TESTS_AT_ONCE = 14


def told(what: str, value: str, bar: str = "", met: bool | None = None) -> None:
    row(what, value, bar, "" if met is None else "yes" if met else "**no**")


def ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds >= 0.1 else f"{seconds * 1000:.1f} ms"


def random_model(asked: Namespace) -> Path:
    """A model of the shape of Qwen3-0.6B in 16 bits, or with --small one that a CPU computes in no time."""
    name, shape, dtype = (
        ("letters", LETTERS, mx.float32) if asked.small else ("qwen", QWEN3_0_6B, mx.bfloat16)
    )
    return make_model(asked.folder / name, shape, dtype)


def bundled_model(asked: Namespace) -> Path:
    path: Path = asked.folder / "bundled"
    return path if (path / "model.safetensors").is_file() else make_endless(path)


def unguarded() -> Server:
    return ours("--guard", "off", *cached())


def machine(asked: Namespace) -> None:
    """What computes, and with what; and the model that the other steps need."""
    told("device", f"{mx.default_device()}, {mx.device_info().get('device_name', '')}")
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("mlx", "mlx-lm", "llguidance"))
    told("machine", f"{os.cpu_count()} cores, Python {sys.version.split()[0]}, {versions}")
    began = time.perf_counter()
    path = random_model(asked)
    size = sum(file.stat().st_size for file in path.glob("*.safetensors"))
    told("random model", f"{path.name}, {size / 1e9:.2f} GB, made in {time.perf_counter() - began:.0f} s")


def first_answers(asked: Namespace) -> None:
    """How long a start takes, and the first answers of a process beside later ones."""
    model = random_model(asked)
    began = time.perf_counter()
    with running(unguarded(), model) as live:
        with urllib.request.urlopen(f"http://127.0.0.1:{live.port}/health", timeout=60) as answer:
            told("from the start to /health", f"{time.perf_counter() - began:.1f} s, status {answer.status}")
        target = Target(live, model.name)
        took = [asyncio.run(target.ask(ASKED, 4)).ttft for _ in range(10)]
    told(f"TTFT of {ASKED} tokens, first five requests", ", ".join(map(ms, took[:5])))
    later = statistics.median(took[5:])
    told("the first / the median of the next five after them", f"{took[0] / later:.2f} ({ms(later)})")


def speed(asked: Namespace, model: Path) -> None:
    """Tokens a second beside the bare library, then beside mlx_lm.server, in turns."""
    other = rivals(Path())[0]
    with running(unguarded(), model) as live:
        mine = Target(live, model.name)
        asyncio.run(throughput(mine, 2, 16))
        for size in asked.sizes:
            pairs = [beside_library(mine, model, size, asked.tokens) for _ in range(asked.rounds)]
            speed_rows(f"bare BatchGenerator, {size}", pairs, size in BARRED)
        with running(other, model, blas_library()) as beside:
            its = Target(beside, served_name(other, model))
            asyncio.run(throughput(its, 2, 16))
            for size in asked.sizes:
                pairs = [beside_server(mine, its, size, asked.tokens) for _ in range(asked.rounds)]
                speed_rows(f"{other.name}, {size}", pairs, False)


def beside_library(mine: Target, model: Path, size: int, tokens: int) -> tuple[Rate, Rate]:
    own = asyncio.run(throughput(mine, size, tokens))
    decode, whole = bare(model, "decode", size, tokens, own.prompt)
    return own, Rate(decode, whole, own.prompt)


def beside_server(mine: Target, its: Target, size: int, tokens: int) -> tuple[Rate, Rate]:
    return asyncio.run(throughput(mine, size, tokens)), asyncio.run(throughput(its, size, tokens))


def speed_rows(beside: str, pairs: Sequence[tuple[Rate, Rate]], barred: bool) -> None:
    """Medians of the rounds' ratios, while all streams write and with beginnings and ends."""
    ways: tuple[tuple[str, float, Callable[[Rate], float]], ...] = (
        ("while all write", WRITING, lambda rate: rate.decode),
        ("with beginnings and ends", WHOLE, lambda rate: rate.whole),
    )
    for how, least, of in ways:
        ratio = statistics.median(of(own) / of(its) for own, its in pairs)
        own, its = (statistics.median(map(of, rates)) for rates in zip(*pairs, strict=True))
        value = f"{own:.0f} / {its:.0f} tokens a second = {ratio:.2f}"
        bar, met = (f">= {least}", ratio >= least) if barred else ("", None)
        told(f"fortieth / {beside} streams, {how}", value, bar, met)


def turn_by_turn(asked: Namespace, model: Path) -> None:
    """Two loops of one process, each turn as it ends; the second beside the bare library's."""
    fields = SAYS if model.name == "bundled" else {"ignore_eos": True}

    async def work(live: Running) -> list[Turn]:
        done: list[Turn] = []
        for name, seed in (("first", 71), ("second", 1)):
            at = iter(range(1, asked.turns + 1))

            def tell(one: Turn, name: str = name, at: Iterator[int] = at) -> None:
                new = one.prompt - one.cached
                told(
                    f"{name} loop, turn {next(at)}: TTFT", f"{ms(one.ttft)}, {new} of {one.prompt} tokens new"
                )

            done = await loop(live, model.name, asked.turns, fields, seed, 0.0, tell)
        return done

    with running(unguarded(), model) as live:
        done = asyncio.run(work(live))
    loop_bars(done[1:])
    new = round(statistics.median(one.prompt - one.cached for one in done[1:]))
    growth = (done[-1].prompt - done[0].prompt) // (len(done) - 1)
    its = bare(model, "turns", len(done) - 1, new, done[1].prompt - new, max(0, growth - new))
    beside_bare(done[1:], its, new)


def loop_bars(later: Sequence[Turn]) -> None:
    """later: all turns but the first."""
    took = [one.ttft for one in later]
    early, late, middle = (statistics.median(part) for part in (took[:3], took[-3:], took))
    ratio, worst = late / early, max(took) / middle
    told("TTFT of the last three turns / of turns 2 to 4", f"{ratio:.2f}", f"<= {LATE}", ratio <= LATE)
    told("the slowest turn / the median", f"{worst:.2f} ({ms(middle)})", f"<= {WORST}", worst <= WORST)


def beside_bare(later: Sequence[Turn], its: Sequence[float], new: int) -> None:
    """its: the bare library's seconds for `new` tokens, turn by turn."""
    ratios = [own.ttft / other for own, other in zip(later, its, strict=True)]
    middle = statistics.median(ratios)
    value = f"{middle:.2f} ({min(ratios):.2f} to {max(ratios):.2f}; bare {ms(statistics.median(its))})"
    label = f"TTFT of {new} new tokens, turns 2 to {len(later) + 1} / the bare library's pass over as many"
    told(label, value, f"<= {BESIDE_BARE:.0f}", middle <= BESIDE_BARE)


def cold(asked: Namespace) -> None:
    """A long prompt of which nothing is known: the first one of the process, and two others."""
    model = random_model(asked)
    with running(unguarded(), model) as live:
        for name in ("first", "second", "third"):
            answer = asyncio.run(Target(live, model.name).ask(asked.cold, 4))
            rate = answer.prompt_tokens / answer.ttft
            told(
                f"{name} cold prompt of {answer.prompt_tokens} tokens: TTFT",
                f"{ms(answer.ttft)}, {rate:.0f} tokens/s",
            )


def promotion(asked: Namespace) -> None:
    """What comes from disk while three others decode; its rows come at its end."""
    folder = asked.folder
    bench_gap(loaded_model("10M", folder), folder, asked.cold // 2, asked.rounds + 2)


def engine_tests(asked: Namespace) -> None:
    """A row for each file of tests, as it ends."""
    files = sorted((ROOT / "tests" / "engine").rglob(asked.tests))

    def work(file: Path) -> None:
        command = [sys.executable, "-m", "pytest", "--no-header", "-p", "no:cacheprovider", str(file)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        said = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
        last = (done.stdout.splitlines() or ["no output"])[-1].strip("= ")
        met = done.returncode in (0, 5)  # 5: no tests are in it
        told(str(file.relative_to(ROOT)), "; ".join([last, *said])[:400].replace("|", "/"), "all pass", met)

    with ThreadPoolExecutor(min(TESTS_AT_ONCE, max(1, (os.cpu_count() or 2) - 2))) as pool:
        list(pool.map(work, files))


STEPS: dict[str, Callable[[Namespace], None]] = {
    "machine": machine,
    "first": first_answers,
    "speed": lambda asked: speed(asked, random_model(asked)),
    "loop": lambda asked: turn_by_turn(asked, random_model(asked)),
    "cold": cold,
    "promotion": promotion,
    "bundled-speed": lambda asked: speed(asked, bundled_model(asked)),
    "bundled-loop": lambda asked: turn_by_turn(asked, bundled_model(asked)),
    "tests": engine_tests,
}
