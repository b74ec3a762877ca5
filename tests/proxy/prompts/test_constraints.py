"""Which requests are decoded under a grammar, that no request is lost over one, and what ends without one."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from engine.config import EngineConfig
from engine.repetition import TOKENS
from engine.types import GenerateRequest
from engine.validate import MAX_GRAMMAR
from proxy.prompts.constraints import NO_CONSTRAINT, Constraint, Constraints, closed, fixed
from proxy.upstreams.engine import EngineUpstream
from repair.grammar import Grammar
from repair.types import ToolCall
from tests.engine.tiny import make_model
from tests.proxy.codecs.test_accepted_requests import decode
from tests.proxy.live import LiveServer, LoopThread, serving
from tests.proxy.records.test_metrics import parse
from tests.proxy.requests import CLOCK, TOOLS, user
from tests.repair.test_grammar import FORMATS_WITH_GRAMMAR, accepts, written
from tests.repair.test_grammar import TOOLS as WEATHER

STRICT: dict[str, Any] = {
    "type": "function",
    "function": {**CLOCK["function"], "name": "strict_clock", "strict": True},
}
NAMED = {"type": "function", "function": {"name": "get_time"}}
OBJECT = {"type": "json_object"}
SCHEMA = {
    "type": "json_schema",
    "json_schema": {
        "name": "x",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {"size": {"enum": ["small", "large"]}, "deep": {"type": "boolean"}},
            "required": ["size", "deep"],
            "additionalProperties": False,
        },
    },
}
# fields -> a piece of the grammar; "" where there is none
CHOICES: dict[str, tuple[dict[str, Any], str]] = {
    "free": ({}, ""),
    "tools": ({"tools": TOOLS}, ""),
    "required": ({"tools": TOOLS, "tool_choice": "required"}, "get_weather"),
    "named": ({"tools": TOOLS, "tool_choice": NAMED}, "get_time"),
    "strict_tool": ({"tools": [*TOOLS, STRICT]}, "strict_clock"),
    "strict_but_none": ({"tools": [STRICT], "tool_choice": "none"}, ""),
    "json_object": ({"response_format": OBJECT}, "%json"),
    "json_schema": ({"response_format": SCHEMA}, "small"),
    "json_beside_tools": ({"response_format": OBJECT, "tools": TOOLS}, "get_weather"),
    "json_without_calls": ({"response_format": OBJECT, "tools": TOOLS, "tool_choice": "none"}, "%json"),
}


@pytest.mark.parametrize(("fields", "piece"), CHOICES.values(), ids=CHOICES)
def test_who_gets_a_grammar(fields: dict[str, Any], piece: str) -> None:
    found = Constraints("hermes", "", {}).choose(decode(**fields), "")
    assert found.wanted == bool(piece)
    assert found.grammar is None if not piece else piece in (found.grammar or "")


def test_a_named_tool_is_the_only_one() -> None:
    found = Constraints("hermes", "", {}).choose(decode(**CHOICES["named"][0]), "")
    assert "get_weather" not in (found.grammar or "")


def test_asking_again_is_constrained() -> None:
    asked = replace(decode(tools=TOOLS), constrained=True)
    assert Constraints("hermes", "", {}).choose(asked, "").grammar
    assert Constraints("hermes", "", {}).choose(replace(asked, tools=()), "") == NO_CONSTRAINT


SETTLED = {"get_weather": {"city": "Oslo", "days": 3, "tags": ["a", 'b "c"'], "deep": {"on": True}}}


@pytest.mark.parametrize("format", FORMATS_WITH_GRAMMAR)
def test_what_is_settled_can_only_be_written_so(format: str) -> None:
    tools = tuple(one.definition for name in WEATHER.names if (one := WEATHER.get(name)))
    asked = replace(decode(tools=TOOLS), tools=tools, constrained=True, settled=SETTLED)
    found = Constraints(format, "", {}).choose(asked, "").grammar
    assert found is not None
    arguments: dict[str, Any] = {**SETTLED["get_weather"], "unit": "celsius"}

    def accepted(**other: Any) -> bool:
        given = {**arguments, **other}
        ordered = {
            key: given[key] for key in ("city", "days", "unit", "tags", "deep") if given[key] is not None
        }
        return accepts(Grammar(found), written(format, ToolCall("get_weather", json.dumps(ordered))))

    assert accepted()
    assert accepted(unit="fahrenheit")
    assert not accepted(city="Rome")
    assert not accepted(days=4)
    assert not accepted(tags=None)
    plain = Constraints(format, "", {}).choose(replace(asked, settled={}), "").grammar
    assert plain != found


def test_what_is_too_long_to_hold_the_model_to_is_left_to_it() -> None:
    schema = {"type": "object", "properties": {"text": {"type": "string"}, "on": {"type": "boolean"}}}
    held = fixed(schema, {"text": "x" * 3000, "on": True})
    assert held == {
        **schema,
        "properties": {"text": {"type": "string"}, "on": {"const": True}},
        "required": ["on"],
    }
    assert fixed(schema, {}) == schema


def test_reasoning_has_its_place() -> None:
    asked = decode(response_format=OBJECT)
    constraints = Constraints("hermes", "{{ '</think>' }}", {})
    may_think, must_close = (constraints.choose(asked, prompt).grammar for prompt in ("", "<think>\n"))
    plain = Constraints("hermes", "", {}).choose(asked, "").grammar
    assert len({may_think, must_close, plain}) == 3
    assert "think" in (may_think or "")
    assert "think" not in (plain or "")


@pytest.mark.parametrize("choice", ["auto", "required"])
def test_a_model_that_has_no_place_for_reasoning_writes_none_before_a_call(choice: str) -> None:
    """It would write there what the grammar keeps it from saying."""
    asked = replace(decode(tools=TOOLS, tool_choice=choice), constrained=True)
    call = written("hermes", ToolCall("get_weather", '{"city": "Oslo"}'))
    for template, thinks in (("{{ '</think>' }}", True), ("", False)):
        text = Constraints("hermes", template, {}).choose(asked, "").grammar
        assert text is not None
        grammar = Grammar(text, ())
        assert accepts(grammar, call)
        assert accepts(grammar, f"<think>hm</think>\n{call}") is thinks
        assert not accepts(grammar, "<think>hm")
        assert accepts(grammar, "I think so.") is (choice == "auto")


def test_a_model_that_is_asked_again_writes_a_call_or_words() -> None:
    asked = replace(decode(tools=TOOLS), constrained=True)
    constraints = Constraints("hermes", "", {})
    first, again = (
        Grammar(constraints.choose(replace(asked, fork=fork), "").grammar or "", ()) for fork in (False, True)
    )
    call = written("hermes", ToolCall("get_weather", '{"city": "Oslo"}'))
    fence = "```json\n{}\n```"
    assert accepts(first, call)
    assert accepts(again, call)
    assert accepts(first, fence)
    assert not accepts(again, fence)
    assert accepts(first, "No.")
    assert accepts(again, "No.")


def test_what_cannot_be_constrained_is_served_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    asked = decode(tools=TOOLS, tool_choice="required")
    constraints = Constraints("auto", "", {})
    with caplog.at_level(logging.INFO, "proxy.prompts.constraints"):
        assert [constraints.choose(asked, "") for _ in range(3)] == [Constraint(True, None)] * 3
    assert len(caplog.records) == 1
    big = decode(response_format={**SCHEMA, "json_schema": {"schema": {"enum": ["x" * (MAX_GRAMMAR + 1)]}}})
    assert Constraints("hermes", "", {}).choose(big, "") == Constraint(True, None)


def test_what_a_schema_leaves_to_validation_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    schema = {"type": "object", "properties": {"a": {"not": {"type": "null"}}}}
    asked = decode(response_format={"type": "json_schema", "json_schema": {"schema": schema}})
    constraints = Constraints("hermes", "", {})
    with caplog.at_level(logging.INFO, "proxy.prompts.constraints"):
        assert constraints.choose(asked, "").grammar
        constraints.choose(asked, "")
    assert [record.levelname for record in caplog.records] == ["INFO"]
    assert "not" in caplog.records[0].getMessage()


def test_a_grammar_is_made_once_for_a_tool_set() -> None:
    constraints = Constraints("hermes", "", {})
    asked = decode(tools=TOOLS, tool_choice="required")
    first = constraints.choose(asked, "")
    assert constraints.choose(replace(asked, stream=True), "").grammar is first.grammar
    for i in range(100):
        constraints.choose(decode(response_format=SCHEMA, tools=[], n=1, seed=i), f"{i}")
    other = decode(
        tools=[{"type": "function", "function": {"name": f"f{i}"}} for i in range(128)],
        tool_choice="required",
    )
    assert "f127" in (constraints.choose(other, "").grammar or "")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LiveServer, EngineUpstream]]:
    model = make_model(tmp_path_factory.mktemp("models") / "tiny", context=2048)
    thread = LoopThread()
    upstream = thread.run(EngineUpstream.start(EngineConfig(model=str(model), max_batch=4), "tiny"), 120)
    with serving(upstream, thread=thread) as server:
        yield server, upstream
    thread.run(upstream.close())
    thread.close()


def ask(server: LiveServer, **fields: Any) -> httpx.Response:
    sent = {"messages": [user("hi")], "max_tokens": 1200, "temperature": 0.8, "seed": 1, **fields}
    response = server.post(sent)
    assert response.status_code == 200, response.text
    return response


@pytest.mark.parametrize("seed", range(3))
def test_a_model_of_random_weights_answers_by_the_schema(
    tiny: tuple[LiveServer, EngineUpstream], seed: int
) -> None:
    response = ask(tiny[0], response_format=SCHEMA, seed=seed)
    value = json.loads(response.json()["choices"][0]["message"]["content"])
    assert set(value) == {"size", "deep"}
    assert value["size"] in ("small", "large")
    assert response.headers["x-fortieth-answer"] == "valid"


@pytest.mark.parametrize("choice", ["required", NAMED], ids=["required", "named"])
def test_a_model_of_random_weights_makes_the_call(
    tiny: tuple[LiveServer, EngineUpstream], choice: Any
) -> None:
    tools = [{"type": "function", "function": {**CLOCK["function"], "parameters": {
        "type": "object", "properties": {"zone": {"enum": ["UTC", "CET"]}}, "required": ["zone"],
    }}}]  # fmt: skip
    response = ask(tiny[0], tools=tools, tool_choice=choice, parallel_tool_calls=False)
    assert response.headers["x-fortieth-verdict"] == "clean", response.text
    call = response.json()["choices"][0]["message"]["tool_calls"][0]["function"]
    assert call["name"] == "get_time"
    assert call["arguments"] in ('{"zone": "UTC"}', '{"zone": "CET"}', '{"zone":"UTC"}', '{"zone":"CET"}')


OPEN: list[tuple[Any, Any]] = [
    ({"properties": {"a": {}}}, {"properties": {"a": {}}, "additionalProperties": False}),
    ({"properties": {}}, {"properties": {}}),
    ({"type": "object"}, {"type": "object"}),
    (True, True),
    *(
        ({"properties": {"a": True}, key: {}}, {"properties": {"a": True}, key: {}})
        for key in ("allOf", "$ref")
    ),
    (
        {"properties": {"a": {}}, "additionalProperties": {}},
        {"properties": {"a": {}}, "additionalProperties": {}},
    ),
    (
        {"items": {"properties": {"a": {}}}},
        {"items": {"properties": {"a": {}}, "additionalProperties": False}},
    ),
]


@pytest.mark.parametrize(("schema", "expected"), OPEN, ids=str)
def test_only_declared_properties_may_be_written(schema: Any, expected: Any) -> None:
    assert closed(schema) == expected


def test_an_answer_cut_by_its_limit_is_told(tiny: tuple[LiveServer, EngineUpstream]) -> None:
    response = ask(tiny[0], response_format=SCHEMA, max_tokens=3)
    assert response.json()["choices"][0]["finish_reason"] == "length"
    assert response.headers["x-fortieth-answer"] == "invalid"
    streamed = ask(tiny[0], response_format=SCHEMA, max_tokens=3, stream=True).text
    assert "; answer=invalid\n" in streamed


def test_a_grammar_that_the_engine_refuses_costs_nobody_the_request(
    tiny: tuple[LiveServer, EngineUpstream], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, upstream = tiny
    generate = upstream.client.generate
    tried: list[str | None] = []

    def broken(request: GenerateRequest) -> Any:
        tried.append(request.grammar)
        text = "start: nowhere" if request.grammar else None
        return generate(
            GenerateRequest(
                **{**{f: getattr(request, f) for f in request.__struct_fields__}, "grammar": text}
            )
        )

    monkeypatch.setattr(upstream.client, "generate", broken)
    response = ask(server, response_format=OBJECT, max_tokens=5)
    assert response.json()["usage"]["completion_tokens"] == 5
    assert [bool(grammar) for grammar in tried] == [True, False]
    found = parse(httpx.get(server.root + "/metrics").text)
    assert found[("fortieth_unconstrained_generations_total", (("model_name", "tiny"),))] == 1


def test_an_answer_that_repeats_itself_is_ended_and_counted(tiny: tuple[LiveServer, EngineUpstream]) -> None:
    answer = ask(tiny[0], max_tokens=1500, temperature=0, logit_bias={"65": 100}).json()
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["choices"][0]["message"]["content"] == "A" * answer["usage"]["completion_tokens"]
    assert TOKENS.least <= answer["usage"]["completion_tokens"] < TOKENS.least + TOKENS.every
    found = parse(httpx.get(tiny[0].root + "/metrics").text)
    assert found[("fortieth_repetitions_stopped_total", (("model_name", "tiny"),))] == 1
    all_of_it = ask(tiny[0], max_tokens=1200, temperature=0, logit_bias={"65": 100}, ignore_eos=True).json()
    assert all_of_it["usage"]["completion_tokens"] == 1200
