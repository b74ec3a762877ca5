"""Streams and whole answers tell the same story, and end when the client does."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import socket
import time
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.codecs.base import Decoded, Head
from proxy.codecs.openai_chat import OpenAIChat
from proxy.codecs.openai_request import decode_request
from proxy.conversation.events import Answer, Finish, FinishReason, ToolCallReady, Usage, collect
from proxy.conversation.verdict import GuardMode
from proxy.guard.guard import Guard
from proxy.guard.policy import GuardPolicy
from proxy.http.routes import Limits
from proxy.http.sse import EventStream
from proxy.upstreams.scripted import Script, ScriptedUpstream, Stall
from tests.proxy.conftest import Stage
from tests.proxy.live import Playbook, scripted, serving
from tests.proxy.requests import CALL, HOPELESS_CALL, SLOPPY_CALL, TOOLS, body

HEAD = Head("chatcmpl-x", "scripted", 0, "fp_x")


def request(**fields: Any) -> Decoded:
    return decode_request(json.dumps(body(**fields)).encode())


async def whole_message(text: tuple[str, ...], asked: Decoded, mode: GuardMode) -> dict[str, Any]:
    exchange = await Guard(scripted(*text), GuardPolicy(mode=mode)).open(asked.request)
    answer = await collect(exchange.events())
    await exchange.aclose()
    choice: dict[str, Any] = json.loads(OpenAIChat().encode_answers(HEAD, asked, (answer,)))["choices"][0]
    return choice


async def streamed_message(text: tuple[str, ...], asked: Decoded, mode: GuardMode) -> dict[str, Any]:
    """Adds up the chunks of a stream as a client would."""
    sent: list[bytes] = []

    async def send(message: Any) -> None:
        sent.append(message.get("body", b""))

    async def receive() -> Any:
        await asyncio.Event().wait()

    exchange = await Guard(scripted(*text), GuardPolicy(mode=mode)).open(asked.request)
    await EventStream(exchange, OpenAIChat().encode_stream(HEAD, asked), 60)({}, receive, send)
    lines = b"".join(sent).decode().split("\n\n")
    assert lines[-2:] == ["data: [DONE]", ""]
    assert lines[-3].startswith(": x-fortieth-verdict: ")
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines[:-3]]
    return add_up([chunk["choices"][0] for chunk in chunks])


def add_up(choices: list[dict[str, Any]]) -> dict[str, Any]:
    content, calls = "", []
    for choice in choices:
        content += choice["delta"].get("content", "")
        for part in choice["delta"].get("tool_calls", []):
            if "id" in part:
                calls.append({"type": part["type"], "function": dict(part["function"])})
            else:
                calls[part["index"]]["function"]["arguments"] += part["function"]["arguments"]
    reasons = [choice["finish_reason"] for choice in choices]
    assert reasons.count(None) == len(reasons) - 1, "exactly one finish"
    assert reasons[-1] is not None
    return {"content": content, "calls": calls, "reason": reasons[-1]}


PIECES = st.sampled_from(
    [CALL, SLOPPY_CALL, HOPELESS_CALL, "<tool_call>", "</tool_call>", "{", "a ", "é😀\n"]
)


@settings(max_examples=60, deadline=None)
@given(
    pieces=st.lists(PIECES | st.text(st.characters(exclude_categories=["Cs"]), max_size=8), max_size=5),
    cuts=st.lists(st.integers(0, 300), max_size=12),
    mode=st.sampled_from(GuardMode),
    choice=st.sampled_from(["auto", "none", "required"]),
)
def test_a_stream_adds_up_to_the_whole_answer(
    pieces: list[str], cuts: list[int], mode: GuardMode, choice: str
) -> None:
    text = "".join(pieces)
    places = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    split = tuple(text[a:b] for a, b in itertools.pairwise(places))
    asked = request(tools=TOOLS, tool_choice=choice)
    whole = asyncio.run(whole_message((text,), asked, mode))
    streamed = asyncio.run(streamed_message(split, asked, mode))
    message = whole["message"]
    calls = [{"type": c["type"], "function": c["function"]} for c in message.get("tool_calls", [])]
    assert streamed == {
        "content": message["content"] or "",
        "calls": calls,
        "reason": whole["finish_reason"],
    }


@pytest.mark.parametrize(
    ("text", "delivered"),
    [(CALL, True), (SLOPPY_CALL, False), (HOPELESS_CALL, True)],
    ids=["clean", "sloppy", "invalid"],
)
async def test_with_the_guard_off_a_call_goes_out_as_emitted(text: str, delivered: bool) -> None:
    choice = await whole_message(tuple(text), request(tools=TOOLS), GuardMode.off)
    assert ("tool_calls" in choice["message"]) == delivered
    assert delivered or choice["message"]["content"] == text


async def test_collect_keeps_the_order_of_calls() -> None:
    calls = [ToolCallReady(i, f"call_{i}", "f", "{}") for i in range(3)]
    finish = Finish(FinishReason.tool_calls, Usage())

    async def events() -> Any:
        for event in [*calls, finish]:
            yield event

    assert await collect(events()) == Answer("", "", tuple(calls), finish)


def wait_until(true: Any, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_client_that_goes_away_aborts_its_generation(stage: Stage, stream: bool) -> None:
    key = f"gone {stream}"
    stage.playbook.scripts[key] = Script(("a", "b", *(Stall(0.02), "c") * 2000))
    before = len(stage.upstream.played)
    payload = json.dumps(body(key, stream=stream)).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(payload)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", stage.server.port)) as connection:
        connection.sendall(head.encode() + payload)
        wait_until(lambda: len(stage.upstream.played) > before)
        if stream:
            assert connection.recv(16)
    played = stage.upstream.played[before]
    wait_until(lambda: played.closed)
    assert not played.finished
    steps = played.steps_played
    time.sleep(0.1)
    assert played.steps_played == steps, "nothing runs for a client that is gone"


def test_a_client_that_goes_away_during_admission(stage: Stage) -> None:
    stage.playbook.scripts["gone early"] = Script(("a",), admission=Stall(30))
    payload = json.dumps(body("gone early")).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(payload)}\r\n\r\n"
    before = stage.upstream.given_up
    with socket.create_connection(("127.0.0.1", stage.server.port)) as connection:
        connection.sendall(head.encode() + payload)
        time.sleep(0.1)
    wait_until(lambda: stage.upstream.given_up == before + 1)


def test_a_client_that_goes_away_while_it_sends(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_connection(("127.0.0.1", stage.server.port)) as connection:
        connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 99\r\n\r\n{")
        time.sleep(0.05)
    assert stage.server.post(body()).status_code == 200
    assert "defect" not in caplog.text


def test_headers_leave_before_the_first_token(stage: Stage) -> None:
    stage.playbook.scripts["late"] = Script((Stall(0.5), "x"))
    url = stage.server.base_url + "/chat/completions"
    with httpx.stream("POST", url, json=body("late", stream=True)) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["x-request-id"]
        lines = response.iter_lines()
        assert json.loads(next(lines).removeprefix("data: "))["choices"][0]["delta"]["role"] == "assistant"
        assert not stage.upstream.played[-1].finished
        assert list(lines)[-2] == "data: [DONE]"


def test_every_exchange_is_closed(stage: Stage) -> None:
    stage.playbook.scripts["fails"] = Script(("a", ZeroDivisionError("a defect")))
    before = len(stage.upstream.played)
    for key in ("hi", "fails"):
        for stream in (False, True):
            with contextlib.suppress(httpx.HTTPError):
                stage.server.post(body(key, stream=stream))
    wait_until(lambda: all(played.closed for played in stage.upstream.played[before:]))
    assert len(stage.upstream.played) == before + 4


def test_an_upstream_that_just_ends_is_an_error() -> None:
    playbook = Playbook(Script(("half an ans",), finish=""))
    with serving(ScriptedUpstream(playbook), limits=Limits(keep_alive_s=60)) as server:
        assert server.post(body()).status_code == 503
        assert '"error"' in server.post(body(stream=True)).text.splitlines()[-2]


def test_the_keys_of_a_locked_server() -> None:
    with serving(scripted("x"), api_key="sésame") as server:
        for headers, status in (
            ({}, 401),
            ({"authorization": "Bearer nope"}, 401),
            ({"x-api-key": "nope"}, 401),
            ({"authorization": b"Bearer s\xc3\xa9same"}, 200),
            ({"x-api-key": b"s\xc3\xa9same"}, 200),
        ):
            response = httpx.post(server.base_url + "/chat/completions", json=body(), headers=headers)  # type: ignore[arg-type]
            assert response.status_code == status
        assert httpx.get(server.base_url + "/models").status_code == 401
        assert httpx.get(server.root + "/health").status_code == 200
