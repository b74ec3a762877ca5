"""What an upstream refuses of a request: fields that it does not know are left out, all else is the client's
to hear.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import httpx
import pytest

from proxy.upstreams.scripted import Stall
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
    "a field that is read here": (
        {"seed": 3, "user": "ann"},
        (400, "Unsupported parameter: 'seed' is not supported with this model."),
        {"seed": None, "user": "ann"},
        True,
    ),
    "stop strings": (
        {"stop": ["x"]},
        (400, "Unsupported parameter: 'stop' is not supported with this model."),
        {"stop": None},
        True,
    ),
    "log probabilities": (
        {"logprobs": True, "top_logprobs": 2},
        (400, "This model does not support `logprobs`."),
        {"logprobs": None, "top_logprobs": 2},
        True,
    ),
    "calls at once": (
        {"tools": [TOOL], "parallel_tool_calls": False},
        (400, "Unrecognized request argument supplied: parallel_tool_calls"),
        {"tools": [TOOL], "parallel_tool_calls": None},
        True,
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
    once_more = ask(chain, again, fields)
    assert once_more.status_code == 200
    (third,) = chain.wire.asked(again)
    sent = expected if remembered else fields
    assert {key: third.body.get(key) for key in sent} == sent
    warning = response.headers["x-fortieth-warning"] if remembered else None
    assert once_more.headers.get("x-fortieth-warning") == warning
    chain.upstream.unsent.clear()


def test_fields_of_a_message_too(chain: Hosted) -> None:
    chain.wire.plan("marked", refused(400, "messages.1: Unknown parameter: 'weight'"), told("Well."))
    message = {"role": "user", "content": "hi", "weight": 1, "name": "ann"}
    body = {"model": "brief", "messages": [{"role": "user", "content": "marked"}, message]}
    assert chain.server.post(body).status_code == 200
    first, second = chain.wire.asked("marked")
    assert first.body["messages"][1] == message
    assert second.body["messages"][1] == {"role": "user", "content": "hi", "name": "ann"}
    once_more = {"role": "user", "content": "marked again"}
    response = chain.server.post({**body, "messages": [once_more, message]})
    assert "weight: upstream brief does not take it" in response.headers["x-fortieth-warning"]
    (third,) = chain.wire.asked("marked again")
    assert third.body["messages"][1] == {"role": "user", "content": "hi", "name": "ann"}
    chain.upstream.unsent.clear()


def test_what_is_remembered_and_not_sent_is_not_told(chain: Hosted) -> None:
    chain.wire.plan("told once", refused(400, "Unknown parameter: 'min_tokens'"), told("Well."))
    assert ask(chain, "told once", {"min_tokens": 3}).status_code == 200
    assert "x-fortieth-warning" not in ask(chain, "told of nothing", {}).headers
    chain.upstream.unsent.clear()


def test_two_that_are_refused_at_once_are_both_remembered(chain: Hosted) -> None:
    slow = replace(told("Well."), before=Stall(0.5))
    chain.wire.plan("slow", refused(400, "Unknown parameter: 'one'."), slow)
    chain.wire.plan("quick", refused(400, "Unknown parameter: 'two'."), told("Well."))
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(ask, chain, "slow", {"one": 1})
        while len(chain.wire.asked("slow")) < 2:
            time.sleep(0.01)
        assert ask(chain, "quick", {"two": 2}).status_code == 200
        assert first.result().status_code == 200
    assert ask(chain, "both", {"one": 1, "two": 2}).status_code == 200
    (heard,) = chain.wire.asked("both")
    assert not {"one", "two"} & heard.body.keys()
    chain.upstream.unsent.clear()


def test_of_the_options_of_a_stream_the_clients_alone_are_left_out(chain: Hosted) -> None:
    name = "stream_options.include_obfuscation"
    chain.wire.plan("options", refused(400, f"Unknown parameter: '{name}'."), told("Well."))
    response = ask(chain, "options", {"stream_options": {"include_obfuscation": False}})
    first, second = chain.wire.asked("options")
    assert first.body["stream_options"] == {"include_obfuscation": False, "include_usage": True}
    assert second.body["stream_options"] == {"include_usage": True}
    assert "include_obfuscation" in response.headers["x-fortieth-warning"]
    assert response.json()["usage"]["completion_tokens"] == 5
    chain.upstream.unsent.clear()


@pytest.mark.parametrize(
    ("message", "times"),
    [("image input is not supported in user messages", 2), ("Unsupported 'user': image input", 3)],
    ids=["a word", "a guess"],
)
def test_a_picture_is_no_field(chain: Hosted, message: str, times: int) -> None:
    """What was left out before the text alone helped is not remembered."""
    chain.wire.plan(message, *[refused(400, message)] * (times - 1), told("Well."))
    picture = {"type": "image_url", "image_url": {"url": "https://a/b"}}
    told_of = [{"role": "user", "content": message}, {"role": "user", "content": [picture]}]
    response = ask(chain, "", {"messages": told_of, "user": "ann"})
    assert response.status_code == 200
    assert "told in words" in response.headers["x-fortieth-warning"]
    heard = chain.wire.asked(message)
    assert len(heard) == times
    assert "omitted" in heard[-1].body["messages"][1]["content"]
    again = f"{message}, then none"
    assert ask(chain, again, {"user": "ann"}).status_code == 200
    (last,) = chain.wire.asked(again)
    assert last.body["user"] == "ann"
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


@pytest.mark.parametrize("code", [None, "billing_hard_limit_reached"])
def test_who_wants_money_is_heard_at_once(chain: Hosted, code: str | None) -> None:
    key = f"money {code}"
    told_why = "Insufficient credits. Add more using https://openrouter.ai/credits"
    chain.wire.plan(key, refused(402, told_why, code))
    response = ask(chain, key, {})
    assert (response.status_code, response.json()["error"]["code"]) == (402, "insufficient_quota")
    assert "Insufficient credits" in response.json()["error"]["message"]
    assert len(chain.wire.asked(key)) == 1


def test_a_tool_that_is_called_otherwise_is_told_of(chain: Hosted) -> None:
    response = ask(chain, "otherwise", {"tools": [TOOL, {"type": "builtin_function", "name": "search"}]})
    assert "tools of type builtin_function" in response.headers["x-fortieth-warning"]
    (heard,) = chain.wire.asked("otherwise")
    assert heard.body["tools"] == [TOOL]


def test_a_tool_that_takes_text_is_sent_as_a_function(chain: Hosted) -> None:
    response = ask(chain, "custom", {"tools": [TOOL, {"type": "custom", "custom": {"name": "patch"}}]})
    assert "x-fortieth-warning" not in response.headers
    (heard,) = chain.wire.asked("custom")
    sent = heard.body["tools"][1]
    assert (sent["type"], sent["function"]["name"]) == ("function", "patch")
    assert sent["function"]["parameters"]["required"] == ["input"]


def test_who_takes_text_alone_has_no_tools_of_a_provider(chain: Hosted) -> None:
    chain.wire.plan("text alone", refused(400, "something is wrong"), told("Well."))
    response = ask(chain, "text alone", {"tools": [TOOL, {"type": "web_search"}]})
    warning = response.headers["x-fortieth-warning"]
    assert "told in words; tools of type web_search are not served here: left out" in warning
    first, second = chain.wire.asked("text alone")
    assert (len(first.body["tools"]), second.body["tools"]) == (2, [TOOL])


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
