"""What an upstream refuses of a request: fields that it does not know are left out, all else is the client's
to hear.
"""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.proxy.upstreams.stage import Hosted
from tests.proxy.upstreams.wire import Reply, refused, told

TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
# What is sent, how it is refused, what is sent then, and whether that is remembered.
LEFT_OUT: dict[str, tuple[dict[str, Any], tuple[int, str], dict[str, Any], bool]] = {
    "the newer name of a limit": (
        {"max_tokens": 7},
        (
            400,
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
            "'max_completion_tokens' instead.",
        ),
        {"max_tokens": None, "max_completion_tokens": 7},
        True,
    ),
    "a field of another server": (
        {"min_tokens": 3, "user": "ann"},
        (400, "Unrecognized request argument supplied: min_tokens"),
        {"min_tokens": None, "user": "ann"},
        True,
    ),
    "the same, as FastAPI says it": (
        {"guided_regex": "a", "user": "ann"},
        (
            422,
            '[{"type":"extra_forbidden","loc":["body","guided_regex"],"msg":"Extra inputs are not '
            'permitted"}]',
        ),
        {"guided_regex": None, "user": "ann"},
        True,
    ),
    "the same, as Groq says it": (
        {"service_tier": "flex", "top_k": 3},
        (400, "property 'top_k' is unsupported, did you mean 'top_p'?"),
        {"service_tier": "flex", "top_k": None},
        True,
    ),
    "an effort that the model does not have": (
        {"reasoning_effort": "minimal"},
        (400, "reasoning_effort: Input should be 'low', 'medium' or 'high'"),
        {"reasoning_effort": None},
        False,
    ),
    "a temperature that the model does not take": (
        {"temperature": 0.2},
        (400, "Unsupported value: 'temperature' does not support 0.2 with this model."),
        {"temperature": None},
        False,
    ),
    "a field of a tool": (
        {"tools": [{**TOOL, "eager": True}]},
        (400, "tools.0.eager: Extra inputs are not permitted"),
        {"tools": [TOOL]},
        True,
    ),
}


def ask(chain: Hosted, key: str, fields: dict[str, Any]) -> httpx.Response:
    return chain.server.post({"model": "brief", "messages": [{"role": "user", "content": key}], **fields})


@pytest.mark.parametrize("name", LEFT_OUT)
def test_a_field_that_is_not_known_is_left_out(chain: Hosted, name: str) -> None:
    fields, (status, message), expected, remembered = LEFT_OUT[name]
    chain.wire.plan(name, refused(status, message), told("Well."))
    response = ask(chain, name, fields)
    assert response.json()["choices"][0]["message"]["content"] == "Well."
    assert "left out" in response.headers["x-fortieth-warning"]
    first, second = chain.wire.asked(name)
    assert {key: first.body.get(key) for key in fields} == fields
    assert {key: second.body.get(key) for key in expected} == expected
    again = f"{name}, once more"
    assert ask(chain, again, fields).status_code == 200
    (third,) = chain.wire.asked(again)
    sent = expected if remembered else fields
    assert {key: third.body.get(key) for key in sent} == sent
    chain.upstream.unsent.clear()


def test_fields_of_a_message_too(chain: Hosted) -> None:
    chain.wire.plan("marked", refused(400, "messages.1: Unknown parameter: 'weight'"), told("Well."))
    message = {"role": "user", "content": "hi", "weight": 1, "name": "ann"}
    body = {"model": "brief", "messages": [{"role": "user", "content": "marked"}, message]}
    assert chain.server.post(body).status_code == 200
    first, second = chain.wire.asked("marked")
    assert first.body["messages"][1] == message
    assert second.body["messages"][1] == {"role": "user", "content": "hi", "name": "ann"}
    chain.upstream.unsent.clear()


def test_several_one_after_the_other(chain: Hosted) -> None:
    fields = {"one": 1, "two": 2, "three": 3}
    replies = [refused(400, f"Unknown parameter: '{name}'.") for name in fields]
    chain.wire.plan("several", *replies, told("Well."))
    assert ask(chain, "several", fields).status_code == 200
    *_, last = chain.wire.asked("several")
    assert len(chain.wire.asked("several")) == 4
    assert not fields.keys() & last.body.keys()
    chain.upstream.unsent.clear()


def test_a_value_is_the_clients(chain: Hosted) -> None:
    """An answer without the constraint would be another one."""
    error = {
        "message": "structured_outputs: not a usable regex",
        "param": "structured_outputs",
        "code": "bad_regex",
    }
    chain.wire.plan("value", Reply((httpx.Response(200, json={"error": error}).content,), 400))
    response = ask(chain, "value", {"structured_outputs": {"regex": "("}})
    told_error = response.json()["error"]
    assert (response.status_code, told_error["param"], told_error["code"]) == (
        400,
        "structured_outputs",
        "bad_regex",
    )
    assert "not a usable regex" in told_error["message"]
    assert len(chain.wire.asked("value")) == 1


def test_who_wants_money_is_heard_at_once(chain: Hosted) -> None:
    key = "money"
    chain.wire.plan(key, refused(402, "Insufficient credits. Add more using https://openrouter.ai/credits"))
    response = ask(chain, key, {})
    assert (response.status_code, response.json()["error"]["code"]) == (402, "insufficient_quota")
    assert "Insufficient credits" in response.json()["error"]["message"]
    assert len(chain.wire.asked(key)) == 1


def test_a_tool_that_is_called_otherwise_is_told_of(chain: Hosted) -> None:
    response = ask(chain, "custom", {"tools": [TOOL, {"type": "custom", "custom": {"name": "patch"}}]})
    assert "tools of type custom" in response.headers["x-fortieth-warning"]
    (heard,) = chain.wire.asked("custom")
    assert heard.body["tools"] == [TOOL]


@pytest.mark.parametrize(("path", "kind"), [("messages", "billing_error"), ("chat", "")])
def test_in_other_dialects_too(chain: Hosted, path: str, kind: str) -> None:
    key = f"money in {path}"
    chain.wire.plan(key, refused(402, "Insufficient Balance"))
    url = {"messages": "/v1/messages", "chat": "/api/chat"}[path]
    body = {"model": "brief", "max_tokens": 9, "messages": [{"role": "user", "content": key}]}
    response = httpx.post(chain.server.root + url, json=body)
    assert response.status_code == 402
    assert kind in response.text
    assert "Insufficient Balance" in response.text
