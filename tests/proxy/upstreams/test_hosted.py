"""A model that LiteLLM asks for us. Its provider's address and key are LiteLLM's to find, here in variables
that point to a server of ours.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from proxy.codecs.openai_request import decode_request
from proxy.conversation.errors import (
    Overloaded,
    RequestError,
    Unauthorized,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from proxy.upstreams.base import UpstreamCall, UpstreamEvent, UpstreamFinish, UpstreamText
from proxy.upstreams.remote.litellm import LiteLLMUpstream, Routing
from proxy.upstreams.remote.target import Target
from proxy.upstreams.scripted import Stall
from tests.proxy.live import LoopThread
from tests.proxy.requests import TOOLS
from tests.proxy.upstreams.wire import (
    Cut,
    Reply,
    WireUpstream,
    call_chunks,
    called,
    chunk,
    refused,
    told,
    wire_serving,
)

KEY = "sk-hosted-0123456789"
TEXT = chunk({"content": "Well"})
CALL = ("get_weather", '{"city": "Lisbon"}')


@dataclass(frozen=True, slots=True)
class Stage:
    thread: LoopThread
    upstream: LiteLLMUpstream
    wire: WireUpstream

    def hear(self, key: str, *replies: Reply) -> list[UpstreamEvent]:
        """What one request comes to. Raises RequestError."""
        self.wire.plan(key, *replies)
        return self.thread.run(_hear(self.upstream, key, "brief" if key == "silent" else "openai/wire"))


async def _hear(upstream: LiteLLMUpstream, key: str, model: str) -> list[UpstreamEvent]:
    body = {"model": model, "messages": [{"role": "user", "content": key}], "tools": TOOLS}
    generation = await upstream.open(decode_request(json.dumps(body).encode()).request)
    try:
        return [event async for event in generation]
    finally:
        await generation.aclose()


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    thread = LoopThread()
    wire = WireUpstream(told("x"))
    with pytest.MonkeyPatch.context() as patch, wire_serving(wire):
        patch.setenv("OPENAI_API_KEY", KEY)
        patch.setenv("OPENAI_BASE_URL", wire.base_url)
        patch.setenv("OPENAI_API_BASE", wire.base_url)
        patient = Target(model="openai/wire")
        brief = Target(model="openai/wire", name="brief", timeout_s=1.5)
        upstream = thread.run(
            LiteLLMUpstream.start([patient, brief], Routing(retries=1, window_s=20), os.environ)
        )
        yield Stage(thread, upstream, wire)
        thread.run(upstream.close())
    thread.close()


def test_text_and_who_said_it(stage: Stage) -> None:
    *texts, finish = stage.hear("text", told("It ", "rains."))
    assert "".join(one.text for one in texts if isinstance(one, UpstreamText)) == "It rains."
    assert isinstance(finish, UpstreamFinish)
    assert (finish.reason, finish.usage.prompt_tokens, finish.usage.completion_tokens) == ("stop", 11, 5)
    assert finish.asked == ("openai/wire as openai/wire",)
    (heard,) = stage.wire.asked("text")
    assert (heard.headers["authorization"], heard.body["model"]) == (f"Bearer {KEY}", "wire")


def test_calls_in_pieces(stage: Stage) -> None:
    events = stage.hear("calls", called(CALL, ("get_time", "{}"), text="See."))
    assert [(one.name, one.arguments) for one in events if isinstance(one, UpstreamCall)] == [
        CALL,
        ("get_time", "{}"),
    ]


FAULTS: dict[str, tuple[Reply, type[RequestError], int]] = {
    "429": (refused(429, "slow down", headers={"retry-after": "7"}), Overloaded, 1),
    "401": (refused(401, f"bad key {KEY}"), Unauthorized, 1),
    "500": (refused(500, "oops"), UpstreamUnavailable, 2),
    "silent": (Reply(before=Stall(30)), UpstreamTimeout, 2),
    "cut in a call": (Reply((*call_chunks(0, *CALL)[:2], Cut())), UpstreamUnavailable, 2),
    "end in a call": (Reply(call_chunks(0, *CALL)[:2]), UpstreamUnavailable, 2),
    "cut after text": (Reply((TEXT, Cut())), UpstreamUnavailable, 1),
    "end after text": (Reply((TEXT,)), UpstreamUnavailable, 1),
    "garbage after text": (Reply((TEXT, b"data: {nope\n\n")), UpstreamUnavailable, 1),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_one_error_and_keeps_its_meaning(stage: Stage, name: str) -> None:
    reply, kind, count = FAULTS[name]
    with pytest.raises(kind) as caught:
        stage.hear(name, reply)
    assert len(stage.wire.asked(name)) == count == len(caught.value.asked)
    assert "litellm" not in caught.value.message.lower()
    assert KEY not in caught.value.message
    if name == "429":
        assert caught.value.retry_after_s == 7


def test_asked_again_while_nothing_was_said(stage: Stage) -> None:
    events = stage.hear("again", refused(500, "oops"), called(CALL))
    assert [(one.name, one.arguments) for one in events if isinstance(one, UpstreamCall)] == [CALL]
    assert isinstance(events[-1], UpstreamFinish)
    assert len(events[-1].asked) == 2
