"""The same conversations through every dialect: the same prompt, calls, verdict and fixes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest

from proxy.codecs.anthropic import Anthropic
from proxy.codecs.ollama import OllamaChat
from proxy.codecs.openai_chat import OpenAIChat
from proxy.guard.policy import GuardPolicy
from proxy.upstreams.scripted import ScriptedUpstream
from tests.proxy.attempts import Seen, parted, read
from tests.proxy.codecs import ollama
from tests.proxy.codecs.messages import VERSION, blocks_of, events
from tests.proxy.guard_corpus import Model, Play, plays
from tests.proxy.live import serving
from tests.repair.corpus import CASES, TOOLS

# every format has its cases in one row: a step that no row's length divides meets all kinds
# of each outcome some, whatever cases are added
ASKED_AGAIN = [case for case in CASES if case["expect"] == "reask"]
REPAIRED = [case for case in CASES if case.get("fixes")]
WORDS = [case for case in CASES if case["expect"] == "none"]
PLAYS = list(plays([*ASKED_AGAIN[::37], *REPAIRED[::151], *WORDS[::61], *CASES[3::97]]))
REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
OLLAMA_REASONS = {"end_turn": "stop", "max_tokens": "length", "tool_use": "stop"}
_VERDICT = ": x-fortieth-verdict: "
_NUMBERED = re.compile("call_(?=[12])")
_ID = re.compile(r"(?:call|toolu)_[0-9a-f]{24}")
CHOICES = {"required": "any", "auto": "auto", "none": "none"}


@dataclass(frozen=True, slots=True)
class Both:
    client: httpx.Client
    upstream: ScriptedUpstream


@pytest.fixture(scope="module")
def both() -> Iterator[Both]:
    upstream = ScriptedUpstream(Model(PLAYS))
    with (
        serving(upstream, policy=GuardPolicy(drift=None)) as server,
        httpx.Client(base_url=server.base_url, timeout=60) as client,
    ):
        yield Both(client, upstream)


def chat_body(play: Play, stream: bool) -> dict[str, Any]:
    case = play.case
    body = {
        "model": "scripted",
        "max_tokens": 500,
        "messages": [{"role": "user", "content": play.key}],
        "tools": [{"type": "function", "function": tool} for tool in TOOLS[case["tools"]]],
        "stream": stream,
        "stream_options": {"include_usage": True},
    }
    return body | {key: case[key] for key in ("tool_choice", "parallel_tool_calls") if key in case}


def messages_body(play: Play, stream: bool) -> dict[str, Any]:
    case = play.case
    given = case.get("tool_choice", "auto")
    named = given["function"]["name"] if isinstance(given, dict) else ""
    choice = {"type": "tool", "name": named} if named else {"type": CHOICES[given]}
    return {
        "model": "scripted",
        "max_tokens": 500,
        "messages": [{"role": "user", "content": [{"type": "text", "text": play.key}]}],
        "tools": [_tool(tool) for tool in TOOLS[case["tools"]]],
        "tool_choice": choice | {"disable_parallel_tool_use": not case.get("parallel_tool_calls", True)},
        "thinking": {"type": "adaptive"},
        "stream": stream,
    }


def ollama_body(play: Play, stream: bool) -> dict[str, Any]:
    """It is the default that an answer is streamed."""
    body = chat_body(play, stream)
    del body["max_tokens"], body["stream_options"], body["stream"]
    return {**body, "options": {"num_predict": 500}, **({} if stream else {"stream": False})}


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    others = {name: value for name, value in tool.items() if name != "parameters"}
    return others | {"input_schema": tool["parameters"]}


def read_message(response: httpx.Response, stream: bool) -> Seen:
    """A response of the Messages dialect in the words of the other one."""
    assert response.status_code == 200
    if stream:
        told = events(response.text)
        blocks = blocks_of(told)
        end = next(data for name, data in told if name == "message_delta")
        reason, usage = end["delta"]["stop_reason"], end["usage"]
        comment = next(
            line for line in response.text.split("\n") if line.startswith(": x-fortieth-verdict: ")
        )
        verdict, *rest = comment.removeprefix(": x-fortieth-verdict: ").split("; ")
        counts = dict(one.split("=") for one in rest)
    else:
        body = response.json()
        blocks, reason, usage = body["content"], body["stop_reason"], body["usage"]
        names = ("attempts", "fixes", "give-up")
        counts = {name: response.headers.get(f"x-fortieth-{name}", "") for name in names}
        verdict = response.headers["x-fortieth-verdict"]
    content, told_behind = parted("".join(one.get("text", "") for one in blocks))
    return Seen(
        200,
        content,
        "".join(one.get("thinking", "") for one in blocks),
        tuple((one["name"], json.dumps(one["input"])) for one in blocks if one["type"] == "tool_use"),
        reason,
        verdict,
        int(counts["attempts"]),
        int(counts["fixes"]),
        {"prompt_tokens": usage["input_tokens"], "completion_tokens": usage["output_tokens"]},
        give_up=counts.get("give-up", ""),
        told=told_behind,
    )


def plain(seen: Seen) -> Seen:
    """What all dialects tell, with the reasons of Messages."""
    return replace(plain_values(seen), reason=REASONS.get(seen.reason, seen.reason))


def plain_values(seen: Seen) -> Seen:
    """Arguments as values, the sum of tokens left out."""
    calls = tuple((name, json.dumps(json.loads(text))) for name, text in seen.calls)
    usage = {name: seen.usage[name] for name in ("prompt_tokens", "completion_tokens")}
    return replace(seen, calls=calls, usage=usage)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_every_dialect_gives_the_same(both: Both, stream: bool) -> None:
    verdicts = set()
    for play in PLAYS:
        before = len(both.upstream.played)
        chat = both.client.post("/chat/completions", json=chat_body(play, stream))
        turns = len(both.upstream.played) - before
        messages = both.client.post("/messages", json=messages_body(play, stream), headers=VERSION)
        chatted = both.client.post("/api/chat", json=ollama_body(play, stream))
        expected = plain(read(chat, stream))
        assert plain(read_message(messages, stream)) == expected, play.key
        in_ollamas_words = replace(expected, reason=OLLAMA_REASONS[expected.reason])
        assert plain_values(ollama.read(chatted, stream)) == in_ollamas_words, play.key
        verdicts.add(expected.verdict)
        asked = [_ID.sub("id", repr(played.request)) for played in both.upstream.played[before:]]
        assert asked == asked[:turns] * 3, play.key
    assert verdicts == {"none", "clean", "repaired", "reasked", "failed"}


HISTORY_IN_CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Look."},
    {
        "role": "assistant",
        "reasoning_content": "So.",
        "content": "I look.",
        "tool_calls": [
            {"id": f"c{i}", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
            for i in (1, 2)
        ],
    },
    {"role": "tool", "tool_call_id": "c1", "content": "one"},
    {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "two"}]},
    {"role": "user", "content": "And?"},
]
HISTORY_IN_MESSAGES = [
    {"role": "user", "content": "Look."},
    {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": "So.", "signature": ""},
            {"type": "text", "text": "I look."},
            {"type": "tool_use", "id": "c1", "name": "f", "input": {"x": 1}},
            {"type": "tool_use", "id": "c2", "name": "f", "input": {"x": 1}},
        ],
    },
    {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": "c1", "content": "one"},
            {"type": "tool_result", "tool_use_id": "c2", "content": [{"type": "text", "text": "two"}]},
            {"type": "text", "text": "And?"},
        ],
    },
]
HISTORY_IN_OLLAMA = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Look."},
    {
        "role": "assistant",
        "thinking": "So.",
        "content": "I look.",
        "tool_calls": [{"function": {"name": "f", "arguments": {"x": 1}}} for _ in range(2)],
    },
    {"role": "tool", "content": "one"},
    {"role": "tool", "content": "two"},
    {"role": "user", "content": "And?"},
]


def test_a_history_is_one_conversation_in_every_dialect() -> None:
    """So that a session that changes its dialect keeps its prefix."""
    schema = {"type": "object", "properties": {"x": {"type": "integer"}}}
    chat = {
        "messages": HISTORY_IN_CHAT,
        "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": schema}}],
    }
    messages = {
        "system": [{"type": "text", "text": "Be brief."}],
        "messages": HISTORY_IN_MESSAGES,
        "tools": [{"name": "f", "description": "d", "input_schema": schema}],
        "thinking": {"type": "adaptive"},
    }
    one = OpenAIChat().decode(json.dumps(chat).encode()).request
    other = Anthropic().decode(json.dumps(messages).encode()).request
    assert one == other
    simple = OllamaChat().decode(
        json.dumps({**chat, "messages": HISTORY_IN_OLLAMA, "stream": False}).encode()
    )
    assert _NUMBERED.sub("c", repr(simple.request)) == repr(one)
