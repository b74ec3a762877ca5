"""What goes to an upstream and what becomes of it: requests, aborts, keys, health, models, the network."""

from __future__ import annotations

import json
import logging
import socket
import subprocess
import sys
import time
from typing import Any

import httpx
import pytest

from proxy.codecs.openai_request import decode_request
from proxy.conversation.errors import StartError
from proxy.upstreams.remote.litellm import LiteLLMUpstream, Routing
from proxy.upstreams.remote.target import Target
from proxy.upstreams.scripted import Stall
from tests.proxy.attempts import ask, read
from tests.proxy.live import LoopThread
from tests.proxy.requests import CLOCK, TOOLS, WEATHER
from tests.proxy.upstreams.stage import KEY, Hosted
from tests.proxy.upstreams.wire import (
    Heard,
    Reply,
    WireUpstream,
    chunk,
    refused,
    told,
    usage,
    wire_serving,
)

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
CALL = {"id": "c1", "type": "function", "function": {"name": "get_time", "arguments": "{}"}}


def heard(chain: Hosted, key: str, **fields: Any) -> Heard:
    """What the upstream was asked for this request."""
    messages = [{"role": "user", "content": key}, *fields.pop("later", [])]
    response = chain.server.post({"messages": messages, **fields}, {"x-fortieth-guard": "off"})
    assert response.status_code == 200, response.text
    return chain.wire.asked(key)[-1]


@pytest.mark.parametrize(
    ("fields", "sent"),
    [
        ({"temperature": 0.5, "top_p": 0.25, "seed": 7, "max_tokens": 9}, None),
        ({"stop": ["a", "b"], "presence_penalty": 0.5, "frequency_penalty": -0.5}, None),
        ({"top_k": 5, "min_p": 0.125, "repetition_penalty": 1.25}, None),
        ({"logit_bias": {"5": 1.0}, "logprobs": True, "top_logprobs": 2}, None),
        ({"response_format": {"type": "json_object"}}, None),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}},
            None,
        ),
        ({"tools": TOOLS}, {"tool_choice": "auto"}),
        # it would be matched in calls too: we match it ourselves
        ({"tools": TOOLS, "stop": ["a"]}, {"stop": None, "tools": TOOLS}),
        ({"tools": TOOLS, "tool_choice": "none", "stop": ["a"]}, {"stop": ["a"], "tools": None}),
        ({"tools": TOOLS, "tool_choice": "required", "parallel_tool_calls": False}, None),
        ({"tools": [CLOCK], "tool_choice": {"type": "function", "function": {"name": "get_time"}}}, None),
        ({"reasoning_effort": "low"}, None),
        ({"enable_thinking": False}, {"chat_template_kwargs": {"enable_thinking": False}}),
        ({"stream": True}, {"stream": True, "stream_options": {"include_usage": True}}),
        ({}, {"stream": True, "stream_options": {"include_usage": True}, "model": "wire"}),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_a_request_arrives_as_it_was_sent(
    chain: Hosted, fields: dict[str, Any], sent: dict[str, Any] | None
) -> None:
    asked = heard(chain, f"fields {json.dumps(fields)}", **fields).body
    expected = sent if sent is not None else fields
    assert {name: asked.get(name) for name in expected} == expected


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_the_stream_is_left_where_a_stop_string_completes(chain: Hosted, stream: bool) -> None:
    key = f"stop {stream}"
    pieces = [chunk({"content": one}) for one in ("It ra", "ins. E", "ND and", " more")]
    chain.wire.plan(key, Reply((*pieces, Stall(300))))
    fields = {"tools": TOOLS, "stop": ["END"], "stream": stream, "stream_options": {"include_usage": True}}
    seen = read(chain.server.post({"messages": [{"role": "user", "content": key}], **fields}), stream)
    assert (seen.content, seen.reason) == ("It rains. ", "stop")
    assert seen.usage["completion_tokens"] == 3, "its pieces: most servers tell at the end"
    (asked,) = chain.wire.asked(key)
    until = time.monotonic() + 10
    while not asked.left and time.monotonic() < until:
        time.sleep(0.01)
    assert asked.left, "the other server may stop, too"


def test_tools_arrive_whole(chain: Hosted) -> None:
    strict = {"type": "function", "function": {**WEATHER["function"], "strict": True}}
    assert heard(chain, "strict", tools=[strict, CLOCK]).body["tools"] == [strict, CLOCK]
    assert "tools" not in heard(chain, "none", tools=TOOLS, tool_choice="none").body


@pytest.mark.parametrize(
    ("later", "sent"),
    [
        (
            [{"role": "assistant", "content": None, "tool_calls": [CALL]}],
            [{"role": "assistant", "content": None, "tool_calls": [CALL]}],
        ),
        (
            [
                {"role": "assistant", "content": "x", "tool_calls": [CALL], "reasoning_content": "hm"},
                {"role": "tool", "tool_call_id": "c1", "content": "noon"},
            ],
            None,
        ),
        (
            [
                {"role": "assistant", "content": "", "tool_calls": [{**CALL, "id": ""}, {**CALL, "id": ""}]},
                {"role": "tool", "content": "1"},
                {"role": "tool", "content": "2"},
            ],
            [
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [{**CALL, "id": "call_1_0"}, {**CALL, "id": "call_1_1"}],
                },
                {"role": "tool", "tool_call_id": "call_1_0", "content": "1"},
                {"role": "tool", "tool_call_id": "call_1_1", "content": "2"},
            ],
        ),
        (
            [
                {
                    "role": "assistant",
                    "content": "",
                    "tool_calls": [{**CALL, "function": {"name": "f", "arguments": bad}}],
                }
                for bad in ('{"a": ', "[1]", "", "null")
            ],
            [
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [{**CALL, "function": {"name": "f", "arguments": good}}],
                }
                for good in ('{"arguments": "{\\"a\\": "}', '{"arguments": "[1]"}', "{}", "{}")
            ],
        ),
        (
            [{"role": "user", "content": "b"}, {"role": "assistant", "content": ""}],
            [{"role": "user", "content": "b"}],
        ),
    ],
    ids=["calls", "results", "ids", "arguments", "empty tail"],
)
def test_histories_that_servers_fail_on_are_set_right(
    chain: Hosted, later: list[dict[str, Any]], sent: list[dict[str, Any]] | None
) -> None:
    key = f"history {json.dumps(later)}"
    expected = sent if sent is not None else later
    messages = heard(chain, key, later=later).body["messages"][1:]
    # LiteLLM leaves out a content that is null
    assert [{"content": None, **message} for message in messages] == expected


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_the_upstreams_usage_is_kept(chain: Hosted, stream: bool) -> None:
    key = chain.wire.plan(
        f"usage {stream}", Reply((chunk({"content": "a"}), chunk({}, "stop"), usage(30, 4, 20)))
    )
    counts = ask(chain.server, key, stream, model="wire").usage
    assert (counts["prompt_tokens"], counts["completion_tokens"]) == (30, 4)
    assert counts["prompt_tokens_details"]["cached_tokens"] == 20


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("said", [True, False], ids=["in the middle", "before it begins"])
def test_a_client_that_goes_away_frees_the_upstream(chain: Hosted, stream: bool, said: bool) -> None:
    steps = ((chunk({"content": "a"}), Stall(0.2)) * 200) if said else (Stall(40),)
    key = chain.wire.plan(f"gone {stream} {said}", Reply(steps))
    body = json.dumps({"messages": [{"role": "user", "content": key}], "stream": stream}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", chain.server.port)) as connection:
        connection.sendall(head.encode() + body)
        wait_until(lambda: bool(chain.wire.asked(key)))
        if stream and said:
            assert connection.recv(16)
    wait_until(lambda: chain.wire.asked(key)[0].left)
    assert len(chain.wire.asked(key)) == 1


def wait_until(true: Any, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def test_the_key_is_sent_and_never_told(chain: Hosted, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for reply in (told("a"), refused(401, f"bad key {KEY}"), refused(500, f"bad key {KEY}")):
        key = chain.wire.plan("the key", reply)
        response = chain.server.post({"messages": [{"role": "user", "content": key}]})
        assert KEY not in response.text
    assert chain.wire.asked("the key")[0].headers["authorization"] == f"Bearer {KEY}"
    assert caplog.text
    assert KEY not in caplog.text


def test_models_and_health(chain: Hosted) -> None:
    listed = httpx.get(chain.server.base_url + "/models").json()["data"]
    assert [(one["id"], one["max_model_len"]) for one in listed] == [("wire", 4321), ("brief", 4321)]
    assert httpx.get(chain.server.root + "/health").status_code == 200
    models, chain.wire.models = chain.wire.models, None
    try:
        time.sleep(1.1)  # how long an answer about health is kept
        response = httpx.get(chain.server.root + "/health")
        assert response.status_code == 503
        assert response.json()["reason"].endswith("it answered 500")
    finally:
        chain.wire.models = models


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ({"base_url": "http://127.0.0.1:9/v1"}, "cannot list its models.*fortieth serve NAME"),
        ({"model": "openai/x", "api_key_env": "NOT_SET"}, "the environment variable NOT_SET holds no key"),
        ({"model": "openai/x", "fallbacks": ["y"]}, "falls back to 'y', which is no upstream's name"),
    ],
    ids=["unreachable", "no key", "no such fallback"],
)
async def test_what_cannot_be_served_stops_the_start(target: dict[str, Any], message: str) -> None:
    with pytest.raises(StartError, match=message):
        await LiteLLMUpstream.start([Target(**target)], Routing(), {})


def test_loading_litellm_needs_no_network() -> None:
    """Nor does it find a key file that lies about."""
    code = (
        "import sys\n"
        "def hook(event, args):\n"
        "    if event in ('socket.connect', 'socket.getaddrinfo') and args[0] is not None:\n"
        "        raise SystemExit(f'{event} {args}')\n"
        "from proxy.upstreams.remote.litellm import load_litellm\n"
        "sys.addaudithook(hook)\n"
        "load_litellm()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_litellm_is_loaded_for_upstreams_only() -> None:
    code = "import sys, proxy.http.server, proxy.cli.main; sys.exit('litellm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0


def test_fallbacks_and_cool_downs() -> None:
    """The last one here: LiteLLM's clients are the process's, and closing one upstream closes them all."""
    thread = LoopThread()
    good, bad, last = (WireUpstream(told(name), [{"id": "m"}]) for name in ("good", "bad", "last"))
    bad.default = refused(500, "broken")
    with wire_serving(good), wire_serving(bad), wire_serving(last):
        both = [Target(base_url=one.base_url, name="pair", fallbacks=("spare",)) for one in (good, bad)]
        targets = [*both, Target(base_url=last.base_url, name="spare")]
        try:
            routing = Routing(cooldown_s=60, retries=4)
            upstream = thread.run(LiteLLMUpstream.start(targets, routing, {}))
            assert [card.id for card in upstream.models] == ["pair", "spare"]
            for _ in range(8):
                assert thread.run(answer(upstream, "pair")) == "good"
            assert len(bad.heard) <= 1, "one that failed is left out"
            good.default = refused(403, "closed")
            assert thread.run(answer(upstream, "pair")) == "last"
            thread.run(upstream.close())
        finally:
            thread.close()


async def answer(upstream: LiteLLMUpstream, model: str) -> str:
    body = {"model": model, "messages": [{"role": "user", "content": "x"}]}
    generation = await upstream.open(decode_request(json.dumps(body).encode()).request)
    try:
        return "".join([getattr(event, "text", "") async for event in generation])
    finally:
        await generation.aclose()
