"""How a streamed answer is read: pieces, usage, errors in every place, and servers that answer whole."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from proxy.ab.client import AnswerInPieces, AskOptions, StreamedAnswer, ask_streamed


def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def events(*values: Any) -> bytes:
    return b"".join(b"data: " + json.dumps(value).encode() + b"\n\n" for value in values)


DONE = b"data: [DONE]\n\n"


class Pieces(httpx.AsyncByteStream):
    """A body in pieces, which may end in an error."""

    def __init__(self, *pieces: bytes | Exception) -> None:
        self._pieces = pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece


async def read(
    *pieces: bytes | Exception,
    status: int = 200,
    kind: str = "text/event-stream",
    said: str = "hi",
    **asked: Any,
) -> tuple[StreamedAnswer, dict[str, Any]]:
    sent: list[dict[str, Any]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url == "http://h/v1/chat/completions"
        assert request.headers["content-type"] == "application/json"
        sent.append(json.loads(request.content))
        return httpx.Response(status, stream=Pieces(*pieces), headers={"content-type": kind})

    transport = httpx.MockTransport(answer)
    async with httpx.AsyncClient(transport=transport, base_url="http://h/v1/") as client:
        found = await ask_streamed(
            client, "m", [{"role": "user", "content": said}], [], AskOptions(0.5, 9), 3, **asked
        )
    return found, sent[0]


async def test_text_and_usage() -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}}
    answer, sent = await read(
        events(chunk({"role": "assistant"}), chunk({"content": "Hel"})),
        events(chunk({"content": "lo"}), chunk({}, "stop"), {"choices": [], "usage": usage}) + DONE,
        extra={"tool_choice": "none"},
    )
    assert (answer.content, answer.finish, answer.error) == ("Hello", "stop", "")
    assert (answer.prompt_tokens, answer.cached_tokens, answer.completion_tokens) == (9, 4, 2)
    assert answer.ttft == answer.times[0] <= answer.seconds
    assert answer.message == {"role": "assistant", "content": "Hello"}
    assert sent["seed"] == 3
    assert sent["max_tokens"] == 9
    assert sent["tool_choice"] == "none"
    assert "tools" not in sent


@pytest.mark.parametrize("said", ["Grüße", "half \ud83d", "😀"])
async def test_every_character_of_a_history_is_sent(said: str) -> None:
    answer, sent = await read(events(chunk({"content": "Hi"}, "stop")) + DONE, said=said)
    assert (answer.error, sent["messages"][0]["content"]) == ("", said)


async def test_calls_in_pieces() -> None:
    first = {"index": 0, "id": "c1", "function": {"name": "f", "arguments": '{"a'}}
    more = {"index": 0, "function": {"arguments": '": 1}'}}
    second = {"index": 1, "id": "c2", "function": {"name": "g", "arguments": "{}"}}
    answer, _ = await read(
        events(*(chunk({"tool_calls": [one]}) for one in (first, more, second)), chunk({}, "tool_calls"))
        + b": x-fortieth-verdict: repaired; fixes=1; attempts=2\n\n"
        + DONE
    )
    assert [call["function"] for call in answer.calls] == [
        {"name": "f", "arguments": '{"a": 1}'},
        {"name": "g", "arguments": "{}"},
    ]
    assert answer.message["tool_calls"] == list(answer.calls)
    assert answer.attempts == 2
    assert (answer.prompt_tokens, answer.cached_tokens) == (None, None)


async def test_a_whole_answer_where_a_stream_was_asked_for() -> None:
    body = {
        "choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1},
    }
    answer, _ = await read(json.dumps(body).encode(), kind="application/json")
    assert (answer.content, answer.finish, answer.prompt_tokens, answer.error) == ("Hi", "stop", 1, "")


TROUBLE: dict[str, tuple[tuple[bytes | Exception, ...], dict[str, Any], str, bool]] = {
    "refused": ((b"no",), {"status": 500}, "HTTP 500: no", False),
    "too long": ((b'{"code": "context_length_exceeded"}',), {"status": 400}, "HTTP 400", True),
    "error event": ((events({"error": {"message": "out of memory"}}) + DONE,), {}, "out of memory", False),
    "no finish": ((events(chunk({"content": "Hel"})),), {}, "ended without a finish reason", False),
    "broken off": (
        (events(chunk({"content": "Hel"})), httpx.ReadError("reset")), {}, "ReadError: reset", False,
    ),
    "garbage": ((b"data: {nonsense\n\n",), {}, "not a stream of chat completions", False),
    "other JSON": ((b"data: [1]\n\n",), {}, "not a stream of chat completions", False),
    "a page": ((b"<html>",), {"kind": "text/html"}, "not a chat completion", False),
    "nested": ((b"data: " + b"[" * 100_000 + b"\n\n",), {}, "not a stream of chat completions", False),
    "content in parts": (
        (events(chunk({"content": [{"type": "text", "text": "Hi"}]}), chunk({}, "stop")) + DONE,), {},
        "content must be a string, got list", False,
    ),
    "usage": (
        (events(chunk({"content": "Hi"}, "stop"), {"choices": [], "usage": [1]}) + DONE,), {},
        "usage must be an object, got list", False,
    ),
    "arguments": (
        (events(chunk({"tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]})),), {},
        "arguments must be a string, got dict", False,
    ),
    "finish": (
        (events(chunk({"content": "Hi"}), {"choices": [{"finish_reason": {"a": 1}}]}) + DONE,), {},
        "finish_reason must be a string, got dict", False,
    ),
    "index": (
        (b'data: {"choices": [{"delta": {"tool_calls": [{"index": 1e999}]}}]}\n\n',), {},
        "not a stream of chat completions", False,
    ),
    "parts of a whole answer": (
        (b'{"choices": [{"message": {"content": ["Hi"]}, "finish_reason": "stop"}]}',),
        {"kind": "application/json"}, "content must be a string, got list", False,
    ),
    "half a character": ((events({"error": "\ud83d"}) + DONE,), {}, '"?"', False),
    "null": ((b"null",), {"kind": "application/json"}, "not a chat completion", False),
}  # fmt: skip


@pytest.mark.parametrize("name", TROUBLE)
async def test_trouble_is_told_and_never_raised(name: str) -> None:
    pieces, options, said, too_long = TROUBLE[name]
    answer, _ = await read(*pieces, **options)
    assert said in answer.error
    assert answer.too_long is too_long


async def test_counts_that_no_file_can_hold_are_not_told() -> None:
    usage = {"prompt_tokens": 10**30, "completion_tokens": -1, "prompt_tokens_details": 4}
    answer, _ = await read(events(chunk({"content": "Hi"}, "stop"), {"choices": [], "usage": usage}) + DONE)
    assert (answer.error, answer.prompt_tokens, answer.cached_tokens, answer.completion_tokens) == (
        "", None, None, None,
    )  # fmt: skip


def test_gaps_are_between_pieces_that_came_apart() -> None:
    assembling = AnswerInPieces(0.0)
    for at in (0.1, 0.1002, 0.1005, 0.2, 0.4):
        assembling.arrived(at)
    answer = assembling.answer()
    assert answer.times == (0.1, 0.2, 0.4)
    assert answer.gaps == pytest.approx((0.1, 0.2))
    assert answer.gap == pytest.approx(0.15)
