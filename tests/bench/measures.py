"""What is measured of a running server, each as one number or two. No prompt comes twice: no cache helps."""

from __future__ import annotations

import asyncio
import itertools
import statistics
from dataclasses import dataclass

from tests.bench.servers import Running
from tests.bench.wire import Answer, ask, body, together

LONG, MIDDLE = 4096, 2048
STREAM = 3000  # tokens: longer than a long prompt takes
FRESH = itertools.count(1000)


@dataclass(frozen=True, slots=True)
class Target:
    """A server and the name it serves its model by."""

    live: Running
    model: str

    async def ask(self, tokens: int, answer: int) -> Answer:
        """Raises RuntimeError where no text comes."""
        said = await ask(self.live.port, body(prompt(tokens), answer, self.model))
        check([said])
        return said


def prompt(tokens: int) -> str:
    """A text of so many characters, unlike every other from its first word on."""
    return (f"{next(FRESH)} " * (tokens // 5 + 1))[:tokens]


def check(answers: list[Answer]) -> None:
    """Raises RuntimeError where one is no answer. What is inside calls is not shown by every server."""
    for answer in answers:
        if answer.status != 200 or answer.error or not answer.finish:
            raise RuntimeError(f"status {answer.status}: {answer.error[:200] or 'no end'}")


def made(answer: Answer, most: int) -> int:
    """Tokens: one that ended by its length has them all, whatever of it was shown."""
    return most if answer.finish == "length" else answer.tokens


@dataclass(frozen=True, slots=True)
class Rate:
    """Tokens a second of all streams together. decode: while all of them write. whole: from the first request
    to the last answer's end. prompt: tokens of each prompt that were computed, on average.
    """

    decode: float
    whole: float
    prompt: int


async def throughput(target: Target, streams: int, tokens: int) -> Rate:
    bodies = [body(prompt(32), tokens, target.model) for _ in range(streams)]
    answers = await together(target.live.port, bodies)
    check(answers)
    took = max(answer.ended for answer in answers) - min(answer.began for answer in answers)
    computed = sum(answer.prompt_tokens - answer.cached_tokens for answer in answers)
    whole = sum(made(answer, tokens) for answer in answers) / took
    return Rate(steady(answers, tokens) or whole, whole, round(computed / streams))


def steady(answers: list[Answer], most: int) -> float:
    """Tokens a second from the last stream's first text to the first stream's last, by shares of the text;
    0 where they do not all write at one time, or one shows no text: what is inside a call, say.
    """
    if not all(answer.times for answer in answers):
        return 0.0
    began = max(answer.times[0] for answer in answers)
    ended = min(answer.times[-1] for answer in answers)
    if ended <= began:
        return 0.0
    tokens = 0.0
    for answer in answers:
        pieces = zip(answer.times, answer.sizes, strict=True)
        inside = sum(size for at, size in pieces if began < at <= ended)
        tokens += made(answer, most) * inside / max(1, len(answer.text))
    return tokens / (ended - began)


async def gap(target: Target) -> tuple[float, float]:
    """(worst gap / normal gap of three streams when a long prompt arrives, its TTFT / alone just before)."""
    alone = await target.ask(LONG, 4)
    streams = [
        asyncio.create_task(ask(target.live.port, body(prompt(32), STREAM, target.model))) for _ in range(3)
    ]
    await asyncio.sleep(3.0)
    newcomer = await target.ask(LONG, 40)
    answers = await asyncio.gather(*streams)
    check(answers)
    calm = [g for a in answers for g, at in zip(a.gaps, a.times, strict=False) if at < newcomer.began]
    worst = max(
        after - at
        for answer in answers
        for at, after in itertools.pairwise(answer.times)
        if after > newcomer.began and at < newcomer.ended
    )
    return worst / statistics.median(calm), newcomer.ttft / alone.ttft


async def mixed(target: Target) -> float:
    """Mean TTFT of seven short prompts that come with a long one, over that of a short one just before."""
    alone = [await target.ask(16, 4) for _ in range(3)]
    long = asyncio.create_task(target.ask(MIDDLE, 8))
    shorts = await together(target.live.port, [body(prompt(16), 8, target.model) for _ in range(7)])
    await long
    check(shorts)
    return statistics.mean(answer.ttft for answer in shorts) / statistics.median(a.ttft for a in alone)


async def exactness(target: Target) -> tuple[float, bool]:
    """(largest difference of a log probability between alone and in a batch of 8, whether tokens agree)."""
    requests = [body(prompt(16 + 9 * n), 40, target.model, logprobs=True, top_logprobs=0) for n in range(8)]
    by_itself = [await ask(target.live.port, request) for request in requests]
    batched = await together(target.live.port, requests)
    check([*by_itself, *batched])
    pairs = [
        pair
        for a, b in zip(by_itself, batched, strict=True)
        for pair in zip(a.logprobs, b.logprobs, strict=True)
    ]
    if not pairs:
        raise RuntimeError("no logprobs came")
    return max(abs(a[1] - b[1]) for a, b in pairs), all(a[0] == b[0] for a, b in pairs)
