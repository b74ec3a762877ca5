"""A server's answer read over HTTP, byte for byte: whatever the pieces are and however it spells things."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from proxy.conversation.events import Usage
from proxy.upstreams.base import UpstreamCall, UpstreamEvent, UpstreamFinish, UpstreamReasoning, UpstreamText
from proxy.upstreams.remote.assembly import Assembly
from proxy.upstreams.remote.failures import ServerFailed, read_failure
from proxy.upstreams.remote.servers import ask_server, make_session, proxy_for
from tests.proxy.upstreams.wire import DONE, Reply, WireUpstream, called, chunk, told, usage, wire_serving


def hear(reply: Reply) -> list[UpstreamEvent]:
    """What the answer adds up to."""
    with wire_serving(WireUpstream(reply)) as wire:
        events = asyncio.run(_hear(wire.base_url))
    assert (wire.heard[0].body, wire.heard[0].headers["authorization"]) == (
        {"messages": [], "a": 1, "model": "m"},
        "Bearer k",
    )
    return events


async def _hear(base_url: str) -> list[UpstreamEvent]:
    assembly = Assembly()
    events: list[UpstreamEvent] = []
    async with make_session() as session:
        stream = await ask_server(session, base_url, "k", "m", {"messages": [], "extra_body": {"a": 1}})
        while (one := await stream.next()) is not None:
            events += assembly.feed(one)
        await stream.aclose()
    return events + assembly.end()


def delta(**fields: Any) -> bytes:
    return chunk(fields)


TEXT: list[UpstreamEvent] = [UpstreamText("Hé"), UpstreamText("llo"), UpstreamFinish("stop", Usage(11, 5))]
PIECES = told("Hé", "llo").steps
WHOLE = b"".join(piece for piece in PIECES if isinstance(piece, bytes))
CALL: list[UpstreamEvent] = [UpstreamCall("f", '{"a": 1}'), UpstreamFinish("stop", Usage())]
SPELLINGS: dict[str, tuple[tuple[bytes, ...], list[UpstreamEvent]]] = {
    "one piece": ((WHOLE,), TEXT),
    "byte by byte": (tuple(WHOLE[i : i + 1] for i in range(len(WHOLE))), TEXT),
    "carriage returns": ((WHOLE.replace(b"\n", b"\r\n"),), TEXT),
    "no space": ((WHOLE.replace(b"data: ", b"data:"),), TEXT),
    "comments and event names": ((WHOLE.replace(b"data: ", b": ping\n\nevent: message\ndata: "),), TEXT),
    "no [DONE]": ((WHOLE.removesuffix(DONE),), TEXT),
    "no last line break": ((WHOLE.removesuffix(DONE).rstrip(),), TEXT),
    "something behind [DONE]": ((WHOLE + chunk({"content": "more"}),), TEXT),
    "nulls": (
        (
            b'data: {"choices": null, "usage": null}\n\n',
            b'data: {"choices": [{"index": 0, "delta": null, "finish_reason": null, "logprobs": null}]}\n\n',
            WHOLE,
        ),
        TEXT,
    ),
    "usage in fractions": (
        (delta(content="a"), chunk({}, "stop", usage={"prompt_tokens": 3.0, "completion_tokens": 2.0})),
        [UpstreamText("a"), UpstreamFinish("stop", Usage(3, 2))],
    ),
    "which stop string it met, by vLLM's name": (
        (delta(content="a"), chunk(choices=[{"index": 0, "finish_reason": "stop", "stop_reason": "END"}])),
        [UpstreamText("a"), UpstreamFinish("stop", Usage(), stop_sequence="END")],
    ),
    "by SGLang's, and a token": (
        (
            chunk(
                choices=[{"index": 0, "finish_reason": "stop", "stop_reason": 151645, "matched_stop": "END"}]
            ),
        ),
        [UpstreamFinish("stop", Usage(), stop_sequence="END")],
    ),
    "reasoning, by either name": (
        (delta(reasoning="a"), delta(reasoning_content="b"), chunk({}, "stop")),
        [UpstreamReasoning("a"), UpstreamReasoning("b"), UpstreamFinish("stop", Usage())],
    ),
    "arguments as an object, an id as a number": (
        (
            delta(tool_calls=[{"index": 0, "id": 7, "function": {"name": "f", "arguments": {"a": 1}}}]),
            chunk({}, "tool_calls"),
        ),
        CALL,
    ),
    "a piece without a function": (
        (
            delta(tool_calls=[{"index": 0, "id": "x", "function": {"name": "f", "arguments": '{"a": 1}'}}]),
            delta(tool_calls=[{"index": 0, "function": None}]),
            chunk({}, "tool_calls"),
        ),
        [UpstreamCall("f", '{"a": 1}', tokens=2), *CALL[1:]],
    ),
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_an_answer_is_read_however_it_is_spelt(name: str) -> None:
    steps, expected = SPELLINGS[name]
    assert hear(Reply(steps)) == expected


def test_calls_come_whole_and_in_order() -> None:
    heard = hear(called(("f", '{"a": "1234567890"}'), ("g", "{}")))
    calls = [(one.name, one.arguments) for one in heard if isinstance(one, UpstreamCall)]
    assert calls == [("f", '{"a": "1234567890"}'), ("g", "{}")]


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (b"data: {nope\n\n", "not a chunk"),
        (b"data: [1]\n\n", "not a chunk"),
        (b'data: {"choices": [{"delta": {"content": 5}}]}\n\n', "not a chunk"),
        (b"data: \xff\xfe\n\n", "not a chunk"),
        (b"data: " + b"[" * 100_000 + b"\n\n", "not a chunk"),
        (b'data: {"error": {"message": "boom"}}\n\n', "boom"),
        (b'data: {"error": "boom"}\n\n', "boom"),
    ],
)
def test_what_is_no_chunk_fails(event: bytes, message: str) -> None:
    with pytest.raises(ServerFailed, match=message):
        hear(Reply((chunk({"content": "a"}), event, DONE)))


@pytest.mark.parametrize(
    ("status", "said", "kind", "expected"),
    [
        (400, {"error": {"message": "bad", "code": None}}, "", (400, "bad")),
        (400, {"object": "error", "message": "bad", "code": 40}, "", (400, "bad")),
        (422, {"detail": [{"loc": ["body"]}]}, "", (422, '[{"loc": ["body"]}]')),
        (500, "<html>oops</html>", "", (500, "<html>oops</html>")),
        (500, ["odd"], "", (500, "['odd']")),
        (
            400,
            {"error": {"message": "m", "code": "content_filter"}},
            "ContentPolicyViolationError",
            (400, "m"),
        ),
        (
            400,
            {"error": {"message": "m", "code": "context_length_exceeded"}},
            "ContextWindowExceededError",
            (400, "m"),
        ),
        (0, {"error": {"message": "m", "code": 429}}, "", (429, "m")),
        (0, {"error": {"message": "m", "code": 7}}, "", (0, "m")),
    ],
)
def test_servers_say_what_failed_in_many_ways(
    status: int, said: Any, kind: str, expected: tuple[int, str]
) -> None:
    failure = read_failure(status, said, {})
    assert (failure.kind, (failure.status, failure.message)) == (kind, expected)


def test_one_connection_serves_one_request_after_the_other() -> None:
    opened: list[None] = []

    class Counting(WireUpstream):
        async def answer(self, reader: Any, writer: Any) -> None:
            opened.append(None)
            await super().answer(reader, writer)

    async def five_times(base_url: str) -> None:
        async with make_session() as session:
            for _ in range(5):
                stream = await ask_server(session, base_url, "k", "m", {"messages": []})
                while await stream.next() is not None:
                    pass
                await stream.aclose()

    with wire_serving(Counting(Reply((chunk({"content": "a"}), chunk({}, "stop"), usage(), DONE)))) as wire:
        asyncio.run(five_times(wire.base_url))
    assert len(wire.heard) == 5
    assert len(opened) == 1


def test_proxies_are_those_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy:3128")
    monkeypatch.setenv("no_proxy", "127.0.0.1,inside")
    proxy_for.cache_clear()
    assert proxy_for("http://far:8000/v1") == "http://proxy:3128"
    assert proxy_for("http://127.0.0.1:8000/v1") is None
    assert proxy_for("http://inside/v1") is None
    proxy_for.cache_clear()
