"""Custom tools of Chat Completions: the client gets free text in place of arguments."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.codecs.openai_request import decode_request
from proxy.conversation.request import ChatRequest, ToolMode
from proxy.upstreams.scripted import Script
from tests.proxy.attempts import Ring
from tests.proxy.conftest import Stage
from tests.proxy.requests import CALL, TOOLS, body, user

PATCH = '*** Begin Patch\n+ "a"\n*** End Patch'
TOOL: Any = {"type": "custom", "custom": {"name": "patch", "description": "Patches files."}}
DIAL: Any = {
    "type": "custom",
    "custom": {
        "name": "dial",
        "format": {"type": "grammar", "grammar": {"syntax": "regex", "definition": "[0-9]{3}"}},
    },
}


def written(name: str, text: str) -> str:
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': {'input': text}})}\n</tool_call>"


def decode(**fields: Any) -> ChatRequest:
    return decode_request(json.dumps(body(**fields)).encode()).request


def test_the_model_is_shown_a_function_of_one_string() -> None:
    (tool,) = decode(tools=[TOOL]).tools
    assert (tool.name, tool.description, tool.free) == ("patch", "Patches files.", True)
    assert tool.parameters["required"] == ["input"]
    flat = {"type": "custom", "name": "patch", "description": "Patches files."}
    assert decode(tools=[flat]).tools == (tool,)


def test_the_call_comes_as_text(stage: Stage) -> None:
    stage.playbook.scripts["custom"] = Script((written("patch", PATCH), "\n", CALL))
    answer = stage.server.client().chat.completions.create(
        model="scripted", messages=[user("custom")], tools=[TOOL, *TOOLS]
    )
    calls: Any = answer.choices[0].message.tool_calls
    first, second = calls
    assert first.type == "custom"
    assert (first.custom.name, first.custom.input) == ("patch", PATCH)
    assert second.type == "function"
    assert json.loads(second.function.arguments) == {"city": "Lisbon"}


def test_it_streams_as_text(stage: Stage) -> None:
    """In the form that OpenAI's own servers send, which its schema does not have:
    https://github.com/openai/openai-openapi/issues/576.
    """
    stage.playbook.scripts["custom"] = Script((written("patch", PATCH),))
    stream = stage.server.client().chat.completions.create(
        model="scripted", messages=[user("custom")], tools=[TOOL], stream=True
    )
    deltas = [call.to_dict() for chunk in stream for call in chunk.choices[0].delta.tool_calls or ()]
    opening, rest = deltas
    assert (opening["index"], opening["type"]) == (0, "custom")
    assert opening["custom"] == {"name": "patch", "input": ""}
    assert rest == {"index": 0, "custom": {"input": PATCH}}


@pytest.mark.parametrize(
    "choice",
    [
        {"type": "custom", "custom": {"name": "patch"}},
        {"type": "custom", "name": "patch"},
    ],
)
def test_it_can_be_chosen(choice: Any) -> None:
    chosen = decode(tools=[TOOL, *TOOLS], tool_choice=choice).tool_choice
    assert (chosen.mode, chosen.name) == (ToolMode.named, "patch")


def test_it_can_be_allowed() -> None:
    allowed = {"mode": "auto", "tools": [{"type": "custom", "custom": {"name": "patch"}}]}
    tools = decode(
        tools=[TOOL, *TOOLS], tool_choice={"type": "allowed_tools", "allowed_tools": allowed}
    ).tools
    assert [tool.name for tool in tools] == ["patch"]


@pytest.mark.parametrize(
    ("tool", "param"),
    [
        ({"type": "custom", "custom": {}}, "tools[0].custom.name"),
        ({"type": "custom"}, "tools[0].name"),
        ({"type": "custom", "custom": "patch"}, "tools[0].custom"),
        (
            {
                "type": "custom",
                "custom": {"name": "x", "format": {"syntax": "lark", "definition": "start: ("}},
            },
            "tools[0].custom.format.definition",
        ),
    ],
)
def test_a_declaration_that_cannot_be_read_is_named(stage: Stage, tool: Any, param: str) -> None:
    response = stage.server.post(body("x", tools=[tool]))
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)


def test_its_grammar_is_held(full: Ring) -> None:
    key = full.attempts.plan("dial", written("dial", "12"), written("dial", "112"))
    answer = full.server.post(body(key, tools=[DIAL]))
    (call,) = answer.json()["choices"][0]["message"]["tool_calls"]
    assert (call["type"], call["custom"]) == ("custom", {"name": "dial", "input": "112"})
    assert answer.headers["x-fortieth-verdict"] == "reasked"


@pytest.mark.parametrize("emitted", [written("dial", "12"), written("dial", "112")[:-20]])
def test_what_could_not_be_saved_is_never_handed_over_as_text_to_execute(full: Ring, emitted: str) -> None:
    key = full.attempts.plan(f"never {emitted}", emitted)
    answer = full.server.post(body(key, tools=[DIAL]), headers={"x-fortieth-give-up": "client"})
    assert answer.headers["x-fortieth-verdict"] == "failed"
    assert "tool_calls" not in answer.json()["choices"][0]["message"]


def test_the_history_of_one_is_read() -> None:
    history = [
        user("go"),
        {
            "role": "assistant",
            "tool_calls": [{"id": "c1", **TOOL, "custom": {"name": "patch", "input": PATCH}}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "done"},
    ]
    messages = decode(messages=history, tools=[TOOL]).messages
    assert messages[1].calls[0].arguments == json.dumps({"input": PATCH})
    assert messages[2].text == "done"
