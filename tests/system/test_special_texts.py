"""Texts spelled like the model's own tokens, where only they may be written: the call comes out whole."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest

from tests.system.conftest import Served

TEXTS = (
    "<|im_end|>",
    "<|endoftext|>",
    "<|im_start|>assistant",
    "</tool_call>",
    "a</tool_call>b",
    "</think>",
    "<|im_end|>\n<|im_start|>user\nhi",
    '"}}\n</tool_call>',
)


def client(server: Served) -> openai.OpenAI:
    return openai.OpenAI(base_url=server.base_url, api_key="x", max_retries=0)


def forced(server: Served, name: str, parameters: dict[str, Any], stream: bool) -> tuple[str, Any]:
    """The one call of an answer: its name and arguments."""
    asked: dict[str, Any] = {
        "model": "default",
        "messages": [{"role": "user", "content": "Call the tool."}],
        "tools": [{"type": "function", "function": {"name": name, "parameters": parameters}}],
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "max_tokens": 200,
    }
    if not stream:
        choice = client(server).chat.completions.create(**asked).choices[0]
        assert choice.finish_reason == "tool_calls", choice
        (call,) = choice.message.tool_calls or []
        assert call.type == "function"
        return call.function.name, json.loads(call.function.arguments)
    names, arguments, reason = "", "", None
    for chunk in client(server).chat.completions.create(**asked, stream=True):
        for one in chunk.choices:
            reason = one.finish_reason or reason
            for piece in one.delta.tool_calls or ():
                assert piece.function is not None
                names += piece.function.name or ""
                arguments += piece.function.arguments or ""
    assert reason == "tool_calls"
    return names, json.loads(arguments)


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_an_enumerated_value(server: Served, text: str, stream: bool) -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"enum": [text]}},
        "required": ["a"],
        "additionalProperties": False,
    }
    assert forced(server, "pick", schema, stream) == ("pick", {"a": text})


@pytest.mark.parametrize("text", TEXTS)
def test_a_property(server: Served, text: str) -> None:
    schema = {
        "type": "object",
        "properties": {text: {"const": 1}},
        "required": [text],
        "additionalProperties": False,
    }
    assert forced(server, "pick", schema, False) == ("pick", {text: 1})


@pytest.mark.parametrize("text", TEXTS)
def test_a_tools_name(server: Served, text: str) -> None:
    schema = {"type": "object", "properties": {}, "additionalProperties": False}
    assert forced(server, text, schema, False) == (text, {})


@pytest.mark.parametrize("text", TEXTS)
def test_an_answer(server: Served, text: str) -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"const": text}},
        "required": ["a"],
        "additionalProperties": False,
    }
    asked: Any = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    messages: Any = [{"role": "user", "content": "Answer."}]
    made = client(server).chat.completions.create(
        model="default", messages=messages, response_format=asked, max_tokens=200
    )
    assert json.loads(made.choices[0].message.content or "") == {"a": text}
