"""Requests of invented tools to the bundled model, hot and without `max_tokens`: `make bench-runaways`.

Prints how long attempts became beside their bounds, whether every runaway was asked again, and how long turns
took. Fails where an attempt is longer than its bound, a runaway was not asked again, or a client waited for
ten minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import httpx

from corpora.malformations.tools import draw_arguments, draw_tools
from engine.config import EngineConfig
from engine.resolve import bundled
from proxy.guard.policy import GuardPolicy
from proxy.records.request_record import RequestRecord
from proxy.upstreams.engine import EngineUpstream
from proxy.upstreams.sampling import SamplingDefaults
from tests.proxy.attempts import Accounts
from tests.proxy.live import LiveServer, LoopThread, serving

# A first attempt that was refused after so many tokens has run away: a right call of these tools has fewer.
LONG = 512
PATIENCE_S = 600.0
UNANSWERED = "no answer"


def draw_requests(count: int, seed: int) -> Iterator[dict[str, Any]]:
    """Each asks for one call of one of two to five invented tools."""
    for number in range(count):
        rng = random.Random(f"{seed} {number}")
        tools = draw_tools(rng)
        tool = rng.choice(tools)
        wanted = json.dumps(draw_arguments(rng, tool.parameters, "hermes"), ensure_ascii=False)[:600]
        functions = [
            {"name": one.name, "description": one.description, "parameters": dict(one.parameters)}
            for one in tools
        ]
        yield {
            "model": "fortieth-tiny",
            "messages": [{"role": "user", "content": f"Use {tool.name} with {wanted}"}],
            "tools": [{"type": "function", "function": one} for one in functions],
            "temperature": 1.0,
            "seed": number,
        }


async def ask_all(server: LiveServer, requests: Sequence[dict[str, Any]], at_once: int) -> Counter[str]:
    """What became of the turns, by status or verdict and finish."""
    found: Counter[str] = Counter()
    gate = asyncio.Semaphore(at_once)
    async with httpx.AsyncClient(base_url=server.base_url, timeout=PATIENCE_S) as client:

        async def ask(body: dict[str, Any]) -> None:
            async with gate:
                try:
                    response = await client.post("/chat/completions", json=body)
                except httpx.TimeoutException:
                    found[UNANSWERED] += 1
                    return
            told = response.headers.get("x-fortieth-verdict", str(response.status_code))
            found[told] += 1

        await asyncio.gather(*map(ask, requests))
    return found


def report(accounts: Sequence[RequestRecord], bound: int) -> list[str]:
    """Prints the figures; what is against the bounds. bound: tokens of a first attempt."""
    firsts = [one.attempts[0] for one in accounts if one.attempts]
    runaways = [
        one
        for one in accounts
        if one.attempts and one.attempts[0].problems and one.attempts[0].usage.completion_tokens >= LONG
    ]
    lengths = sorted(one.usage.completion_tokens for one in firsts)
    later = sorted(one.usage.completion_tokens for all_ in accounts for one in all_.attempts[1:])
    seconds = sorted(one.timings.total for one in accounts)
    print(f"{len(accounts)} turns, {len(later)} re-asks; bound of a first attempt {bound} tokens")
    for name, values in (("first attempts", lengths), ("re-asks", later)):
        if values:
            told = [values[int(share * (len(values) - 1))] for share in (0.5, 0.99, 1.0)]
            print(f"tokens of {name}: p50 {told[0]}, p99 {told[1]}, longest {told[2]}")
    at = [seconds[int(share * (len(seconds) - 1))] for share in (0.5, 0.99, 1.0)]
    print(f"seconds of a turn: p50 {at[0]:.2f}, p99 {at[1]:.2f}, longest {at[2]:.2f}")
    again = sum(len(one.attempts) > 1 for one in runaways)
    saved = sum(one.verdict.value == "reasked" for one in runaways)
    print(f"runaways: {len(runaways)}, asked again {again}, of these saved {saved}")
    repeated = sum(attempt.repeated for one in accounts for attempt in one.attempts)
    print(f"attempts that repeated themselves and were stopped: {repeated}")
    wrong = [f"an attempt of {one} tokens" for one in lengths if one > bound]
    limits = [
        (attempt.usage.completion_tokens, max(1024, 4 * before.usage.completion_tokens))
        for one in accounts
        for before, attempt in zip(one.attempts, one.attempts[1:], strict=False)
    ]
    wrong += [f"a re-ask of {tokens} tokens, bound {limit}" for tokens, limit in limits if tokens > limit]
    return wrong + ["a runaway was not asked again"] * (len(runaways) - again)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("--at-once", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    thread, accounts = LoopThread(), Accounts()
    config = EngineConfig(model=str(bundled("fortieth-tiny")), max_batch=arguments.at_once, log_level="error")
    upstream = thread.run(EngineUpstream.start(config, "fortieth-tiny"), 120)
    try:
        with serving(upstream, policy=GuardPolicy(), sinks=(accounts,), thread=thread) as server:
            requests = list(draw_requests(arguments.requests, arguments.seed))
            found = asyncio.run(ask_all(server, requests, arguments.at_once))
        bound = SamplingDefaults.load(bundled("fortieth-tiny")).unasked_tokens(
            upstream.models[0].context_length
        )
    finally:
        thread.run(upstream.close())
        thread.close()
    print(", ".join(f"{name} {count}" for name, count in found.most_common()))
    wrong = report(accounts.kept, bound)
    if missing := found[UNANSWERED]:
        wrong.append(f"{missing} turns took longer than {PATIENCE_S:.0f} s")
    print("\n".join(wrong) or "nothing is longer than its bound")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
