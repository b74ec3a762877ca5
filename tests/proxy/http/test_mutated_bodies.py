"""Bodies with random faults to each route that reads one: no 5xx, and only documented statuses and types.

A short slice, with a fixed seed, of what `make schemathesis` does with many more.
"""

from __future__ import annotations

import copy
import json
from random import Random
from typing import Any

import httpx
import pytest

from tests.proxy.conftest import Stage
from tests.proxy.requests import TOOLS

TURNS = [
    {"role": "system", "content": "Be short."},
    {"role": "user", "content": [{"type": "text", "text": "hi"}]},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {
                "id": "c1",
                "type": "function",
                "function": {"name": "get_weather", "arguments": '{"city": "A"}'},
            }
        ],
    },
    {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
]
SAMPLING = {"temperature": 0.5, "top_p": 0.9, "seed": 3, "stop": ["END"], "max_tokens": 20, "stream": True}
FORMAT = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}
CHAT: dict[str, Any] = {"messages": TURNS, "tools": TOOLS, "tool_choice": "auto", "n": 1, **SAMPLING}
BLOCKS = [
    {"role": "user", "content": [{"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}]},
    {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}}]},
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "ok"}]},
]
ITEMS = [
    {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]},
    {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "c1", "output": "ok"},
    {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
]
MESSAGES: dict[str, Any] = {
    "messages": BLOCKS,
    "system": [{"type": "text", "text": "Be short."}],
    "tools": [{"name": "f", "description": "", "input_schema": {"type": "object"}}],
    "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
    "thinking": {"type": "enabled", "budget_tokens": 100},
    "max_tokens": 20,
    "stream": True,
}
RESPONSE: dict[str, Any] = {
    "input": ITEMS,
    "instructions": "Be short.",
    "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}, {"type": "web_search"}],
    "text": {"format": {"type": "text"}},
    "reasoning": {"effort": "low"},
    "stream": True,
}
COMPLETION: dict[str, Any] = {"prompt": ["hi", "ho"], "suffix": "", "logprobs": 2, "echo": False, **SAMPLING}
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {**CHAT, "response_format": FORMAT},
    "/v1/chat/completions/input_tokens": CHAT,
    "/v1/messages": MESSAGES,
    "/v1/messages/count_tokens": MESSAGES,
    "/v1/responses": RESPONSE,
    "/v1/responses/input_tokens": RESPONSE,
    "/v1/completions": COMPLETION,
    "/v1/tokenize": {"prompt": "hi", "add_special_tokens": True, "return_token_strs": True},
    "/v1/detokenize": {"tokens": [1, 2, 3]},
    "/api/chat": {"messages": TURNS[:2], "tools": TOOLS, "options": {"temperature": 0.5, "stop": ["a"]}},
    "/api/generate": {"prompt": "hi", "system": "", "raw": False, "options": {"seed": 1, "num_predict": 5}},
    "/api/show": {"model": "default", "verbose": False},
    "/v1/fortieth/warm": CHAT,
}
ODD: tuple[Any, ...] = (
    *(None, True, "", "\x00", "\ud800", -1, 0, 2**63, 2**70, 1e308, 0.5, 5e-324, [], {}, [[]], [None], [{}]),
    *({"type": 5}, {"type": "unheard"}, {"role": None}, "a" * 5000, "auto", "required", [5, "a"], {"": ""}),
)
EACH = 18


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every container in a value with each key or index that it has."""
    keys = (
        list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    )
    return [place for key in keys for place in ((value, key), *places(value[key]))]


def mutated(body: dict[str, Any], drawn: Random) -> dict[str, Any]:
    """One to three faults: a value that is odd, gone, twice there, or another one of the body."""
    changed = copy.deepcopy(body)
    for _ in range(drawn.randint(1, 3)):
        found = places(changed)
        if not found:
            return changed
        container, key = drawn.choice(found)
        match drawn.randrange(5):
            case 0:
                del container[key]
            case 1:
                other, at = drawn.choice(found)
                container[key] = copy.deepcopy(other[at])
            case 2 if isinstance(container, list):
                container.append(copy.deepcopy(container[key]))
            case _:
                container[key] = drawn.choice(ODD)
    return changed


@pytest.fixture(scope="module")
def document(stage: Stage) -> dict[str, Any]:
    told: dict[str, Any] = httpx.get(stage.server.root + "/openapi.json").json()
    return told


def test_all_routes_with_a_body_are_here(document: dict[str, Any]) -> None:
    """Routes without /v1 are the same ones."""
    paths = {
        path.removeprefix("/v1")
        for path, item in document["paths"].items()
        if "requestBody" in item.get("post", {})
    }
    assert paths == {path.removeprefix("/v1") for path in BODIES}


@pytest.mark.parametrize("path", BODIES)
def test_a_mutated_body_has_a_documented_answer(path: str, stage: Stage, document: dict[str, Any]) -> None:
    drawn = Random(f"{path} 40")
    responses = document["paths"][path]["post"]["responses"]
    seen = set()
    with httpx.Client(base_url=stage.server.root, timeout=30) as client:
        for _ in range(EACH):
            body = json.dumps(mutated(BODIES[path], drawn))
            answer = client.post(path, content=body, headers={"content-type": "application/json"})
            seen.add(answer.status_code)
            assert answer.status_code < 500, (body, answer.text)
            media = answer.headers["content-type"].partition(";")[0]
            assert media in responses[str(answer.status_code)]["content"], (body, answer.status_code, media)
    assert len(seen) > 1, "all bodies fared alike"
