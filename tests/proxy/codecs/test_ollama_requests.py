"""What requests of Ollama's API become: the same as in Chat Completions, where that has words for it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from proxy.codecs.ollama_request import decode_chat, decode_name, decode_prompt
from proxy.codecs.openai_request import decode_request
from proxy.conversation.message import MediaPart, TextPart
from proxy.conversation.request import ChatRequest, RawPrompt, Sampling
from tests.proxy.codecs.ollama import chat, prompt
from tests.proxy.requests import TOOLS, user

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def decoded(body: dict[str, Any]) -> ChatRequest:
    return decode_chat(json.dumps(body).encode()).request


def in_chat(messages: list[dict[str, Any]], **fields: Any) -> ChatRequest:
    body = {"model": "scripted", "messages": messages, "stream": True, **fields}
    return decode_request(json.dumps(body).encode()).request


def call(name: str, arguments: Any, **fields: Any) -> dict[str, Any]:
    return {"function": {"name": name, "arguments": arguments}, **fields}


def called(id: str, name: str, arguments: Any) -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}


def result(id: str, name: str, content: str) -> dict[str, Any]:
    named = {"name": name} if name else {}
    return {"role": "tool", "tool_call_id": id, "content": content, **named}


# id -> the messages, and what they are in Chat Completions
CONVERSATIONS: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {
    "question": ([user("hi")], [user("hi")]),
    "system": (
        [{"role": "system", "content": "Be brief."}, user("hi")],
        [{"role": "system", "content": "Be brief."}, user("hi")],
    ),
    "thinking": (
        [user("hi"), {"role": "assistant", "thinking": "So.", "content": "Hello."}, user("And?")],
        [user("hi"), {"role": "assistant", "reasoning_content": "So.", "content": "Hello."}, user("And?")],
    ),
    "results in order": (
        [
            user("hi"),
            {"role": "assistant", "content": "", "tool_calls": [call("f", {"x": 1}), call("f", {"x": 2})]},
            {"role": "tool", "content": "one"},
            {"role": "tool", "tool_name": "f", "content": "two"},
        ],
        [
            user("hi"),
            {
                "role": "assistant",
                "tool_calls": [called("call_1", "f", {"x": 1}), called("call_2", "f", {"x": 2})],
            },
            result("call_1", "", "one"),
            result("call_2", "f", "two"),
        ],
    ),
    "results by name": (
        [
            user("hi"),
            {"role": "assistant", "tool_calls": [call("f", {}), call("g", {})]},
            {"role": "tool", "tool_name": "g", "content": "of g"},
            {"role": "tool", "name": "f", "content": "of f"},
            {"role": "assistant", "tool_calls": [call("f", {})]},
            {"role": "tool", "content": "again"},
        ],
        [
            user("hi"),
            {"role": "assistant", "tool_calls": [called("call_1", "f", {}), called("call_2", "g", {})]},
            result("call_2", "g", "of g"),
            result("call_1", "f", "of f"),
            {"role": "assistant", "tool_calls": [called("call_3", "f", {})]},
            result("call_3", "", "again"),
        ],
    ),
    "ids that were kept": (
        [
            user("hi"),
            {"role": "assistant", "tool_calls": [call("f", {}, id="call_a"), call("f", {}, id="call_b")]},
            {"role": "tool", "tool_call_id": "call_b", "content": "of b"},
            {"role": "tool", "tool_name": "f", "content": "of a"},
        ],
        [
            user("hi"),
            {"role": "assistant", "tool_calls": [called("call_a", "f", {}), called("call_b", "f", {})]},
            result("call_b", "", "of b"),
            result("call_a", "f", "of a"),
        ],
    ),
    "more results than calls": (
        [
            user("hi"),
            {"role": "assistant", "tool_calls": [call("f", {})]},
            {"role": "tool", "content": "one"},
            {"role": "tool", "tool_name": "g", "content": "two"},
        ],
        [
            user("hi"),
            {"role": "assistant", "tool_calls": [called("call_1", "f", {})]},
            result("call_1", "", "one"),
            result("", "g", "two"),
        ],
    ),
    "a poisoned history": (
        [
            user("hi"),
            {"role": "assistant", "content": None, "tool_calls": [call("f", '{"x": '), call("", None)]},
            {"role": "tool", "content": {"error": "no such tool"}},
            {"role": "assistant", "content": ""},
        ],
        [
            user("hi"),
            {
                "role": "assistant",
                "tool_calls": [
                    {"id": "call_1", "function": {"name": "f", "arguments": '{"x": '}},
                    {"id": "call_2", "function": {"name": "", "arguments": "{}"}},
                ],
            },
            result("call_1", "", '{"error": "no such tool"}'),
            {"role": "assistant", "content": ""},
        ],
    ),
    "pictures": (
        [{"role": "user", "content": "What is it?", "images": [PNG, "/9j/4AAQ", "data:image/gif;base64,R0"]}],
        [
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
                    {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,/9j/4AAQ"}},
                    {"type": "image_url", "image_url": {"url": "data:image/gif;base64,R0"}},
                    {"type": "text", "text": "What is it?"},
                ],
            }
        ],
    ),
}


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_a_conversation_is_what_it_is_in_chat_completions(name: str) -> None:
    messages, expected = CONVERSATIONS[name]
    assert decoded({"model": "scripted", "messages": messages, "tools": TOOLS}) == in_chat(
        expected, tools=TOOLS
    )


# id -> the fields, and what they are in Chat Completions
SETTINGS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "nothing": ({}, {}),
    "whole": ({"stream": False}, {"stream": False}),
    "stream of null": ({"stream": None}, {}),
    "sampling": (
        {
            "options": {
                "num_predict": 100,
                "temperature": 0.8,
                "top_k": 20,
                "top_p": 0.9,
                "min_p": 0.1,
                "seed": 42,
                "stop": ["\n", "user:"],
                "repeat_penalty": 1.2,
                "presence_penalty": 1.5,
                "frequency_penalty": 1,
            }
        },
        {
            "max_tokens": 100,
            "temperature": 0.8,
            "top_k": 20,
            "top_p": 0.9,
            "min_p": 0.1,
            "seed": 42,
            "stop": ["\n", "user:"],
            "repetition_penalty": 1.2,
            "presence_penalty": 1.5,
            "frequency_penalty": 1,
        },
    ),
    "nothing by its numbers": (
        {
            "options": {"num_predict": -1, "seed": -1, "repeat_penalty": 0, "stop": []},
            "format": "",
            "think": "",
        },
        {},
    ),
    "all of the context": ({"options": {"num_predict": -2}}, {}),
    "one stop": ({"options": {"stop": "END"}}, {"stop": "END"}),
    "any of the tokens": ({"options": {"top_k": 0}}, {"top_k": 0}),
    "what loads a model": (
        {
            "keep_alive": "5m",
            "options": {
                "num_ctx": 8192,
                "num_gpu": 1,
                "num_thread": 8,
                "use_mmap": True,
                "mirostat": 1,
                "numa": False,
            },
        },
        {},
    ),
    "JSON": ({"format": "json"}, {"response_format": {"type": "json_object"}}),
    "schema": (
        {"format": SCHEMA},
        {"response_format": {"type": "json_schema", "json_schema": {"schema": SCHEMA}}},
    ),
    "thinking": ({"think": True}, {"enable_thinking": True}),
    "no thinking": ({"think": False}, {"enable_thinking": False, "include_reasoning": False}),
    "some thinking": ({"think": "high"}, {"reasoning_effort": "high"}),
    "scores": ({"logprobs": True, "top_logprobs": 3}, {"logprobs": True, "top_logprobs": 3}),
    "no scores": ({"logprobs": False, "top_logprobs": 3}, {}),
    "tools": ({"tools": TOOLS}, {"tools": TOOLS}),
    "a choice": (
        {"tools": TOOLS, "tool_choice": "required", "parallel_tool_calls": False},
        {"tools": TOOLS, "tool_choice": "required", "parallel_tool_calls": False},
    ),
    "unknown": ({"shift": True, "truncate": True, "anything": {}}, {}),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_is_what_it_is_in_chat_completions(name: str) -> None:
    fields, expected = SETTINGS[name]
    same = replace(in_chat([user("hi")], **expected), further={})  # what was sent goes on by its own name
    assert replace(decoded(chat("hi", **fields)), further={}) == same
    asked = decode_prompt(json.dumps(prompt("hi", **fields)).encode()).request
    assert replace(asked, further={}) == same


def test_a_prompt_is_a_conversation_of_one_message() -> None:
    body = prompt("What is it?", system="Be brief.", images=[PNG])
    system, asked = decode_prompt(json.dumps(body).encode()).request.messages
    assert (system.role, system.text) == ("system", "Be brief.")
    picture, text = asked.parts
    assert isinstance(picture, MediaPart)
    assert picture.part["image_url"]["url"] == f"data:image/png;base64,{PNG}"
    assert text == TextPart("What is it?")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"raw": True}, RawPrompt("<|im_start|>user")),
        ({"suffix": "return x"}, RawPrompt("<|im_start|>user", "return x")),
        ({"raw": True, "prompt": "", "suffix": "return x"}, RawPrompt("", "return x")),
    ],
)
def test_a_prompt_is_gone_on_from_as_it_stands(fields: dict[str, Any], expected: RawPrompt) -> None:
    body = prompt(**{"prompt": "<|im_start|>user", "options": {"num_predict": 9}, "tools": TOOLS, **fields})
    request = decode_prompt(json.dumps(body).encode()).request
    assert (request.prompts, request.messages, request.tools, request.n) == ((expected,), (), (), 1)
    assert request.sampling.max_tokens == 9


def test_what_is_left_out_of_a_prompt_is_told() -> None:
    request = decode_prompt(json.dumps(prompt(template="{{ .Prompt }}", context=[1, 2])).encode()).request
    assert [warning.split()[0] for warning in request.warnings] == ["template", "context"]
    assert replace(request, warnings=()) == in_chat([user("hi")])


@pytest.mark.parametrize("key", ["model", "name"])
def test_a_model_has_two_fields_for_its_name(key: str) -> None:
    body = json.dumps({key: "some/model:7b", "messages": [user("hi")], "prompt": "hi"}).encode()
    for decode in (decode_chat, decode_prompt, decode_name):
        asked = decode(body)
        assert asked.request.model == asked.shape.name == "some/model:7b"


def test_without_anything_to_answer_no_answer_is_asked_for() -> None:
    chats: list[dict[str, Any]] = [{"messages": []}, {"messages": None}, {}, {"keep_alive": 0}]
    prompts: list[dict[str, Any]] = [{"prompt": ""}, {"raw": True}, {"system": "Be brief."}, {}]
    for decode, bodies in ((decode_chat, chats), (decode_prompt, prompts), (decode_name, [{}])):
        for body in bodies:
            request = decode(json.dumps({"model": "scripted", **body}).encode()).request
            assert (request.n, request.messages) == (0, ())
    assert (decoded(chat()).n, decoded(chat()).sampling) == (1, Sampling())
