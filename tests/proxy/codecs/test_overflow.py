"""A prompt that leaves no room, in each dialect as its clients look for it before they compact."""

from __future__ import annotations

import re

import pytest

from proxy.conversation.errors import ContextTooLong
from proxy.upstreams.scripted import Script
from tests.proxy.codecs.messages import message, send
from tests.proxy.codecs.responses import body as response_body
from tests.proxy.codecs.responses import events, post
from tests.proxy.conftest import Stage
from tests.proxy.requests import body, user

CLAUDE = re.compile(r"prompt is too long: 5000 tokens > 4095 maximum")
OPENAI = "This model's maximum context length is 4096 tokens. However, your messages resulted in 5000 tokens."


@pytest.fixture
def full(stage: Stage) -> Stage:
    stage.playbook.scripts["far too long"] = Script(refusal=ContextTooLong(5000, 4096))
    return stage


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_chat_completions(full: Stage, stream: bool) -> None:
    response = full.server.post(body(messages=[user("far too long")], stream=stream))
    error = response.json()["error"]
    assert (response.status_code, error["type"]) == (400, "invalid_request_error")
    assert (error["code"], error["param"]) == ("context_length_exceeded", "messages")
    assert OPENAI in error["message"]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_messages(full: Stage, stream: bool) -> None:
    response = send(full.server, message("far too long", stream=stream))
    told = response.json()
    assert (response.status_code, told["type"], told["error"]["type"]) == (
        400,
        "error",
        "invalid_request_error",
    )
    assert CLAUDE.match(told["error"]["message"])


def test_responses_whole(full: Stage) -> None:
    response = post(full.server, response_body("far too long"))
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (400, "context_length_exceeded", "input")
    assert OPENAI in error["message"]


def test_responses_streamed(full: Stage) -> None:
    """Codex compacts on the code in response.failed, and ends on a 400; others read the error event."""
    told = events(post(full.server, response_body("far too long", stream=True, metadata={"a": "b"})))
    assert [one["type"] for one in told] == [
        "response.created",
        "response.in_progress",
        "error",
        "response.failed",
    ]
    *_, error, failed = told
    assert (error["code"], error["error"]["code"]) == ("context_length_exceeded", "context_length_exceeded")
    response = failed["response"]
    assert (response["status"], response["error"]["code"]) == ("failed", "context_length_exceeded")
    assert OPENAI in response["error"]["message"]
    assert (response["id"], response["metadata"]) == (told[0]["response"]["id"], {"a": "b"})
    assert response["model"] == "scripted"
