"""Recording what a client sends, and what the engine says it had of it."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.clients.recorder import recording
from tests.clients.reuse import Turn, read_usage, sessions, short
from tests.proxy.upstreams.wire import WireUpstream, refused, told, wire_serving

CHAT = {"messages": [{"role": "user", "content": "This is task t0123abcd."}], "tools": [{"name": "f"}]}


def post(port: int, path: str, body: object) -> tuple[int, bytes]:
    data = json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, {"x-session": "s"})
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def test_all_is_passed_on_and_written_down(tmp_path: Path) -> None:
    upstream = WireUpstream(told("one", "two"))
    upstream.plan("wrong", refused(429, "later"))
    with wire_serving(upstream), recording(upstream.port, tmp_path / "new/text.jsonl") as port:
        answers = [post(one, "/v1/chat/completions", CHAT) for one in (port, upstream.port)]
        wrong = {"messages": [{"role": "user", "content": "wrong"}]}
        status, said = post(port, "/v1/chat/completions", wrong)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models", timeout=10) as response:
            assert json.loads(response.read())["data"] == [{"id": "wire"}]
    assert answers[0] == answers[1]
    assert (status, json.loads(said)["error"]["message"]) == (429, "later")
    lines = [json.loads(line) for line in (tmp_path / "new/text.jsonl").read_text().splitlines()]
    assert [(line["path"], line["body"]) for line in lines] == [
        ("/v1/chat/completions", CHAT),
        ("/v1/chat/completions", wrong),
    ]
    assert lines[0]["headers"]["x-session"] == "s"


def test_a_session_is_its_requests_with_tools() -> None:
    titled = {**CHAT, "tools": []}
    other = json.loads(json.dumps(CHAT).replace("t0123abcd", "tdeadbeef"))
    counted = ("/v1/messages/count_tokens", CHAT)
    sent = [("/v1/messages", CHAT), ("/v1/messages", titled), ("/v1/messages", other), counted]
    lines = [json.dumps({"path": path, "headers": {}, "body": body}) for path, body in sent]
    found = {mark: len(requests) for mark, requests in sessions(lines).items()}
    assert found == {"t0123abcd": 1, "tdeadbeef": 1}


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/v1/messages?beta=true", "max_tokens"),
        ("/v1/responses", "max_output_tokens"),
        ("/v1/chat/completions", "max_completion_tokens"),
    ],
)
def test_one_token_is_asked_for(path: str, field: str) -> None:
    body = {"stream": True, "stream_options": {"include_usage": True}, "model": "m", "x": 1}
    made = short({"path": path, "body": body})
    assert made == {"stream": False, "model": "default", "x": 1, field: 1}


@pytest.mark.parametrize(
    "usage",
    [
        {"input_tokens": 20, "cache_read_input_tokens": 75, "cache_creation_input_tokens": 5},
        {"input_tokens": 100, "input_tokens_details": {"cached_tokens": 75}},
        {"prompt_tokens": 100, "prompt_tokens_details": {"cached_tokens": 75}},
    ],
    ids=["messages", "responses", "chat"],
)
def test_each_dialect_tells_what_was_cached(usage: dict[str, object]) -> None:
    assert read_usage(usage) == Turn(100, 75)
    assert read_usage(usage).share == 0.75
