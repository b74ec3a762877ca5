"""Clients of `functions` know `function_call` and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.upstreams.scripted import Script
from tests.proxy.conftest import Stage
from tests.proxy.requests import CALL, TOOLS, WEATHER, body, user

FUNCTIONS = [tool["function"] for tool in TOOLS]


@pytest.mark.parametrize("choice", [None, "auto", {"name": "get_weather"}], ids=str)
def test_the_call_comes_as_a_function_call(stage: Stage, choice: Any) -> None:
    stage.playbook.scripts["legacy"] = Script(("Let me see.\n", CALL))
    sent = body("legacy", functions=FUNCTIONS, function_call=choice)
    answer = stage.server.post(sent).json()["choices"][0]
    assert answer["finish_reason"] == "function_call"
    assert "tool_calls" not in answer["message"]
    called = answer["message"]["function_call"]
    assert (called["name"], json.loads(called["arguments"])) == ("get_weather", {"city": "Lisbon"})


def test_it_streams_as_a_function_call(stage: Stage) -> None:
    stage.playbook.scripts["legacy"] = Script(("Let me see.\n", CALL))
    stream: Any = stage.server.client().chat.completions.create(
        model="scripted", messages=[user("legacy")], functions=FUNCTIONS, stream=True
    )
    name, arguments, reasons = "", "", []
    for chunk in stream:
        choice = chunk.choices[0]
        assert choice.delta.tool_calls is None
        if choice.delta.function_call:
            name += choice.delta.function_call.name or ""
            arguments += choice.delta.function_call.arguments or ""
        reasons += [choice.finish_reason] if choice.finish_reason else []
    assert (name, json.loads(arguments), reasons) == ("get_weather", {"city": "Lisbon"}, ["function_call"])


def test_two_calls_do_not_fit(stage: Stage) -> None:
    stage.playbook.scripts["pair"] = Script((CALL, CALL.replace("Lisbon", "Porto")))
    response = stage.server.post(body("pair", functions=FUNCTIONS))
    assert response.headers["x-fortieth-verdict"] == "failed"
    assert response.json()["choices"][0]["finish_reason"] == "stop"


def test_tools_beside_functions_are_tools(stage: Stage) -> None:
    stage.playbook.scripts["both"] = Script((CALL,))
    answer = stage.server.post(body("both", functions=FUNCTIONS, tools=[WEATHER])).json()["choices"][0]
    assert answer["finish_reason"] == "tool_calls"
    assert "function_call" not in answer["message"]


def test_history_of_a_function_call_is_read(stage: Stage) -> None:
    called = {"role": "assistant", "content": None, "function_call": {"name": "get_time", "arguments": "{}"}}
    result = {"role": "function", "name": "get_time", "content": "12:00"}
    messages = [user("legacy end"), called, result]
    assert stage.server.post({**body(functions=FUNCTIONS), "messages": messages}).status_code == 200
    request = stage.upstream.played[-1].request
    assert request.messages[1].calls[0].name == "get_time"
    assert request.messages[2].name == "get_time"
