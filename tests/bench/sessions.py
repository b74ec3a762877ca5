"""`python -m tests.bench.sessions` (make bench-sessions): agent loops over HTTP, beside rivals.

Every server gets the same conversations from the same client, one request at a time, greedy, with answers of
one length. Prints Markdown; a bar that is missed is marked.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import statistics
import tempfile
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

from engine.resolve import BUNDLED
from tests.bench.engine import blas_library
from tests.bench.kinds import PRINTABLE, model_path
from tests.bench.operations import attention_layers, attention_seconds, on_gpu, product_seconds
from tests.bench.servers import Live, Running, Server, ours, rivals, running
from tests.bench.wire import Answer, ask

T = TypeVar("T")

SYSTEM_CHARS, NEW_CHARS, ANSWER = 1200, 120, 24
ROUNDS = 3
SETTLE_S = 3.0  # what a turn leaves behind is written by then
UNCUTTABLE = ("window", "hybrid")  # their states can be gone on from at the ends of segments only
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": f"{name.replace('_', ' ')} of the project",
            "parameters": {
                "type": "object",
                "properties": {"path": {"type": "string"}},
                "required": ["path"],
            },
        },
    }
    for name in ("read_file", "list_folder", "run_tests")
]


FULL = 7_600  # tokens of a prompt after which the bundled model's context may be over
SAYS = {"ignore_eos": True, "logit_bias": {"0": -100, "2": -100}}  # the bundled model: text of one length


@dataclass(frozen=True, slots=True)
class Turn:
    """Seconds to the first text or call and of the whole; tokens of the prompt, reused, and of the answer."""

    ttft: float
    seconds: float
    prompt: int
    cached: int
    answer: int


def words(seed: int, size: int) -> str:
    """A text of so many characters, another for each seed from its first word on."""
    return (f"{seed} " + f"line {seed * 7919 % 1000} of the file; " * (size // 10 + 1))[:size]


def opening(seed: int, chars: int) -> list[dict[str, Any]]:
    system = words(seed, chars)
    return [{"role": "system", "content": system}, {"role": "user", "content": "Read all parts, one by one."}]


def fields_of(kind: str, server: str = "fortieth") -> dict[str, Any]:
    """What a request needs for answers of one length: weights, or else a bias that only ours knows surely."""
    if kind == "bundled":
        return {"tools": TOOLS}
    return {"logit_bias": PRINTABLE, "ignore_eos": True} if server == "fortieth" else {}


async def turn(live: Live, name: str, messages: list[dict[str, Any]], fields: dict[str, Any]) -> Turn:
    """One request; what it brought is added to the messages, with a result behind it."""
    request = {
        "model": name,
        "messages": messages,
        "max_tokens": ANSWER if "tools" not in fields else 128,
        "temperature": 0.0,
        "stream": True,
        "stream_options": {"include_usage": True},
        **fields,
    }
    answer: Answer = await ask(live.port, request)
    if answer.error or answer.status != 200:
        raise RuntimeError(f"{answer.status}: {answer.error[:200]}")
    messages += reply_and_result(answer, len(messages))
    seconds = answer.ended - answer.began
    ttft = min(answer.ttft, seconds)  # an answer without a word is over when it is over
    tokens = answer.tokens or len(answer.text)  # some tell no usage, and their tokens are characters
    return Turn(ttft, seconds, answer.prompt_tokens, answer.cached_tokens, tokens)


def reply_and_result(answer: Answer, seed: int) -> list[dict[str, Any]]:
    result = words(seed, NEW_CHARS)
    if not answer.calls:
        return [{"role": "assistant", "content": answer.text}, {"role": "user", "content": result}]
    reply = {"role": "assistant", "content": answer.text or None, "tool_calls": answer.calls}
    results = [{"role": "tool", "tool_call_id": call["id"], "content": result} for call in answer.calls]
    return [reply, *results]


async def loop(
    live: Running,
    name: str,
    turns: int,
    fields: dict[str, Any],
    seed: int,
    think_s: float,
    tell: Callable[[Turn], None] = lambda _: None,
) -> list[Turn]:
    """So many turns, or as many as fit into the bundled model's context. tell: gets each as it ends."""
    messages = opening(seed, SYSTEM_CHARS)
    done: list[Turn] = []
    full = FULL if name == BUNDLED[0] else None
    while len(done) < turns and not (full and done and done[-1].prompt > full):
        done.append(await turn(live, name, messages, fields))
        tell(done[-1])
        await asyncio.sleep(think_s)
    return done


def beyond(done: list[Turn]) -> int:
    """The most tokens of a prompt that the server had seen or written before, and computed again."""
    return max(before.prompt + before.answer - after.cached for before, after in pairwise(done))


def row(name: str, value: str, bar: str, met: bool | None = None) -> None:
    print(
        f"| {name} | {value} | {bar}{'' if met is None else ', met' if met else ', **missed**'} |", flush=True
    )


def served(
    server: Server, path: Path, blas: Path | None, work: Callable[[Running], Coroutine[Any, Any, T]]
) -> T:
    with running(server, path, None if server.name == "fortieth" else blas) as live:
        return asyncio.run(work(live))


def fortieth(folder: Path, name: str) -> Server:
    # a turn that is asked again counts its prompt twice, and these loops say the same again and again
    return ours("--guard", "off", "--cache-dir", str(folder / f"cache-{name}"))


def bench_loop(kind: str, folder: Path, turns: int, think_s: float, rehearsals: int) -> None:
    """What a turn computes, and whether it takes longer as the conversation grows.

    rehearsals: loops of other words before it, for devices that compile kernels when they first need them,
    which would be a part of the first turns. The first text of a call is all of it; so where the model calls
    tools, the time is that of a loop of text.
    """
    path = model_path(kind, folder)

    calls = fields_of(kind)
    text = SAYS if kind == "bundled" else calls

    async def work(live: Running) -> tuple[list[Turn], list[Turn]]:
        for number in range(rehearsals):
            await loop(live, path.name, turns, text, 71 + number, think_s)
        done = await loop(live, path.name, turns, calls, 1, think_s)
        return done, done if text == calls else await loop(live, path.name, turns, text, 1, think_s)

    done, said = served(fortieth(folder, f"loop-{kind}"), path, None, work)
    worst = beyond(done)
    segment = max(after.prompt - before.prompt for before, after in pairwise(done))
    most = segment if kind in UNCUTTABLE else 8
    label = f"{kind}: known tokens computed again in a turn, worst of {turns} turns over HTTP"
    row(label, str(worst), f"<= {most}{' (a segment)' if kind in UNCUTTABLE else ''}", worst <= most)
    early, late = (statistics.median(one.ttft for one in part) for part in (said[1:4], said[-3:]))
    label = f"{kind}: TTFT of the last three turns / of turns 2 to 4"
    value = f"{late * 1000:.0f} / {early * 1000:.0f} ms = {late / early:.2f}"
    sizes = f"({said[2].prompt} and {said[-2].prompt} tokens)"
    if on_gpu():
        row(label, f"{value} {sizes}", "<= 1.3", late / early <= 1.3)
        return
    layers, new = attention_layers(path), said[-1].prompt - said[-1].cached
    attention, products = (
        1 + (seconds(layers, new, said[-2].prompt) - seconds(layers, new, said[2].prompt)) / early
        for seconds in (attention_seconds, product_seconds)
    )
    beside = late / early / attention
    value += f"; attention alone {attention:.2f}, its products {products:.2f}; {beside:.2f} of attention's"
    row(label, f"{value} {sizes}", "<= 1.25", beside <= 1.25)


def bench_rivals(folder: Path, found: list[Server], turns: int, rounds: int, blas: Path | None) -> None:
    """The same loop on each server, in turn, a server anew for each round; the best round of each."""
    path = model_path("10M", folder)
    best: dict[str, float] = {}
    failed: dict[str, str] = {}
    for number in range(rounds):
        servers = [fortieth(folder, f"rivals-{number}"), *found]
        for server in servers:

            async def work(live: Running, name: str = server.name, seed: int = number + 2) -> float:
                model = path.name if name == "fortieth" else str(path)
                done = await loop(live, model, turns, fields_of("10M", name), seed, 0.0)
                assert all(one.answer == ANSWER for one in done), [one.answer for one in done]
                return sum(one.seconds for one in done)

            try:
                seconds = served(server, path, blas, work)
            except (RuntimeError, AssertionError) as error:
                failed[server.name] = str(error)[:120]
                continue
            best[server.name] = min(seconds, best.get(server.name, seconds))
    mine = best.get("fortieth")
    for server in found:
        if mine is None or server.name not in best:
            row(
                f"10M: {turns}-turn loop, total / {server.name}",
                f"not measured: {failed.get(server.name, '')}",
                "<= 0.8",
            )
            continue
        ratio = mine / best[server.name]
        value = f"{mine:.2f} / {best[server.name]:.2f} s = {ratio:.2f}"
        row(f"10M: {turns}-turn loop, total / {server.name}", value, "<= 0.8", ratio <= 0.8)


def bench_restart(kind: str, folder: Path, tokens: int) -> None:
    """kill -9 of the whole server, the same command again, and the session's next turn."""
    path = model_path(kind, folder)
    server = fortieth(folder, f"restart-{kind}")
    messages = opening(5, tokens if kind != "bundled" else 2 * tokens)  # of which it needs fewer tokens
    fields = {**fields_of(kind), "prompt_cache_key": "restart"}
    with running(server, path) as live:
        cold, warm = asyncio.run(cold_and_warm(live, path.name, messages, fields))
        time.sleep(SETTLE_S)
        os.killpg(live.process.pid, signal.SIGKILL)
        live.process.wait()
    with running(server, path) as live:
        asyncio.run(turn(live, path.name, opening(99, 64), fields_of(kind)))  # whatever a first request costs
        again = asyncio.run(turn(live, path.name, messages, fields))
    met = again.ttft <= 2 * warm.ttft and again.ttft <= 0.2 * cold.ttft
    value = (
        f"{again.ttft:.3f} / {warm.ttft:.3f} / {cold.ttft:.3f} s = {again.ttft / warm.ttft:.1f} x warm, "
        f"{again.ttft / cold.ttft:.2f} x cold ({again.cached} of {again.prompt} tokens reused)"
    )
    row(f"{kind}: TTFT after kill -9 and restart / warm / cold", value, "<= 2 x warm, <= 0.2 x cold", met)


async def cold_and_warm(
    live: Running, name: str, messages: list[dict[str, Any]], fields: dict[str, Any]
) -> tuple[Turn, Turn]:
    await turn(live, name, opening(98, 64), fields_of("bundled" if "tools" in fields else "10M"))
    cold = await turn(live, name, messages, fields)
    await asyncio.sleep(1.0)
    return cold, await turn(live, name, messages, fields)


def bench_think(folder: Path, turns: int) -> None:
    """The same loop with tools that take half a second, think time on and off."""
    path = model_path("bundled", folder)
    rows: dict[bool, list[Turn]] = {}
    for on in (True, False):
        setting = ("FORTIETH_THINK_TIME", str(on).lower())

        async def work(live: Running) -> list[Turn]:
            return await loop(live, path.name, turns, fields_of("bundled"), 3, 0.5)

        rows[on] = served(replace(fortieth(folder, f"think-{on}"), environment=(setting,)), path, None, work)
    ttft = {on: statistics.median(one.ttft for one in done[1:]) * 1000 for on, done in rows.items()}
    again = {on: beyond(done) for on, done in rows.items()}
    value = f"{again[True]} / {again[False]} tokens, TTFT {ttft[True]:.0f} / {ttft[False]:.0f} ms"
    met = again[True] <= again[False]
    row("bundled: known tokens computed again, worst, think time on / off", value, "<= off", met)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--turns", type=int, default=40)
    parser.add_argument("--tokens", type=int, default=8192)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--think", type=float, default=0.0, help="seconds that a tool takes")
    parser.add_argument("--rehearsals", type=int, default=0, help="loops before the one that is measured")
    parser.add_argument("--kinds", nargs="*", default=["bundled", "10M", "window", "hybrid"])
    parser.add_argument("--rivals", type=Path, default=Path("/tmp/fortieth-rivals"))
    parser.add_argument("--only", nargs="*", default=["loop", "restart", "rivals", "think"])
    asked = parser.parse_args()
    print("| over HTTP | value | bar |\n|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind in asked.kinds:
            if "loop" in asked.only:
                bench_loop(kind, folder, asked.turns, asked.think, asked.rehearsals)
            if "restart" in asked.only:
                bench_restart(kind, folder, min(asked.tokens, 6400) if kind == "bundled" else asked.tokens)
        if "think" in asked.only:
            bench_think(folder, max(3, asked.turns // 4))
        if "rivals" in asked.only:
            there = [with_disk(server, folder) for server in rivals(asked.rivals) if told(server)]
            bench_rivals(folder, there, asked.turns, asked.rounds, blas_library())


def with_disk(server: Server, folder: Path) -> Server:
    """vllm-mlx has a tier on disk, off by default."""
    if server.name != "vllm-mlx":
        return server
    return replace(server, command=(*server.command, "--ssd-cache-dir", str(folder / "vllm-mlx")))


def told(server: Server) -> bool:
    """Whether it can be started; why not is told."""
    if server.missing:
        row(f"10M: loop / {server.name}", f"not measured: {server.missing}", "<= 0.8")
    return not server.missing


if __name__ == "__main__":
    main()
