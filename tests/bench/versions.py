"""`python -m tests.bench.versions FOLDER` (make bench-versions AGAINST=FOLDER): this checkout beside another.

Both run in this environment's Python. Each figure is a ratio of this checkout to the other, the median of
pairs that take turns: of requests through the proxy to a scripted upstream, and of requests to the engine.
Prints Markdown.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median, quantiles

from tests.bench.measures import MIDDLE, Target, throughput
from tests.bench.model import make_model
from tests.bench.proxy_arms import Arm, fortieth, upstream
from tests.bench.proxy_client import Connection
from tests.bench.proxy_upstream import Play
from tests.bench.servers import ROOT, ours, running

CALL, TEXT = Play(calls=1), Play(pieces=100, gap_s=0.0, stamped=True)
CALLS, STREAMS, TOKENS = 500, 50, 256
Figures = dict[str, float]


def cpu_s(pid: int) -> float:
    """Of all threads of a process since they began (Linux, to the nanosecond)."""
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9


def of_proxy(arm: Arm) -> Figures:
    """Seconds: of the median request, and of the process's CPU for all."""
    with contextlib.closing(Connection(arm.port)) as connection:
        began = cpu_s(arm.pid)
        took = [connection.whole(CALL) for _ in range(CALLS)]
        between = cpu_s(arm.pid)
        for _ in range(STREAMS):
            connection.stamps(TEXT)
        ended = cpu_s(arm.pid)
    return {
        "a call: seconds": median(took),
        "a call: CPU": between - began,
        "a stream of 100 pieces: CPU": ended - between,
    }


def of_engine(target: Target) -> Figures:
    return asyncio.run(_of_engine(target))


async def _of_engine(target: Target) -> Figures:
    """Tokens a second, and seconds to the first token."""
    short, long = await target.ask(64, 4), await target.ask(MIDDLE, 4)
    one, eight = await throughput(target, 1, TOKENS), await throughput(target, 8, TOKENS)
    return {
        "TTFT, 64 tokens": short.ttft,
        f"TTFT, {MIDDLE} tokens": long.ttft,
        "tokens a second, 1 stream": one.decode,
        "tokens a second, 8 streams": eight.decode,
    }


@contextlib.contextmanager
def proxies(folders: list[Path]) -> Iterator[list[Callable[[], Figures]]]:
    with contextlib.ExitStack() as stack:
        behind = stack.enter_context(upstream())
        arms = [stack.enter_context(fortieth(behind, root=one)) for one in folders]
        yield [partial(of_proxy, arm) for arm in arms]


@contextlib.contextmanager
def engines(folders: list[Path]) -> Iterator[list[Callable[[], Figures]]]:
    with contextlib.ExitStack() as stack:
        made = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        model = make_model(made / "letters")
        targets = []
        for number, one in enumerate(folders):
            server = ours("--guard", "off", "--cache-dir", str(made / f"cache-{number}"))
            server = replace(server, environment=(*server.environment, ("PYTHONPATH", str(one))))
            targets.append(Target(stack.enter_context(running(server, model)), model.name))
        yield [partial(of_engine, target) for target in targets]


def pairs(arms: list[Callable[[], Figures]], rounds: int) -> None:
    """Prints a row for each figure. The first round warms up and is left out."""
    ratios: dict[str, list[float]] = {}
    for number in range(rounds + 1):
        order = (0, 1) if number % 2 else (1, 0)
        found = {at: arms[at]() for at in order}
        for what in found[0] if number else ():
            ratios.setdefault(what, []).append(found[0][what] / found[1][what])
    for what, values in ratios.items():
        low, _, high = quantiles(values, n=4)
        print(f"| {what} | {median(values):.3f} | {low:.3f} to {high:.3f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="another checkout")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--only", choices=("proxy", "engine"))
    asked = parser.parse_args()
    folders = [ROOT, asked.folder.resolve()]
    print(f"| this / the other, {asked.rounds} pairs | median | middle half |\n|---|--:|--:|", flush=True)
    for name, kind in (("proxy", proxies), ("engine", engines)):
        if asked.only in (None, name):
            with kind(folders) as arms:
                pairs(arms, asked.rounds)


if __name__ == "__main__":
    main()
