"""Marks in a request, and for how long they ask its prefix to be kept."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.codecs.anthropic_request import decode_request
from proxy.codecs.openai_request import decode_request as decode_chat
from proxy.prompts.cache_hint import wanted_keep_s
from tests.proxy.codecs.messages import TOOL, message

HOUR: dict[str, Any] = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
MINUTES: dict[str, Any] = {"cache_control": {"type": "ephemeral", "ttl": "5m"}}
PLAIN: dict[str, Any] = {"cache_control": {"type": "ephemeral"}}
IMAGE = {"type": "image", "source": {"type": "url", "url": "http://x/y.png"}}


def said(**block: Any) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "text", "text": "hi", **block}]}


REQUESTS: dict[str, tuple[dict[str, Any], float]] = {
    "none": ({}, 0),
    "plain": ({"system": [{"type": "text", "text": "Be brief.", **PLAIN}]}, 0),
    "system": ({"system": [{"type": "text", "text": "Be brief.", **HOUR}]}, 3600),
    "tool": ({"tools": [TOOL | HOUR]}, 3600),
    "message": ({"messages": [said(**MINUTES)]}, 300),
    "image": ({"messages": [{"role": "user", "content": [IMAGE | HOUR]}]}, 3600),
    "longest": ({"tools": [TOOL | HOUR], "messages": [said(**MINUTES)]}, 3600),
    "result": (
        {
            "messages": [
                {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "f", "input": {}}]},
                {
                    "role": "user",
                    "content": [{"type": "tool_result", "tool_use_id": "c", "content": "x", **HOUR}],
                },
            ]
        },
        3600,
    ),
    "unknown_ttl": ({"messages": [said(cache_control={"type": "ephemeral", "ttl": "9y"})]}, 0),
    "odd_mark": ({"messages": [said(cache_control="yes")]}, 0),
    "odd_ttl": ({"messages": [said(cache_control={"ttl": ["1h"]})]}, 0),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_the_longest_time_that_a_mark_names(name: str) -> None:
    fields, seconds = REQUESTS[name]
    asked = decode_request(json.dumps(message(**fields)).encode()).request
    assert wanted_keep_s(asked) == seconds


def test_marks_of_chat_completions_count_too() -> None:
    asked = decode_chat(json.dumps({"model": "m", "messages": [said(**HOUR)]}).encode()).request
    assert wanted_keep_s(asked) == 3600
