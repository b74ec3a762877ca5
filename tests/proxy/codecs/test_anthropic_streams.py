"""Streams of the Messages dialect, event by event, and the whole messages that they add up to.

The sequences are written down from https://platform.claude.com/docs/en/build-with-claude/streaming.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from proxy.codecs.anthropic import Anthropic
from proxy.conversation.errors import Overloaded, RateLimited, UpstreamUnavailable
from proxy.conversation.events import Event, Finish, FinishReason, Started, Usage
from proxy.conversation.model_card import ModelCard
from proxy.http.sse import EventStream
from proxy.upstreams.base import UpstreamCall, UpstreamReasoning
from proxy.upstreams.scripted import Script, Stall
from tests.proxy.attempts import agree, of_headers
from tests.proxy.codecs.messages import TOOL, VERSION, blocks_of, events, message, send
from tests.proxy.conftest import Stage
from tests.proxy.requests import SLOPPY_CALL

ZERO: dict[str, Any] = {
    "input_tokens": 0,
    "cache_creation_input_tokens": 0,
    "cache_read_input_tokens": 0,
    "output_tokens": 0,
    "output_tokens_details": {"thinking_tokens": 0},
}
PING = ("ping", {"type": "ping"})
STOP = ("message_stop", {"type": "message_stop"})
THINK = {"type": "enabled", "budget_tokens": 1024}


def started(usage: dict[str, int]) -> tuple[str, dict[str, Any]]:
    told: dict[str, Any] = {
        "id": "msg_x",
        "type": "message",
        "role": "assistant",
        "model": "scripted",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": ZERO | usage,
    }
    return "message_start", {"type": "message_start", "message": told}


def block(index: int, start: dict[str, Any], *deltas: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [
        ("content_block_start", {"type": "content_block_start", "index": index, "content_block": start}),
        *(
            ("content_block_delta", {"type": "content_block_delta", "index": index, "delta": delta})
            for delta in deltas
        ),
        ("content_block_stop", {"type": "content_block_stop", "index": index}),
    ]


def texts(index: int, *pieces: str) -> list[tuple[str, dict[str, Any]]]:
    deltas = ({"type": "text_delta", "text": piece} for piece in pieces)
    return block(index, {"type": "text", "text": ""}, *deltas)


def thoughts(index: int, *pieces: str) -> list[tuple[str, dict[str, Any]]]:
    deltas = ({"type": "thinking_delta", "thinking": piece} for piece in pieces)
    start = {"type": "thinking", "thinking": "", "signature": ""}
    return block(index, start, *deltas, {"type": "signature_delta", "signature": "signed"})


def call(index: int, text: str, name: str = "get_weather") -> list[tuple[str, dict[str, Any]]]:
    start = {"type": "tool_use", "id": "toolu_x", "name": name, "input": {}}
    return block(index, start, {"type": "input_json_delta", "partial_json": text})


def ended(
    reason: str, output: int, sequence: str | None = None, thought: int = 0, **usage: int
) -> tuple[str, dict[str, Any]]:
    """output: tokens, of which `thought` were thinking. usage: else 7 tokens of prompt."""
    delta = {"stop_reason": reason, "stop_sequence": sequence}
    counts = {"output_tokens": output, "output_tokens_details": {"thinking_tokens": thought}}
    told = ZERO | {"input_tokens": 7} | usage | counts
    return "message_delta", {"type": "message_delta", "delta": delta, "usage": told}


CASES: dict[str, tuple[dict[str, Any], Script, list[tuple[str, dict[str, Any]]]]] = {
    "text": (
        {},
        Script(("Hello", " there."), started=(7, None)),
        [
            started({"input_tokens": 7}),
            PING,
            *texts(0, "Hello", " there."),
            ended("end_turn", 2),
            STOP,
        ],
    ),
    "thinking_text_and_calls": (
        {"thinking": THINK, "tools": [TOOL]},
        Script(
            (
                UpstreamReasoning("So "),
                UpstreamReasoning("be it."),
                "I look.",
                UpstreamCall("get_weather", '{"city":  "Lisbon"}'),
                UpstreamCall("get_weather", '{"city": "Porto"}'),
            ),
            started=(100, 60),
            usage=Usage(100, 0, 60),
        ),
        [
            started({"input_tokens": 40, "cache_read_input_tokens": 60}),
            PING,
            *thoughts(0, "So ", "be it."),
            *texts(1, "I look."),
            *call(2, '{"city":  "Lisbon"}'),
            *call(3, '{"city": "Porto"}'),
            ended("tool_use", 5, thought=2, input_tokens=40, cache_read_input_tokens=60),
            STOP,
        ],
    ),
    "thinking_is_not_shown_unasked": (
        {},
        Script((UpstreamReasoning("So."), "Yes.")),
        [started({}), PING, *texts(0, "Yes."), ended("end_turn", 2, thought=1), STOP],
    ),
    "empty": (
        {},
        Script((), finish="length"),
        [started({}), PING, *texts(0), ended("max_tokens", 0), STOP],
    ),
    "stop_sequence": (
        {"stop_sequences": ["END", "STOP"]},
        Script(("It rains. EN", "D of it",)),
        [
            started({}),
            PING,
            *texts(0, "It rains. "),
            ended("stop_sequence", 2, "END"),
            STOP,
        ],
    ),
    "refusal": (
        {},
        Script(("No.",), finish="content_filter"),
        [started({}), PING, *texts(0, "No."), ended("refusal", 1), STOP],
    ),
    "only_a_call": (
        {"tools": [TOOL]},
        Script((SLOPPY_CALL,)),
        [
            started({}),
            PING,
            *call(0, '{"city": "Lisbon"}'),
            ended("tool_use", 1),
            STOP,
        ],
    ),
}  # fmt: skip


def told(response: httpx.Response) -> list[tuple[str, dict[str, Any]]]:
    """What differs from one run to the next is written as in the cases."""
    found = events(response.text)
    for name, data in found:
        match name:
            case "message_start":
                assert data["message"]["id"].startswith("msg_")
                data["message"]["id"] = "msg_x"
            case "message_delta":
                assert data.pop("fortieth")["verdict"]
            case "content_block_start" if data["content_block"]["type"] == "tool_use":
                assert data["content_block"]["id"].startswith("toolu_")
                data["content_block"]["id"] = "toolu_x"
            case "content_block_delta" if data["delta"]["type"] == "signature_delta":
                assert len(data["delta"]["signature"]) > 40
                data["delta"]["signature"] = "signed"
    return found


@pytest.mark.parametrize("name", CASES)
def test_the_sequence_of_a_stream(stage: Stage, name: str) -> None:
    fields, script, expected = CASES[name]
    stage.playbook.scripts[f"stream {name}"] = script
    response = send(stage.server, message(f"stream {name}", stream=True, **fields))
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["request-id"] == response.headers["x-request-id"]
    first, *rest = told(response)
    # this server sends a ping after every 0.05 s of silence
    assert [first, PING, *(one for one in rest if one != PING)] == expected
    assert rest[0] == PING
    assert all(data["type"] == event for event, data in expected)


@pytest.mark.parametrize("name", CASES)
def test_a_whole_message_is_what_its_stream_adds_up_to(stage: Stage, name: str) -> None:
    fields, script, expected = CASES[name]
    stage.playbook.scripts[f"whole {name}"] = script
    response = send(stage.server, message(f"whole {name}", **fields))
    whole = response.json()
    delta = expected[-2][1]
    content = whole.pop("content")
    for one in content:
        one |= {key: value for key, value in (("id", "toolu_x"), ("signature", "signed")) if key in one}
    assert content == blocks_of(expected)
    assert whole.pop("id").startswith("msg_")
    agree(whole.pop("fortieth"), of_headers(response))
    assert whole == {
        "type": "message",
        "role": "assistant",
        "model": "scripted",
        **delta["delta"],
        "usage": delta["usage"],
    }
    assert response.headers["request-id"] == response.headers["x-request-id"]


def test_a_stream_tells_the_verdict_before_its_end(stage: Stage) -> None:
    stage.playbook.scripts["sloppy stream"] = Script((SLOPPY_CALL,))
    text = send(stage.server, message("sloppy stream", stream=True, tools=[TOOL])).text
    *_, delta, comment, last = text.strip().split("\n\n")
    own = json.loads(delta.partition("data: ")[2])["fortieth"]
    assert (own["verdict"], own["fixes"], own["attempts"]) == ("repaired", 1, 1)
    assert comment.startswith(": x-fortieth-verdict: repaired; fixes=1; attempts=1")
    assert last == 'event: message_stop\ndata: {"type":"message_stop"}'


def test_a_silent_stream_is_pinged(stage: Stage) -> None:
    stage.playbook.scripts["slow message"] = Script((Stall(0.3), "x"))
    found = told(send(stage.server, message("slow message", stream=True)))
    assert found[0][0] == "message_start"
    assert found.count(PING) >= 3
    assert [one for one in found if one != PING][1:4] == texts(0, "x")


def test_a_stream_whose_prompt_is_not_known_yet_is_kept_alive() -> None:
    """Nothing may stand before message_start; the counts then come at the end."""
    codec = Anthropic()
    asked = codec.decode(json.dumps(message()).encode())
    stream = codec.encode_stream(codec.head(ModelCard("scripted", 0, 9, "fp"), "req_1"), asked)
    assert stream.open() == b""
    first = events(stream.keep_alive().decode())
    assert [name for name, _ in first] == ["message_start", "ping", "ping"]
    assert first[0][1]["message"]["usage"] == ZERO
    assert stream.encode(Started(7, 3)) == b""
    assert stream.keep_alive() == b'event: ping\ndata: {"type":"ping"}\n\n'
    last = events(stream.close(Finish(FinishReason.stop, Usage(7, 0, 3), session="s")).decode())
    assert last[-2][1].pop("fortieth")["session"] == "s"
    assert last[-2] == ended("end_turn", 0, input_tokens=4, cache_read_input_tokens=3)


class Slow:
    """Answers with nothing, and knows only after a while what of the prompt it has."""

    session = "s"

    async def events(self) -> AsyncIterator[Event]:
        await asyncio.sleep(0.1)
        yield Started(7, 3)
        yield Finish(FinishReason.stop, Usage(7, 0, 3))

    async def aclose(self) -> None:
        pass


async def test_no_sign_of_life_stands_before_the_counts_that_come_in_time() -> None:
    sent: list[bytes] = []

    async def send_part(part: Any) -> None:
        sent.append(part.get("body", b""))

    async def receive() -> Any:
        await asyncio.Event().wait()

    codec = Anthropic()
    asked = codec.decode(json.dumps(message()).encode())
    encoder = codec.encode_stream(codec.head(ModelCard("scripted", 0, 9, "fp"), "req_1"), asked)
    await EventStream(Slow(), encoder, 60)({}, receive, send_part)
    (_, first), *_ = events(b"".join(sent).decode())
    assert first["message"]["usage"] == ZERO | {"input_tokens": 4, "cache_read_input_tokens": 3}


def test_an_error_in_a_stream_is_its_last_event(stage: Stage) -> None:
    stage.playbook.scripts["dying message"] = Script(("It ", UpstreamUnavailable("it died")))
    response = send(stage.server, message("dying message", stream=True), headers={"x-request-id": "req_7"})
    assert response.status_code == 200
    assert told(response)[-1] == (
        "error",
        {"type": "error", "error": {"type": "api_error", "message": "it died"}, "request_id": "req_7"},
    )


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("refusal", "status", "type", "retry"),
    [
        (Overloaded("full", retry_after_s=2.2), 529, "overloaded_error", "3"),
        (RateLimited("too often", retry_after_s=1), 429, "rate_limit_error", "1"),
        (UpstreamUnavailable("gone"), 503, "api_error", None),
        (ZeroDivisionError("x"), 500, "api_error", None),
    ],
    ids=["queue", "rate", "gone", "defect"],
)
def test_an_error_before_the_stream(
    stage: Stage, refusal: Exception, status: int, type: str, retry: str | None, stream: bool
) -> None:
    stage.playbook.scripts[f"refused {type} {status}"] = Script(refusal=refusal)
    response = send(stage.server, message(f"refused {type} {status}", stream=stream))
    assert (response.status_code, response.headers.get("retry-after")) == (status, retry)
    error = response.json()
    assert (error["type"], error["error"]["type"]) == ("error", type)
    assert error["request_id"] == response.headers["request-id"] == response.headers["x-request-id"]


def test_what_is_no_object_is_told_as_text(stage: Stage) -> None:
    """Only where the client asks for calls as the model emitted them."""
    as_emitted = {"x-fortieth-guard": "off"}
    for stream in (False, True):
        for arguments, given in (("[1, 2", {"arguments": "[1, 2"}), ("", {}), (' {"a":1.0}', {"a": 1.0})):
            stage.playbook.scripts["emitted"] = Script((UpstreamCall("get_weather", arguments),))
            asked = message("emitted", tools=[TOOL], stream=stream)
            response = send(stage.server, asked, headers=as_emitted)
            blocks = blocks_of(events(response.text)) if stream else response.json()["content"]
            assert [one["input"] for one in blocks] == [given]


def test_the_model_lists_of_two_dialects_share_a_path(stage: Stage) -> None:
    at = stage.server.base_url + "/models"
    card = {
        "type": "model",
        "id": "scripted",
        "display_name": "scripted",
        "created_at": "1970-01-01T00:00:00Z",
        "lifecycle": "active",
        "max_input_tokens": 4096,
        "max_tokens": 4096,
    }
    page = {"data": [card], "has_more": False, "first_id": "scripted", "last_id": "scripted"}
    for headers in (VERSION, {"anthropic-beta": "x"}):
        assert httpx.get(at, headers=headers).json() == page
        assert httpx.get(f"{at}/scripted", headers=headers).json() == card
        missing = httpx.get(f"{at}/else", headers=headers)
        assert (missing.status_code, missing.json()["error"]["type"]) == (404, "not_found_error")
    assert httpx.get(at).json()["object"] == "list"
    assert httpx.get(f"{at}/scripted").json()["object"] == "model"
    assert httpx.get(f"{at}/else").json()["error"]["code"] == "model_not_found"
    assert httpx.head(at, headers=VERSION).status_code == httpx.head(at).status_code == 200


def test_what_no_route_has_is_told_in_the_dialect_of_the_request(stage: Stage) -> None:
    for method, path, status in (("GET", "/messages", 405), ("POST", "/messages/batches", 404)):
        response = httpx.request(method, stage.server.base_url + path, headers=VERSION)
        assert response.status_code == status
        assert json.loads(response.text)["type"] == "error"
        bare = httpx.request(method, stage.server.base_url + path)
        assert (bare.status_code, "type" in bare.json()) == (status, False)


def test_base_urls_with_and_without_v1(stage: Stage) -> None:
    for path in ("/messages", "/v1/messages", "/v1/v1/messages", "/v1/messages?beta=true"):
        response = httpx.post(stage.server.root + path, json=message("hello"))
        assert response.json()["content"] == [{"type": "text", "text": "Hello there."}]
