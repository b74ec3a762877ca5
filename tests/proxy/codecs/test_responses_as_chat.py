"""One conversation means the same in both of OpenAI's APIs, and comes to the same end."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.codecs.openai_request import decode_request as decode_chat
from proxy.upstreams.base import UpstreamReasoning
from proxy.upstreams.scripted import Script
from tests.proxy.attempts import Ring, ask, parted
from tests.proxy.codecs.responses import FLAT_TOOLS, as_items, body, decode, post, turned
from tests.proxy.requests import BAD_TYPE_CALL, CALL, CUT_CALL, HOPELESS_CALL, SLOPPY_CALL, TOOLS, user


def called(name: str, arguments: str, id: str = "call_1") -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def answered(text: str, id: str = "call_1") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id, "content": text}


ASKED = [{"role": "system", "content": "Be brief."}, user("How is the weather?")]
LISBON_CALL = called("get_weather", '{"city": "Lisbon"}')
CONVERSATIONS: dict[str, list[dict[str, Any]]] = {
    "question": [user("hi")],
    "system": ASKED,
    "answered": [*ASKED, {"role": "assistant", "content": "Sunny."}, user("And tomorrow?")],
    "call": [*ASKED, {"role": "assistant", "content": "", "tool_calls": [LISBON_CALL]}, answered("sunny")],
    "text_and_call": [
        *ASKED,
        {"role": "assistant", "content": "I look.", "tool_calls": [LISBON_CALL]},
        answered("sunny"),
        {"role": "assistant", "content": "It is sunny."},
        user("Thanks"),
    ],
    "thought_and_calls": [
        *ASKED,
        {
            "role": "assistant",
            "reasoning_content": "Both at once.",
            "content": "I look.",
            "tool_calls": [LISBON_CALL, called("get_time", "{}", "call_2")],
        },
        answered("sunny"),
        answered("noon", "call_2"),
        {"role": "assistant", "reasoning_content": "Done.", "content": "Sunny at noon."},
        user("Thanks"),
    ],
    "poisoned": [
        *ASKED,
        {"role": "assistant", "content": "", "tool_calls": [called("nothing", '{"city": ')]},
        answered('{"error": "no such tool"}'),
    ],
    "developer_in_the_middle": [*ASKED, {"role": "developer", "content": "Now be long."}, user("Well?")],
    "two_users": [user("One"), user("Two")],
}
SETTINGS: dict[str, Any] = {
    "temperature": 0.5,
    "top_p": 0.9,
    "seed": 7,
    "parallel_tool_calls": False,
    "prompt_cache_key": "session-1",
    "timeout_s": 9,
}


@pytest.mark.parametrize("messages", CONVERSATIONS.values(), ids=CONVERSATIONS)
def test_a_conversation_is_read_alike(messages: list[dict[str, Any]]) -> None:
    sent = {"model": "scripted", "messages": messages, "tools": TOOLS, "max_tokens": 50, **SETTINGS}
    chat = decode_chat(json.dumps(sent).encode()).request
    own = decode(as_items(messages), tools=FLAT_TOOLS, max_output_tokens=50, **SETTINGS)
    assert own == chat


@pytest.mark.parametrize(
    ("choice", "chat_choice"),
    [
        ("none", "none"),
        ("required", "required"),
        (
            {"type": "function", "name": "get_time"},
            {"type": "function", "function": {"name": "get_time"}},
        ),
        (
            {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "get_time"}]},
            {
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "auto",
                    "tools": [{"type": "function", "function": {"name": "get_time"}}],
                },
            },
        ),
    ],
    ids=["none", "required", "named", "allowed"],
)
def test_a_choice_is_read_alike(choice: Any, chat_choice: Any) -> None:
    sent = {"model": "scripted", "messages": [user("hi")], "tools": TOOLS, "tool_choice": chat_choice}
    assert decode(tools=FLAT_TOOLS, tool_choice=choice) == decode_chat(json.dumps(sent).encode()).request


def test_a_schema_is_read_alike() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    sent = {
        "model": "scripted",
        "messages": [user("hi")],
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}},
    }
    own = decode(text={"format": {"type": "json_schema", "name": "n", "schema": schema}})
    assert own == decode_chat(json.dumps(sent).encode()).request


# what the model says at each attempt
TURNS: dict[str, tuple[Script, ...]] = {
    "text": (Script(("It ", "rains.")),),
    "empty": (Script(()),),
    "thought": (Script((UpstreamReasoning("So."), "It rains.")),),
    "clean": (Script(("I look.\n", CALL)),),
    "repaired": (Script((UpstreamReasoning("So."), SLOPPY_CALL[:30], SLOPPY_CALL[30:])),),
    "two": (Script((CALL, "\n", SLOPPY_CALL.replace("Lisbon", "Porto"))),),
    "reasked": (Script((HOPELESS_CALL,)), Script((CALL,))),
    "wrong_type": (Script((BAD_TYPE_CALL,)), Script((SLOPPY_CALL,))),
    "cut": (Script((CUT_CALL,), finish="length"), Script((CALL,))),
    "given_up": (Script((HOPELESS_CALL,)),),
    "length": (Script(("It rai",), finish="length"),),
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("scripts", TURNS.values(), ids=TURNS)
@pytest.mark.parametrize("give_up", ["text", "client"])
def test_a_turn_ends_alike(full: Ring, scripts: tuple[Script, ...], stream: bool, give_up: str) -> None:
    key = f"alike {scripts} {stream} {give_up}"
    headers = {"x-fortieth-give-up": give_up}
    full.attempts.plan(key, *scripts)
    chat = ask(full.server, key, stream, headers)
    full.attempts.plan(key, *scripts)
    sent = body(key, tools=FLAT_TOOLS, stream=stream)
    own = turned(post(full.server, sent, headers), stream)
    assert own.calls == chat.calls
    assert (*parted(own.text), own.reasoning) == (chat.content, chat.told, chat.reasoning)
    assert own.guard == (chat.verdict, str(chat.fixes), str(chat.attempts))
    assert own.status == ("incomplete" if chat.reason == "length" else "completed")
    assert own.usage == {
        "input_tokens": chat.usage["prompt_tokens"],
        "output_tokens": chat.usage["completion_tokens"],
    }


def test_the_turns_differ(full: Ring) -> None:
    """Else the test above could not see a dialect that guards nothing."""
    verdicts = set()
    for name, scripts in TURNS.items():
        full.attempts.plan(name, *scripts)
        sent = body(name, tools=FLAT_TOOLS)
        verdicts.add(turned(post(full.server, sent, {"x-fortieth-give-up": "text"}), False).guard[0])
    assert verdicts == {"none", "clean", "repaired", "reasked", "failed"}
