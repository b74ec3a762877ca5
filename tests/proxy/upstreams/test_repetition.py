"""A stream of another server's that repeats itself is left, wherever it does."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from proxy.codecs.openai_request import decode_request
from proxy.upstreams.base import (
    UpstreamCall,
    UpstreamCallPart,
    UpstreamEvent,
    UpstreamFinish,
    UpstreamReasoning,
    UpstreamText,
)
from proxy.upstreams.remote.litellm import LiteLLMUpstream
from proxy.upstreams.remote.target import Target
from proxy.upstreams.scripted import Stall
from tests.proxy.live import LoopThread
from tests.proxy.upstreams.stage import ROUTING
from tests.proxy.upstreams.wire import Reply, WireUpstream, call_chunks, chunk, told, wire_serving

WORDS = "I will look at the weather now, and then I will look again. "
COUNTED = [f"{number} is the next line of a long table\n" for number in range(400)]


@pytest.fixture(scope="module")
def wire() -> Iterator[WireUpstream]:
    played = WireUpstream(told("x"))
    with wire_serving(played):
        yield played


@pytest.fixture(scope="module")
def thread() -> Iterator[LoopThread]:
    own = LoopThread()
    yield own
    own.close()


def hear(
    thread: LoopThread, wire: WireUpstream, key: str, watched: bool = True, expected: int | None = None
) -> list[UpstreamEvent]:
    async def heard() -> list[UpstreamEvent]:
        routing = replace(ROUTING, stop_repetition=watched)
        upstream = await LiteLLMUpstream.start([Target(base_url=wire.base_url)], routing, {})
        body = {"model": "wire", "messages": [{"role": "user", "content": key}]}
        request = decode_request(json.dumps(body).encode()).request
        generation = await upstream.open(replace(request, expected_tokens=expected))
        try:
            return [event async for event in generation]
        finally:
            await generation.aclose()
            await upstream.close()

    return thread.run(heard())


def test_what_should_be_short_is_left_sooner(thread: LoopThread, wire: WireUpstream) -> None:
    counts = []
    for expected in (20, 500, None):
        wire.plan(f"expected {expected}", endless(*[chunk({"content": WORDS})] * 200))
        finish = hear(thread, wire, f"expected {expected}", expected=expected)[-1]
        assert isinstance(finish, UpstreamFinish)
        assert finish.repeated
        counts.append(finish.usage.completion_tokens)
    assert [count * len(WORDS) // 100 for count in counts] == pytest.approx([10, 20, 41], abs=4)


def endless(*steps: bytes) -> Reply:
    """Who waits for its end waits for long."""
    return Reply((*steps, Stall(300)))


LOOPS: dict[str, tuple[list[bytes], type[Any]]] = {
    "text": ([chunk({"content": "Well. "}), *[chunk({"content": WORDS})] * 200], UpstreamText),
    "thinking": ([chunk({"reasoning_content": WORDS})] * 200, UpstreamReasoning),
    "arguments": (call_chunks(0, "get_weather", '{"city": "' + WORDS * 200, size=90), UpstreamCall),
}


@pytest.mark.parametrize("place", LOOPS)
def test_it_is_left_where_it_repeats_itself(thread: LoopThread, wire: WireUpstream, place: str) -> None:
    steps, kind = LOOPS[place]
    wire.plan(place, endless(*steps))
    events = hear(thread, wire, place)
    finish = events[-1]
    assert isinstance(finish, UpstreamFinish)
    assert (finish.reason, finish.repeated) == ("length", True)
    assert 40 < finish.usage.completion_tokens < 200
    assert all(isinstance(one, kind | UpstreamCallPart) for one in events[1:-1])
    assert isinstance(events[-2], kind)
    assert not any(one.complete for one in events if isinstance(one, UpstreamCall))
    (heard,) = wire.asked(place)
    until = time.monotonic() + 10
    while not heard.left and time.monotonic() < until:
        time.sleep(0.01)
    assert heard.left, "the other server may stop, too"


def test_a_table_goes_through(thread: LoopThread, wire: WireUpstream) -> None:
    wire.plan("table", told(*COUNTED))
    *texts, finish = hear(thread, wire, "table")
    assert "".join(one.text for one in texts if isinstance(one, UpstreamText)) == "".join(COUNTED)
    assert isinstance(finish, UpstreamFinish)
    assert (finish.reason, finish.repeated, finish.usage.completion_tokens) == ("stop", False, 5)


def test_the_setting_switches_it_off(thread: LoopThread, wire: WireUpstream) -> None:
    wire.plan("all", told(*[WORDS] * 200))
    _, *texts, finish = hear(thread, wire, "all", watched=False)
    assert len(texts) == 200
    assert isinstance(finish, UpstreamFinish)
    assert not finish.repeated
