"""`python -m tests.bench.soak` (make soak-engine): what a served engine survives, over HTTP (Linux).

Random requests, valid and not, many at a time, some of which hang up in the middle; then kill -9 of the
engine process under load. After each of them the server must rest. Last distinct long prompts, by which its
memory must not grow beyond its budgets (tests.bench.memory). Exits with 1 where a bar is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.bench.memory import measured
from tests.bench.memory import report as memory_report
from tests.bench.resting import pids, watch
from tests.bench.servers import Running, Server, engine_pid, ours, resident, running
from tests.bench.wire import Answer, ask
from tests.engine.tiny import make_model

AT_ONCE = 16
FLAT = 1.05
SETTLE_S = 2.0  # what requests leave behind is written by then
QUIET_S = 60.0  # that what still runs at the end may take to be gone
REST_S = 10.0
BACK_S = 2.0  # beyond loading the model
POISON: tuple[dict[str, Any], ...] = (
    {"temperature": -1},
    {"top_p": 7},
    {"top_k": 10**9},
    {"logit_bias": {"99999999": 1}},
    {"logit_bias": {"1": 1e9}},
    {"max_tokens": 0},
    {"messages": []},
    {"n": 0},
    {"top_logprobs": 99, "logprobs": True},
    {"model": "another"},
)
EXTREMES: tuple[dict[str, Any], ...] = (
    {"temperature": 2.0, "seed": 2**63 - 1},
    {"top_k": 3, "temperature": 1.0},
    {"top_p": 0.01, "temperature": 1.0},
    {"min_p": 1.0, "temperature": 1.0},
    {"logit_bias": {"65": 100, "66": -100}},
    {"presence_penalty": 2.0, "frequency_penalty": -2.0, "repetition_penalty": 1.7},
    {"stop": ["a", "\n", "zz"]},
    {"logprobs": True, "top_logprobs": 5},
    {"response_format": {"type": "json_object"}},
    {"n": 3, "temperature": 1.0},
    {"stream": False},
    {"max_tokens": 1},
    {"ignore_eos": True},
)


@dataclass(frozen=True, slots=True)
class Wish:
    """A request, when its client hangs up, and whether it must be refused."""

    body: dict[str, Any]
    leave_after: int | None
    poisoned: bool


@dataclass(slots=True)
class Report:
    """What came of it. kinds: how requests ended. wrong: what should not have happened. sizes: resident bytes
    along the way, by process.
    """

    kinds: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    sizes: dict[str, list[int]] = field(default_factory=lambda: {"server": [], "engine": []})

    def note_sizes(self, server: int) -> None:
        if engine := engine_pid(server):
            self.sizes["server"].append(resident(server))
            self.sizes["engine"].append(resident(engine))

    def growth(self) -> dict[str, float]:
        return {name: growth(sizes) for name, sizes in self.sizes.items()}


def growth(sizes: list[int]) -> float:
    """The end over half-way: medians of the last and of the middle tenth."""
    tenth = max(1, len(sizes) // 10)
    return statistics.median(sizes[-tenth:]) / statistics.median(sizes[len(sizes) // 2 :][:tenth])


def small_caches(folder: str) -> Server:
    """Ours with a prefix cache that is full early on, so that what still grows afterwards is a leak."""
    return replace(
        ours("--guard", "full", "--log-level", "error", "--cache-dir", folder),
        environment=(("FORTIETH_CACHE_RAM_GB", "0.02"), ("FORTIETH_CACHE_DISK_GB", "0.1")),
    )


def splitting_model(path: Path) -> Path:
    """The tiny model, its tokenizer made to split texts into words, as all do that are in use: they remember
    10,000 words, and where a whole text is one word, that takes memory for 10,000 requests.
    """
    if not path.is_dir():
        make_model(path)
        file = path / "tokenizer.json"
        tokenizer = json.loads(file.read_text("utf-8"))
        tokenizer["pre_tokenizer"]["use_regex"] = True
        file.write_text(json.dumps(tokenizer), "utf-8")
    return path


def wishes(seed: int, model: str) -> Iterator[Wish]:
    """Endless; the same for the same seed."""
    rng = random.Random(seed)
    while True:
        text = "".join(rng.choices("abcdefgh \n東é", k=int(rng.expovariate(1 / 40)) + 1))[:380]
        request = {
            "model": model,
            "messages": [{"role": "user", "content": text}],
            "max_tokens": rng.randint(1, 40),
            "stream": True,
        }
        for extreme in rng.sample(EXTREMES, rng.randint(0, 3)):
            request |= extreme
        poisoned = rng.random() < 0.1
        if poisoned:
            request |= rng.choice(POISON)
        leave = rng.choice((0, 1, 5)) if rng.random() < 0.2 else None
        yield Wish(request, leave, poisoned)


def judge(wish: Wish, answer: Answer) -> tuple[str, str]:
    """(how it ended, what is wrong with that or "")."""
    if wish.leave_after is not None and not answer.error:
        return "left", ""
    if wish.poisoned:
        refused = 400 <= answer.status < 500
        return f"refused {answer.status}", "" if refused else f"{answer.status} for {json.dumps(wish.body)}"
    if answer.status == 200 and answer.finish and not answer.error:
        return "answered", ""
    return f"failed {answer.status}", f"{answer.error[:200] or 'no end'} for {json.dumps(wish.body)[:300]}"


async def soak(live: Running, model: str, count: int, seed: int) -> Report:
    """`count` requests, AT_ONCE at a time; then nothing may be left running."""
    report, source = Report(), wishes(seed, model)
    left = count

    async def client() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            wish = next(source)
            kind, wrong = judge(wish, await ask(live.port, wish.body, leave_after=wish.leave_after))
            report.kinds[kind] += 1
            report.wrong += [wrong] if wrong else []
            if left % 20 == 0:
                report.note_sizes(live.process.pid)

    first = engine_pid(live.process.pid)
    await asyncio.gather(*(client() for _ in range(AT_ONCE)))
    if engine_pid(live.process.pid) != first:
        report.wrong.append("the engine process is another one")
    until = time.monotonic() + QUIET_S
    while (busy := await gauges(live.port)) and time.monotonic() < until:
        await asyncio.sleep(0.2)
    report.wrong += [f"still running: {busy}"] if busy else []
    return report


async def gauges(port: int) -> dict[str, float]:
    """Those of /metrics that tell of requests under way and are not 0."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
    text = (await reader.read()).decode()
    writer.close()
    lines = [line.rsplit(" ", 1) for line in text.splitlines() if line.startswith("fortieth_requests_")]
    names = ("_in_flight", "_running", "_waiting")
    return {
        name: float(value) for name, value in lines if name.split("{")[0].endswith(names) and float(value)
    }


async def kills(live: Running, model: str, count: int, load_s: float) -> tuple[list[str], list[float]]:
    """(what went wrong, seconds from each kill until a request was answered again)."""
    wrong: list[str] = []
    back: list[float] = []
    for n in range(count):
        bodies = [wish.body for wish, _ in zip(wishes(1000 + n, model), range(AT_ONCE), strict=False)]
        running_ = [asyncio.create_task(ask(live.port, body, timeout_s=60 + load_s)) for body in bodies]
        await asyncio.sleep(random.Random(n).uniform(0.0, 0.3))
        while not (engine := engine_pid(live.process.pid)):
            await asyncio.sleep(0.01)  # 0 would be our own group
        os.kill(engine, signal.SIGKILL)
        killed = time.monotonic()
        probe = {
            "model": model,
            "messages": [{"role": "user", "content": "hi"}],
            "max_tokens": 2,
            "stream": True,
        }
        while (await ask(live.port, probe)).finish == "":
            await asyncio.sleep(0.05)
        back.append(time.monotonic() - killed)
        for body, answer in zip(bodies, await asyncio.gather(*running_), strict=True):
            clean = (
                answer.status >= 400 or answer.finish or "error" in answer.error or "engine" in answer.error
            )
            wrong += (
                [] if clean else [f"kill {n}: {answer.status} {answer.error} for {json.dumps(body)[:200]}"]
            )
    return wrong, back


def rest(live: Running) -> list[str]:
    """What is wrong with a server that nobody asks anything of; to be called when nothing runs."""
    time.sleep(SETTLE_S)
    seen = asyncio.run(watch(pids(live), REST_S))
    told = f"at rest: {100 * seen.cpu:.2f}% of a core, {seen.wakeups:.1f} wake-ups a second"
    print(told, flush=True)
    return [] if seen.quiet else [told]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=10000)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--prompts", type=int, default=100, help="long and distinct")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    model = splitting_model(Path("/tmp/fortieth-soak-words"))
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as folder, running(small_caches(folder), model) as live:
        report = asyncio.run(soak(live, model.name, arguments.requests, arguments.seed))
        wrong += rest(live)
    grown = ", ".join(f"{name} x{by:.3f}" for name, by in report.growth().items())
    print(dict(report.kinds.most_common()), f"memory over the second half: {grown}", flush=True)
    print(
        {
            name: [size >> 20 for size in sizes[:: max(1, len(sizes) // 10)]]
            for name, sizes in report.sizes.items()
        }
    )
    wrong += report.wrong + [f"{name} grew" for name, by in report.growth().items() if by > FLAT]
    if arguments.kills:
        began = time.monotonic()
        with running(ours("--cache-dir", "off", "--log-level", "error"), model) as live:
            load_s = time.monotonic() - began
            unclean, back = asyncio.run(kills(live, model.name, arguments.kills, load_s))
            wrong += rest(live)
        print(f"kills: {len(back)}, back after {statistics.median(back):.1f} s (longest {max(back):.1f})")
        print(f"a start of server and model takes {load_s:.1f} s")
        wrong += unclean + ([] if max(back) <= BACK_S + load_s else ["not back in time"])
    wrong += memory_report(measured(arguments.prompts)) if arguments.prompts else []
    print("\n".join(wrong[:20]) or "nothing went wrong")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
