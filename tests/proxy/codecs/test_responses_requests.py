"""What agents put into a Responses request is understood, kept or left out, and never ends their run."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from proxy.codecs.openai_responses_items import seal, unseal
from proxy.conversation.message import (
    MediaPart,
    Message,
    PastCall,
    ReasoningPart,
    ResultPart,
    Role,
    TextPart,
    UnknownPart,
)
from proxy.conversation.request import ToolMode
from proxy.upstreams.base import UpstreamReasoning
from proxy.upstreams.scripted import Script
from tests.proxy.codecs.responses import FLAT_TOOLS, WEATHER_CALL, body, decode, events, post
from tests.proxy.conftest import Stage

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
SEARCH = {"type": "function", "name": "search", "parameters": CITY}
GROUPS: Any = [
    SEARCH,
    {"type": "namespace", "name": "maps", "description": "Maps", "tools": [SEARCH]},
    {"type": "namespace", "name": "mcp__web__", "tools": [SEARCH]},
    {"type": "namespace", "name": "functions", "tools": [{**SEARCH, "name": "look"}]},
]
PATCH: Any = {"type": "custom", "name": "patch", "description": "Patches files."}
LARK = {"type": "grammar", "syntax": "lark", "definition": 'start: "+" /.+/'}
REGEX = {"type": "grammar", "syntax": "regex", "definition": "[0-9]+"}


def text_of(role: str, text: str, kind: str = "input_text") -> dict[str, Any]:
    return {"type": "message", "role": role, "content": [{"type": kind, "text": text}]}


def part(**fields: Any) -> list[Any]:
    return [{"type": "message", "role": "user", "content": [fields]}]


def result(output: Any, kind: str = "function_call_output") -> list[Any]:
    return [{"type": kind, "call_id": "call_1", "output": output}]


USER = Message(Role.user, (TextPart("hi"),))
IMAGE = {"type": "image_url", "image_url": {"url": "data:x", "detail": "low"}}
CALL_PART = PastCall("call_1", "get_weather", '{"city": "Lisbon"}')

# id -> (items, the messages that they are)
ITEMS: dict[str, tuple[Any, tuple[Message, ...]]] = {
    "string": ("hi", (USER,)),
    "easy_message": ([{"role": "user", "content": "hi"}], (USER,)),
    "easy_assistant": (
        [{"role": "assistant", "content": "hi"}],
        (Message(Role.assistant, (TextPart("hi"),)),),
    ),
    "developer": (
        [text_of("developer", "hi")],
        (Message(Role.system, (TextPart("hi"),), "developer"),),
    ),
    "unknown_role": ([text_of("critic", "hi")], (USER,)),
    "refusal": (
        [{"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}],
        (Message(Role.assistant, (TextPart("No.", refusal=True),)),),
    ),
    "annotated": (
        [
            {
                "type": "message",
                "id": "msg_1",
                "status": "completed",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "hi", "annotations": [], "logprobs": []}],
            }
        ],
        (Message(Role.assistant, (TextPart("hi"),)),),
    ),
    "null_content": ([{"role": "user", "content": None}], (Message(Role.user),)),
    "image": (
        part(type="input_image", image_url="data:x", detail="low"),
        (Message(Role.user, (MediaPart("image_url", IMAGE),)),),
    ),
    "image_by_id": (
        part(type="input_image", file_id="file_1"),
        (Message(Role.user, (UnknownPart("input_image"),)),),
    ),
    "file": (
        part(type="input_file", filename="a.pdf", file_data="data:y"),
        (
            Message(
                Role.user,
                (MediaPart("file", {"type": "file", "file": {"file_data": "data:y", "filename": "a.pdf"}}),),
            ),
        ),
    ),
    "unknown_part": (part(type="hologram", data="x"), (Message(Role.user, (UnknownPart("hologram"),)),)),
    "unknown_part_with_text": (part(type="hologram", text="hi"), (USER,)),
    "turn": (
        [
            {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "So."}]},
            text_of("assistant", "I look.", "output_text"),
            WEATHER_CALL,
            {**WEATHER_CALL, "call_id": "call_2"},
            *result("sunny"),
        ],
        (
            Message(
                Role.assistant,
                (
                    ReasoningPart("So."),
                    TextPart("I look."),
                    CALL_PART,
                    PastCall("call_2", "get_weather", '{"city": "Lisbon"}'),
                ),
            ),
            Message(Role.tool, (ResultPart("call_1", "", (TextPart("sunny"),)),)),
        ),
    ),
    "two_texts": (
        [text_of("assistant", "One."), text_of("assistant", "Two.")],
        (Message(Role.assistant, (TextPart("One."),)), Message(Role.assistant, (TextPart("Two."),))),
    ),
    "text_behind_a_call": (
        [WEATHER_CALL, text_of("assistant", "Wait.")],
        (Message(Role.assistant, (CALL_PART, TextPart("Wait."))),),
    ),
    "two_turns": (
        [
            WEATHER_CALL,
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "So."}]},
            WEATHER_CALL,
        ],
        (Message(Role.assistant, (CALL_PART,)), Message(Role.assistant, (ReasoningPart("So."), CALL_PART))),
    ),
    "sealed_reasoning": (
        [{"type": "reasoning", "summary": [], "encrypted_content": seal("Só.")}],
        (Message(Role.assistant, (ReasoningPart("Só."),)),),
    ),
    "foreign_reasoning": (
        [
            {"type": "reasoning", "summary": [], "encrypted_content": "gAAAA"},
            {"role": "user", "content": "hi"},
        ],
        (USER,),
    ),
    "result_parts": (
        result(
            [
                {"type": "input_text", "text": "a"},
                {"type": "input_image", "image_url": "data:x", "detail": "low"},
            ]
        ),
        (Message(Role.tool, (ResultPart("call_1", "", (TextPart("a"), MediaPart("image_url", IMAGE))),)),),
    ),
    "result_object": (
        result({"error": "no"}),
        (Message(Role.tool, (ResultPart("call_1", "", (TextPart('{"error": "no"}'),)),)),),
    ),
    "result_null": (result(None), (Message(Role.tool, (ResultPart("call_1", "", ()),)),)),
    "custom_result": (
        result("done", "custom_tool_call_output"),
        (Message(Role.tool, (ResultPart("call_1", "", (TextPart("done"),)),)),),
    ),
    "custom_call": (
        [{"type": "custom_tool_call", "call_id": "call_1", "name": "patch", "input": '+ "a"\n'}],
        (Message(Role.assistant, (PastCall("call_1", "patch", '{"input": "+ \\"a\\"\\n"}'),)),),
    ),
    "call_of_a_group": (
        [{**WEATHER_CALL, "namespace": "maps"}],
        (Message(Role.assistant, (PastCall("call_1", "maps__get_weather", '{"city": "Lisbon"}'),)),),
    ),
    "broken_arguments": (
        [{**WEATHER_CALL, "arguments": '{"city": '}],
        (Message(Role.assistant, (PastCall("call_1", "get_weather", '{"city": '),)),),
    ),
    "object_arguments": (
        [{**WEATHER_CALL, "arguments": {"city": "Lisbon"}}],
        (Message(Role.assistant, (CALL_PART,)),),
    ),
    "agent_message": (
        [{"type": "agent_message", "author": "b", "content": [{"type": "input_text", "text": "hi"}]}],
        (USER,),
    ),
    "hosted_call": (
        [{"type": "web_search_call", "id": "ws_1", "status": "completed"}, {"role": "user", "content": "hi"}],
        (USER,),
    ),
    "compaction": (
        [{"type": "compaction", "encrypted_content": "gAAAA"}, {"role": "user", "content": "hi"}],
        (USER,),
    ),
    "unknown": ([{"type": "telepathy", "what": 7}, {"role": "user", "content": "hi"}], (USER,)),
    "lost_reference": (
        [{"type": "item_reference", "id": "msg_x"}, {"role": "user", "content": "hi"}],
        (USER,),
    ),
    "bare_reference": ([{"id": "msg_x"}, {"role": "user", "content": "hi"}], (USER,)),
}


@pytest.mark.parametrize(("items", "messages"), ITEMS.values(), ids=ITEMS)
def test_items_are_messages(items: Any, messages: tuple[Message, ...]) -> None:
    assert decode(items).messages == messages


@pytest.mark.parametrize(
    ("items", "level"),
    [("hosted_call", "INFO"), ("unknown", "INFO"), ("agent_message", "INFO"), ("lost_reference", "WARNING")],
)
def test_what_is_left_out_is_logged(items: str, level: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        decode(ITEMS[items][0])
    assert [record.levelname for record in caplog.records] == [level]
    assert "input[0]" in caplog.text


def test_instructions_come_first() -> None:
    assert decode("hi", instructions="Be brief.").messages == (Message.of(Role.system, "Be brief."), USER)


def test_a_seal_is_opened_by_who_made_it() -> None:
    assert unseal(seal("a\n😀")) == "a\n😀"
    assert unseal("gAAAA") is None
    assert unseal(seal("abc") + "!") is None


def test_groups_are_flat_for_the_model() -> None:
    assert [tool.name for tool in decode(tools=GROUPS).tools] == [
        "search",
        "maps__search",
        "mcp__web__search",
        "look",
    ]


def test_two_tools_of_one_flat_name_stay_two() -> None:
    tools = [{**SEARCH, "name": "maps__search"}, GROUPS[1]]
    assert [tool.name for tool in decode(tools=tools).tools] == ["maps__search", "maps__search_2"]
    asked = decode([{**WEATHER_CALL, "namespace": "maps", "name": "search"}], tools=tools)
    assert asked.messages[0].calls[0].name == "maps__search_2"


def test_hosted_tools_are_left_out_with_a_reason(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        asked = decode(
            tools=[{"type": "web_search"}, *FLAT_TOOLS, {"type": "code_interpreter", "container": {}}]
        )
    assert [tool.name for tool in asked.tools] == ["get_weather", "get_time"]
    assert "tools[0]: a tool of type 'web_search' runs at its provider only and is left out" in caplog.text
    assert asked.warnings == (
        "tools of type web_search are not served here: left out",
        "tools of type code_interpreter are not served here: left out",
    )


def test_a_custom_tool_takes_one_string() -> None:
    (tool,) = decode(tools=[PATCH]).tools
    text = tool.parameters["properties"]["input"]
    assert (tool.name, tool.description, tool.strict) == ("patch", "Patches files.", False)
    assert (text["type"], tool.parameters["required"]) == ("string", ["input"])


def test_the_grammar_of_a_custom_tool() -> None:
    regex, lark = decode(tools=[{**PATCH, "format": REGEX}, {**PATCH, "name": "other", "format": LARK}]).tools
    assert regex.strict
    assert regex.parameters["properties"]["input"]["pattern"] == "^(?:[0-9]+)$"
    assert lark.strict
    assert [tool.texts["input"].refusal("12") == "" for tool in (regex, lark)] == [True, False]
    assert [tool.texts["input"].refusal("+x") == "" for tool in (regex, lark)] == [False, True]
    assert lark.parameters["properties"]["input"]["description"].endswith('lark grammar:\nstart: "+" /.+/')


def test_an_item_may_declare_tools() -> None:
    items = [{"type": "additional_tools", "tools": [GROUPS[1], PATCH]}, {"role": "user", "content": "hi"}]
    asked = decode(items, tools=FLAT_TOOLS)
    assert [tool.name for tool in asked.tools] == ["get_weather", "get_time", "maps__search", "patch"]
    assert asked.messages == (USER,)


CHOICES: list[tuple[Any, ToolMode, str]] = [
    (None, ToolMode.auto, ""),
    ("auto", ToolMode.auto, ""),
    ("none", ToolMode.none, ""),
    ("required", ToolMode.required, ""),
    ({"type": "function", "name": "look"}, ToolMode.named, "look"),
    ({"type": "function", "name": "search", "namespace": "maps"}, ToolMode.named, "maps__search"),
    ({"type": "custom", "name": "patch"}, ToolMode.named, "patch"),
    ({"type": "web_search"}, ToolMode.auto, ""),
]


@pytest.mark.parametrize(("choice", "mode", "name"), CHOICES, ids=str)
def test_tool_choice(choice: Any, mode: ToolMode, name: str) -> None:
    found = decode(tools=[*GROUPS, PATCH], tool_choice=choice).tool_choice
    assert (found.mode, found.name) == (mode, name)


def test_allowed_tools_may_stand_in_groups() -> None:
    allowed = [
        {"type": "function", "name": "search", "namespace": "maps"},
        {"type": "custom", "name": "patch"},
        {"type": "web_search"},
    ]
    asked = decode(
        tools=[*GROUPS, PATCH], tool_choice={"type": "allowed_tools", "mode": "required", "tools": allowed}
    )
    assert [tool.name for tool in asked.tools] == ["maps__search", "patch"]
    assert asked.tool_choice.mode is ToolMode.required


NULLS = (
    "instructions tools tool_choice text reasoning include metadata store previous_response_id "
    "max_output_tokens temperature conversation prompt"
)
UNKNOWN: dict[str, Any] = {
    "codex": {
        "client_metadata": {"x-codex-installation-id": "1"},
        "include": ["reasoning.encrypted_content"],
        "reasoning": {"effort": "medium", "summary": "auto"},
        "parallel_tool_calls": True,
        "prompt_cache_key": "k",
        "store": False,
        "text": {"verbosity": "low"},
        "tool_choice": "auto",
        "tools": [*FLAT_TOOLS, {"type": "tool_search", "execution": "client"}],
    },
    "all": {
        "background": True,
        "include": ["file_search_call.results", 5],
        "max_tool_calls": 5,
        "moderation": {"model": "m"},
        "prompt_cache_retention": "24h",
        "safety_identifier": "s",
        "service_tier": "flex",
        "stream_options": {"include_obfuscation": True},
        "truncation": "auto",
        "nonsense": [{}],
    },
    "nulls": dict.fromkeys(NULLS.split()),
    "text_format": {"text": {"format": {"type": "grammar"}}},
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("fields", UNKNOWN.values(), ids=UNKNOWN)
def test_what_agents_add_is_accepted(stage: Stage, fields: dict[str, Any], stream: bool) -> None:
    response = post(stage.server, body(**fields, stream=stream))
    last = events(response)[-1]["response"] if stream else response.json()
    assert last["status"] == "completed", last
    assert last["output"][0]["content"][0]["text"] == "Hello there."


def called(name: str, arguments: Any) -> Script:
    return Script((f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>",))


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(
    ("flat", "name", "namespace"),
    [
        ("search", "search", None),
        ("maps__search", "search", "maps"),
        ("mcp__web__search", "search", "mcp__web__"),
        ("look", "look", None),
    ],
)
def test_a_call_names_its_group(
    stage: Stage, flat: str, name: str, namespace: str | None, stream: bool
) -> None:
    stage.playbook.scripts["group"] = called(flat, {"city": "Lisbon"})
    response = post(stage.server, body("group", tools=GROUPS, stream=stream))
    (item,) = (events(response)[-1]["response"] if stream else response.json())["output"]
    assert (item["name"], item.get("namespace")) == (name, namespace)
    assert json.loads(item["arguments"]) == {"city": "Lisbon"}


def test_a_custom_call_has_its_input(stage: Stage) -> None:
    stage.playbook.scripts["custom"] = called("patch", {"input": '+ "a"\n'})
    (item,) = post(stage.server, body("custom", tools=[PATCH])).json()["output"]
    assert (item["type"], item["name"], item["input"]) == ("custom_tool_call", "patch", '+ "a"\n')
    assert item["id"].startswith("ctc_")


def test_reasoning_comes_back_sealed_where_asked_for(stage: Stage) -> None:
    stage.playbook.scripts["sealed"] = Script((UpstreamReasoning("So."), "It rains."))
    sent = body("sealed", include=["reasoning.encrypted_content"], reasoning={"summary": "auto"})
    thought, said = post(stage.server, sent).json()["output"]
    assert thought["summary"] == [{"type": "summary_text", "text": "So."}]
    assert "content" not in thought
    thought["summary"] = []  # what some clients make of it
    (answer,) = decode([thought, said]).messages
    assert (answer.reasoning, answer.text) == ("So.", "It rains.")
