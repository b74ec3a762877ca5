"""The serving benchmark: streams of text at a sweep of concurrency and length, and what a prefix saves.

Its figures have the names and the definitions of `vllm bench serve`: TTFT to the first piece, TPOT the time
of the further tokens over their number, ITL between two pieces, E2EL of the whole request.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np

from proxy.ab.client import AskOptions, StreamedAnswer, ask_streamed
from proxy.ab.processes import ArmServer, death_of
from proxy.conversation.errors import StartError

QUANTILES = (50, 90, 99)
_WORDS = (
    "river stone lamp green seven paper often north",
    "quick table cloud under metal ninety garden slow",
)
_VOCABULARY = " ".join(_WORDS).split()
_CALIBRATION = 400  # words of the prompt that tells how many tokens a word has


@dataclass(frozen=True, slots=True)
class ServingPlan:
    """What is asked.

    levels: requests at a time.
    prompts: tokens of a prompt, about.
    answer: tokens of an answer.
    requests: for each level and length, at least one for each stream.
    """

    levels: tuple[int, ...] = (1, 8)
    prompts: tuple[int, ...] = (256, 2048)
    answer: int = 128
    requests: int = 16
    timeout_s: float = 600.0


@dataclass(frozen=True, slots=True)
class ServingFigures:
    """The figures of one arm, level and length of prompt. Times are milliseconds, rates per second.

    wanted_prompt, prompt_tokens: of the plan, and as the server counts them.
    reused: the share of the prompt's tokens that came from the cache when each conversation went on; None
        where the server does not tell.
    warm_ttft_ms: the median of these second turns.
    """

    arm: str
    max_concurrency: int
    wanted_prompt: int
    prompt_tokens: int
    completed: int
    failed: int
    duration: float
    request_throughput: float
    output_throughput: float
    total_token_throughput: float
    ttft_ms: Mapping[str, float]
    tpot_ms: Mapping[str, float]
    itl_ms: Mapping[str, float]
    e2el_ms: Mapping[str, float]
    reused: float | None
    warm_ttft_ms: float | None
    error: str = ""


class ServingBench:
    """Measures one server. Every prompt is new to it, but for the second turns."""

    def __init__(self, server: ArmServer, plan: ServingPlan, client: httpx.AsyncClient) -> None:
        self._server = server
        self._plan = plan
        self._client = client
        self._draw = random.Random(f"{server.arm.label} {time.time_ns()}")  # an earlier run may be cached
        self._words_per_token = 1.0

    @property
    def label(self) -> str:
        return self._server.arm.label

    async def calibrate(self) -> None:
        """Finds how many words make a token, and warms the server up. Raises StartError where it fails."""
        answer = await self._ask(self._talk(_CALIBRATION), 4)
        if answer.error:
            raise StartError(f"arm {self._server.arm.label}: {answer.error}")
        if answer.prompt_tokens:
            self._words_per_token = _CALIBRATION / answer.prompt_tokens

    async def measure(self, level: int, prompt: int) -> ServingFigures:
        """Asks with so many requests at a time for prompts of about so many tokens."""
        words = max(1, round(prompt * self._words_per_token))
        talks = [self._talk(words) for _ in range(max(self._plan.requests, level))]
        began = time.perf_counter()
        answers = await self._all(talks, level)
        duration = time.perf_counter() - began
        going_on = [
            [*talk, answer.message, {"role": "user", "content": self._text(20)}]
            for talk, answer in zip(talks, answers, strict=True)
            if not answer.error
        ]
        warm = await self._all(going_on, level)
        return figures(self._server.arm.label, level, prompt, answers, duration, warm)

    async def death(self) -> str:
        """Why the server can be asked no more; "" while it can."""
        return await death_of(self._server, self._client)

    async def _all(self, talks: Sequence[Sequence[Mapping[str, Any]]], level: int) -> list[StreamedAnswer]:
        gate = asyncio.Semaphore(level)

        async def one(talk: Sequence[Mapping[str, Any]]) -> StreamedAnswer:
            async with gate:
                return await self._ask(talk, self._plan.answer)

        return list(await asyncio.gather(*map(one, talks)))

    async def _ask(self, talk: Sequence[Mapping[str, Any]], tokens: int) -> StreamedAnswer:
        options = AskOptions(0.0, tokens, self._plan.timeout_s)
        extra = {"ignore_eos": True}  # servers that do not know it end their texts where they like
        return await ask_streamed(self._client, self._server.model, talk, (), options, 0, extra)

    def _talk(self, words: int) -> list[Mapping[str, Any]]:
        return [{"role": "user", "content": self._text(words)}]

    def _text(self, words: int) -> str:
        return " ".join(self._draw.choices(_VOCABULARY, k=words))


def figures(
    arm: str,
    level: int,
    prompt: int,
    answers: Sequence[StreamedAnswer],
    duration: float,
    warm: Sequence[StreamedAnswer],
) -> ServingFigures:
    """Sums the answers up. warm: to second turns of the same conversations."""
    good = [answer for answer in answers if not answer.error]
    tokens = [answer.completion_tokens or len(answer.times) for answer in good]
    prompts = [answer.prompt_tokens or 0 for answer in good]
    told = [one for one in warm if one.cached_tokens is not None and one.prompt_tokens and not one.error]
    cached = sum(one.cached_tokens or 0 for one in told)
    reused = cached / sum(one.prompt_tokens or 0 for one in told) if told else None
    ttfts = [one.ttft for one in warm if one.ttft is not None and not one.error]
    return ServingFigures(
        arm,
        level,
        prompt,
        round(sum(prompts) / len(prompts)) if prompts else 0,
        len(good),
        len(answers) - len(good),
        duration,
        len(good) / duration,
        sum(tokens) / duration,
        (sum(tokens) + sum(prompts)) / duration,
        in_ms([answer.ttft for answer in good if answer.ttft is not None]),
        in_ms(list(per_token(good, tokens))),
        in_ms([gap for answer in good for gap in answer.gaps]),
        in_ms([answer.seconds for answer in good]),
        reused,
        float(np.median(ttfts)) * 1000 if ttfts else None,
        next((answer.error for answer in answers if answer.error), ""),
    )


def per_token(answers: Sequence[StreamedAnswer], tokens: Sequence[int]) -> Iterator[float]:
    """The seconds of each token behind the first, of answers that have more than one."""
    for answer, count in zip(answers, tokens, strict=True):
        if answer.ttft is not None and count > 1:
            yield (answer.seconds - answer.ttft) / (count - 1)


def in_ms(seconds: Sequence[float]) -> dict[str, float]:
    """Mean and quantiles in milliseconds; nothing for no values."""
    if not seconds:
        return {}
    held = np.asarray(seconds) * 1000
    names = ["mean", "median", *(f"p{one}" for one in QUANTILES[1:])]
    values = [held.mean(), *np.percentile(held, QUANTILES)]
    return {name: round(float(value), 3) for name, value in zip(names, values, strict=True)}
