"""When a generation of the engine tells what of its prompt is in the cache."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

import pytest

from engine.errors import EngineFault
from engine.types import Began, Finished, FinishReason, Output, TextChunk
from proxy.conversation.cache_report import CacheReport
from proxy.conversation.errors import UpstreamUnavailable
from proxy.upstreams.base import UpstreamFinish, UpstreamStarted, UpstreamText
from proxy.upstreams.engine_generation import EngineGeneration

END = Finished(id="r", reason=FinishReason.stop, prompt_tokens=9, completion_tokens=1, cached_tokens=6)
TEXT = TextChunk("r", "hi", 1)
TOLD = [UpstreamText("hi", 1)]

# what comes of the engine (a number: seconds without anything), what is told first
CASES: dict[str, tuple[Sequence[Output | float], UpstreamStarted]] = {
    "announced": ((Began("r", 6), TEXT, END), UpstreamStarted(9, 6)),
    "nothing_in_the_cache": ((Began("r", 0), TEXT, END), UpstreamStarted(9, 0)),
    "not_announced": ((TEXT, END), UpstreamStarted(9, None)),
    "waits_for_its_place": ((0.2, Began("r", 6), TEXT, END), UpstreamStarted(9, None)),
    "announced_by_a_second_process": ((Began("r", 6), Began("r", 2), TEXT, END), UpstreamStarted(9, 6)),
}


def generation(outputs: Sequence[Output | float | Exception]) -> EngineGeneration:
    async def coming() -> AsyncGenerator[Output, None]:
        for one in outputs:
            if isinstance(one, Exception):
                raise one
            if isinstance(one, float):
                await asyncio.sleep(one)
            else:
                yield one

    return EngineGeneration(
        coming(),
        "hermes",
        "",
        lambda: None,
        lambda *_: CacheReport(6, 9),
        prompt_tokens=9,
        place_window_s=0.05,
    )


@pytest.mark.parametrize("name", CASES)
async def test_the_first_event_has_what_is_known(name: str) -> None:
    outputs, expected = CASES[name]
    one = generation(outputs)
    first, *texts, end = [event async for event in one]
    assert (first, texts) == (expected, TOLD)
    assert isinstance(end, UpstreamFinish)
    assert (end.usage.prompt_tokens, end.usage.cached_tokens) == (9, 6)
    await one.aclose()


@pytest.mark.parametrize("before", [(), (Began("r", 6),)], ids=["at_once", "announced"])
async def test_a_failure_comes_behind_it(before: tuple[Output, ...]) -> None:
    one = generation((*before, EngineFault("broken")))
    coming = aiter(one)
    assert await anext(coming) == UpstreamStarted(9, 6 if before else None)
    with pytest.raises(UpstreamUnavailable):
        await anext(coming)
    await one.aclose()


async def test_an_end_that_is_asked_for_before_any_text() -> None:
    one = generation((Began("r", 6), Began("r", 2), END))
    (end,) = await one.end()
    assert isinstance(end, UpstreamFinish)
    assert end.usage.cached_tokens == 6
    await one.aclose()
