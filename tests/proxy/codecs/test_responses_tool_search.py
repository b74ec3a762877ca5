"""Tools that the client finds when the model asks for them
(https://platform.openai.com/docs/guides/tools-tool-search).
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.conversation.message import Message, PastCall, ResultPart, Role, TextPart
from proxy.conversation.request import tool_object
from proxy.upstreams.base import UpstreamCall
from proxy.upstreams.scripted import Script
from tests.proxy.codecs.responses import FLAT_TOOLS, body, decode, events, post
from tests.proxy.conftest import Stage

WEATHER, CLOCK = FLAT_TOOLS
DEFERRED = {**WEATHER, "defer_loading": True}
SEARCH: dict[str, Any] = {
    "type": "tool_search",
    "execution": "client",
    "description": "Finds tools.",
    "parameters": {
        "type": "object",
        "properties": {"query": {"type": "string"}},
        "required": ["query"],
        "additionalProperties": False,
    },
}
ASKED = {"role": "user", "content": "How is the weather?"}
SEARCHED: dict[str, Any] = {
    "type": "tool_search_call",
    "id": "tsc_1",
    "call_id": "call_1",
    "execution": "client",
    "status": "completed",
    "arguments": {"query": "weather"},
}


def found(*tools: Any, call_id: str = "call_1") -> dict[str, Any]:
    output = {"type": "tool_search_output", "call_id": call_id, "execution": "client", "status": "completed"}
    return {**output, "tools": list(tools)}


def test_a_search_is_a_function_and_what_it_may_find_is_not_shown() -> None:
    asked = decode([ASKED], tools=[SEARCH, DEFERRED, CLOCK])
    assert [tool.name for tool in asked.tools] == ["tool_search", "get_time"]
    assert (asked.tools[0].description, asked.tools[0].parameters) == ("Finds tools.", SEARCH["parameters"])
    assert asked.listed_tools == asked.tools


def test_what_is_found_is_declared_in_its_place() -> None:
    tools = [SEARCH, DEFERRED, CLOCK]
    before = decode([ASKED], tools=tools)
    asked = decode([ASKED, SEARCHED, found(DEFERRED)], tools=tools)
    assert [tool.name for tool in asked.tools] == ["tool_search", "get_time", "get_weather"]
    assert asked.listed_tools == before.tools, "the head of the prompt stays as it was"
    declared = json.dumps(tool_object(asked.tools[2]), ensure_ascii=False)
    told = TextPart(f"A tool that can be called from now on:\n{declared}")
    assert asked.messages[1:] == (
        Message(Role.assistant, (PastCall("call_1", "tool_search", '{"query": "weather"}'),)),
        Message(Role.tool, (ResultPart("call_1", "tool_search", (told,)),)),
    )


def test_what_is_found_twice_is_declared_once_and_nothing_is_told_too() -> None:
    group = {
        "type": "namespace",
        "name": "maps",
        "tools": [{**CLOCK, "name": "search", "defer_loading": True}],
    }
    items = [ASKED, SEARCHED, found(DEFERRED, group), SEARCHED, found(DEFERRED), SEARCHED, found()]
    asked = decode(items, tools=[SEARCH, CLOCK])
    assert asked.told_in_place == {"get_weather", "maps__search"}
    first, second, third = (message.text for message in asked.messages if message.role is Role.tool)
    assert (first.count("can be called from now on"), "maps__search" in first) == (2, True)
    assert (second, third) == ("get_weather: declared above", "No tool was found.")


def test_a_prompt_has_a_tool_at_its_head() -> None:
    """Else nothing in it tells how calls are written."""
    asked = decode([ASKED, found(WEATHER)])
    assert (asked.listed_tools, asked.told_in_place) == (asked.tools, frozenset())


@pytest.mark.parametrize("execution", [{}, {"execution": "server"}], ids=["not_said", "server"])
def test_a_search_that_no_one_here_executes_hides_nothing(execution: dict[str, str]) -> None:
    asked = decode([ASKED], tools=[{"type": "tool_search", **execution}, DEFERRED, CLOCK])
    assert [tool.name for tool in asked.tools] == ["get_weather", "get_time"]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_search_goes_out_as_an_item_of_its_own(stage: Stage, stream: bool) -> None:
    query = '{"query":\n"weather"}'
    stage.playbook.scripts["search tools"] = Script((UpstreamCall("tool_search", query),))
    response = post(stage.server, body("search tools", tools=[SEARCH, DEFERRED], stream=stream))
    if stream:
        told = [one for one in events(response) if one["type"] != "response.in_progress"]
        kinds = ["response.created", "response.output_item.added", "response.output_item.done"]
        assert [one["type"] for one in told] == [*kinds, "response.completed"]
        assert told[1]["item"] == {**told[2]["item"], "status": "in_progress"}
        output = told[-1]["response"]["output"]
        assert output == [told[2]["item"]]
    else:
        output = response.json()["output"]
    (item,) = output
    assert item.pop("id").startswith("tsc_")
    assert item.pop("call_id").startswith("call_")
    assert item == {key: value for key, value in SEARCHED.items() if key not in ("id", "call_id")}


def test_a_search_is_kept_for_the_next_turn(stage: Stage) -> None:
    stage.playbook.scripts["search and go on"] = Script((UpstreamCall("tool_search", '{"query": "x"}'),))
    first = post(stage.server, body("search and go on", tools=[SEARCH, DEFERRED])).json()
    results = [found(DEFERRED, call_id=first["output"][0]["call_id"])]
    fields = {"previous_response_id": first["id"], "tools": [SEARCH, DEFERRED]}
    assert post(stage.server, body(results, **fields)).status_code == 200
    asked = stage.upstream.played[-1].request
    assert [message.role for message in asked.messages] == [Role.user, Role.assistant, Role.tool]
    assert [tool.name for tool in asked.tools] == ["tool_search", "get_weather"]
