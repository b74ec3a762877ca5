"""Streams of Ollama's API, line by line, and the whole answers that they add up to.

The sequences are written down from https://docs.ollama.com/api/streaming and .../capabilities/tool-calling.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import httpx
import pytest

from proxy.codecs.ollama import OllamaChat
from proxy.conversation.errors import Overloaded, RateLimited, UpstreamUnavailable
from proxy.conversation.events import Answer, Finish, FinishReason, Usage
from proxy.conversation.logprobs import Candidate, TextWithLogprobs, TokenLogprob
from proxy.conversation.model_card import ModelCard
from proxy.conversation.request import RawPrompt
from proxy.upstreams.base import UpstreamCall, UpstreamReasoning
from proxy.upstreams.scripted import Script, Stall
from tests.proxy.codecs.ollama import NO_TLS, chat, lines, prompt, read, send
from tests.proxy.conftest import Stage
from tests.proxy.requests import CALL, SLOPPY_CALL, TOOLS

DURATIONS = ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration")
SILENCE: dict[str, Any] = {"done": False, "message": {"role": "assistant", "content": ""}}


def part(content: str = "", **fields: Any) -> dict[str, Any]:
    return {"message": {"role": "assistant", "content": content, **fields}, "done": False}


def call(index: int, arguments: Any, name: str = "get_weather") -> dict[str, Any]:
    return {"id": "call_x", "function": {"index": index, "name": name, "arguments": arguments}}


def end(
    reason: str, evaluated: int, *, verdict: str = "none", fixes: int = 0, attempts: int = 1
) -> dict[str, Any]:
    return {
        **part(),
        "done": True,
        "done_reason": reason,
        "prompt_eval_count": 7 * attempts,
        "eval_count": evaluated,
        "fortieth": {"verdict": verdict, "fixes": fixes, "attempts": attempts},
    }


LISBON = {"city": "Lisbon"}
TWO_CALLS = f"{CALL}\n{CALL.replace('Lisbon', 'Porto')}"
# id -> fields of the request, what the upstream plays, the lines
CASES: dict[str, tuple[dict[str, Any], Script, list[dict[str, Any]]]] = {
    "text": ({}, Script(("Hello", " there.")), [part("Hello"), part(" there."), end("stop", 2)]),
    "nothing": ({}, Script(()), [end("stop", 0)]),
    "length": ({}, Script(("Hel",), "length"), [part("Hel"), end("length", 1)]),
    "filtered": ({}, Script(("No.",), "content_filter"), [part("No."), end("stop", 1)]),
    "thinking": (
        {},
        Script((UpstreamReasoning("So."), UpstreamReasoning(" Well."), "It rains.")),
        [part(thinking="So."), part(thinking=" Well."), part("It rains."), end("stop", 3)],
    ),
    "no thinking": (
        {"think": False},
        Script((UpstreamReasoning("So."), "It rains.")),
        [part("It rains."), end("stop", 2)],
    ),
    "stop string": (
        {"options": {"stop": ["END"]}},
        Script(("It rains. EN", "D of it")),
        [part("It rains. "), end("stop", 2)],
    ),
    "call": (
        {"tools": TOOLS},
        Script(("I look.\n", CALL)),
        [part("I look.\n"), part(tool_calls=[call(0, LISBON)]), end("stop", 2, verdict="clean")],
    ),
    "repaired call": (
        {"tools": TOOLS},
        Script((SLOPPY_CALL,)),
        [part(tool_calls=[call(0, LISBON)]), end("stop", 1, verdict="repaired", fixes=1)],
    ),
    "two calls": (
        {"tools": TOOLS},
        Script((TWO_CALLS,)),
        [
            part(tool_calls=[call(0, LISBON)]),
            part(tool_calls=[call(1, {"city": "Porto"})]),
            end("stop", 1, verdict="clean"),
        ],
    ),
    "structured call": (
        {"tools": TOOLS},
        Script((UpstreamCall("get_weather", '{\n  "city": "Lisbon",\r\n  "days": 2\n}'),)),
        [part(tool_calls=[call(0, {**LISBON, "days": 2})]), end("stop", 1, verdict="clean")],
    ),
    "line ends of all kinds": (
        {"tools": TOOLS},
        Script(
            (
                "a\nb\r\u2028\u2029\x85\x0b\x0c\x1c\x1d\x1e.",
                UpstreamCall("get_weather", '{"city": "\u2028\x85"}'),
            )
        ),
        [
            part("a\nb\r\u2028\u2029\x85\x0b\x0c\x1c\x1d\x1e."),
            part(tool_calls=[call(0, {"city": "\u2028\x85"})]),
            end("stop", 2, verdict="clean"),
        ],
    ),
}


def told(found: dict[str, Any]) -> dict[str, Any]:
    """Without what differs from one run to the next, which is looked at here."""
    told = dict(found)
    assert told.pop("model") == "scripted"
    assert datetime.fromisoformat(told.pop("created_at")).tzinfo is not None
    if told["done"]:
        took = {name: told.pop(name) for name in DURATIONS}
        assert all(isinstance(value, int) and value >= 0 for value in took.values())
        assert took["total_duration"] == took["prompt_eval_duration"] + took["eval_duration"] > 0
        assert told["fortieth"].pop("session")
    for one in told.get("message", told).get("tool_calls", ()):
        assert one["id"].startswith("call_")
        one["id"] = "call_x"
    return told


def in_text(line: dict[str, Any]) -> dict[str, Any]:
    """A line of /api/chat as /api/generate has it."""
    message = dict(line["message"])
    del message["role"]
    others = {name: value for name, value in line.items() if name != "message"}
    return {"response": message.pop("content"), **message, **others}


@pytest.mark.parametrize("name", CASES)
def test_the_lines_of_a_stream(stage: Stage, name: str) -> None:
    fields, script, expected = CASES[name]
    stage.playbook.scripts[f"lines {name}"] = script
    response = send(stage.server, chat(f"lines {name}", **fields))
    found = [told(line) for line in lines(response)]
    # this server sends a sign of life after every 0.05 s of silence
    assert [line for line in found if line != SILENCE] == expected
    assert response.text.count("\n") == len(found)
    if not any(one["message"]["content"] or "thinking" in one["message"] for one in expected):
        assert lines(response)[-1]["prompt_eval_duration"] == 0  # when the first token came is not known
    texts = send(stage.server, prompt(f"lines {name}", **fields), "/api/generate")
    silence = in_text(SILENCE)
    assert [line for one in lines(texts) if (line := told(one)) != silence] == [
        in_text(one) for one in expected
    ]


@pytest.mark.parametrize("name", CASES)
def test_a_whole_answer_is_what_its_stream_adds_up_to(stage: Stage, name: str) -> None:
    fields, script, expected = CASES[name]
    stage.playbook.scripts[f"whole {name}"] = script
    *parts, last = expected
    messages = [one["message"] for one in parts]
    message: dict[str, Any] = {"role": "assistant", "content": "".join(one["content"] for one in messages)}
    if thinking := "".join(one.get("thinking", "") for one in messages):
        message["thinking"] = thinking
    if calls := [call for one in messages for call in one.get("tool_calls", ())]:
        message["tool_calls"] = calls
    whole = {**last, "message": message}
    for path, body, due in (
        ("/api/chat", chat(f"whole {name}", stream=False, **fields), whole),
        ("/api/generate", prompt(f"whole {name}", stream=False, **fields), in_text(whole)),
    ):
        response = send(stage.server, body, path)
        assert response.headers["content-type"] == "application/json"
        assert told(response.json()) == due
        for name, value in last["fortieth"].items():
            assert response.headers[f"x-fortieth-{name}"] == str(value)


def test_the_answer_has_the_name_by_which_the_model_was_asked_for(stage: Stage) -> None:
    for name in ("scripted", "scripted:latest", "default"):
        for stream in (False, True):
            response = send(stage.server, chat(model=name, stream=stream))
            assert {json.loads(line)["model"] for line in response.text.splitlines()} == {name}
    assert send(stage.server, {**chat(stream=False), "model": ""}).json()["model"] == "scripted"


@pytest.mark.parametrize(
    ("path", "body", "empty"),
    [
        ("/api/chat", {"messages": []}, {"message": {"role": "assistant", "content": ""}}),
        ("/api/chat", {"keep_alive": 0}, {"message": {"role": "assistant", "content": ""}}),
        ("/api/generate", {}, {"response": ""}),
        ("/api/generate", {"prompt": "", "keep_alive": "5m", "stream": True}, {"response": ""}),
    ],
)
def test_to_load_a_model_asks_it_nothing(
    stage: Stage, path: str, body: dict[str, Any], empty: dict[str, Any]
) -> None:
    before = len(stage.upstream.played)
    response = send(stage.server, {"model": "scripted:latest", **body}, path)
    assert (response.status_code, response.headers["content-type"]) == (200, "application/json")
    found = response.json()
    assert datetime.fromisoformat(found.pop("created_at")).tzinfo is not None
    assert found == {"model": "scripted:latest", **empty, "done": True, "done_reason": "load"}
    assert len(stage.upstream.played) == before


def test_the_json_of_an_answer_is_judged(stage: Stage) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    for text, format, answer in (('{"city": "Lisbon"}', schema, "valid"), ("Lisbon", "json", "invalid")):
        stage.playbook.scripts["in JSON"] = Script((text,))
        response = send(stage.server, chat("in JSON", format=format))
        assert lines(response)[-1]["fortieth"]["answer"] == answer
        whole = send(stage.server, chat("in JSON", format=format, stream=False))
        assert whole.headers["x-fortieth-answer"] == answer
        assert whole.json()["message"]["content"] == text


def test_a_prompt_that_is_gone_on_from_as_it_stands(stage: Stage) -> None:
    """Text in the form of a call is text there."""
    stage.playbook.scripts[""] = Script((CALL,))
    try:
        for stream in (False, True):
            response = send(stage.server, prompt("<|user|>hi", raw=True, stream=stream), "/api/generate")
            told = [json.loads(line) for line in response.text.splitlines()]
            assert "".join(one["response"] for one in told) == CALL
            assert told[-1]["done_reason"] == "stop"
            assert stage.upstream.played[-1].request.prompts == (RawPrompt("<|user|>hi"),)
    finally:
        del stage.playbook.scripts[""]


def test_what_was_left_out_is_told(stage: Stage) -> None:
    *_, last = lines(send(stage.server, prompt(template="x"), "/api/generate"))
    assert last["fortieth"]["warnings"][0].startswith("template is not served here")


def test_a_silent_stream_is_kept_alive(stage: Stage) -> None:
    stage.playbook.scripts["slow lines"] = Script((Stall(0.3), "x"))
    found = [told(line) for line in lines(send(stage.server, chat("slow lines")))]
    assert found.count(SILENCE) >= 3
    assert [line for line in found if line != SILENCE] == [part("x"), end("stop", 1)]


def test_an_error_in_a_stream_is_its_last_line(stage: Stage) -> None:
    stage.playbook.scripts["dying lines"] = Script(("It ", UpstreamUnavailable("it died")))
    response = send(stage.server, chat("dying lines"))
    assert response.status_code == 200
    assert [json.loads(line) for line in response.iter_lines()][-1] == {"error": "it died"}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("refusal", "status", "retry"),
    [
        (Overloaded("full", retry_after_s=2.2), 503, "3"),
        (RateLimited("too often", retry_after_s=1), 429, "1"),
        (UpstreamUnavailable("gone"), 503, None),
        (ZeroDivisionError("x"), 500, None),
    ],
    ids=["queue", "rate", "gone", "defect"],
)
def test_an_error_before_the_stream(
    stage: Stage, refusal: Exception, status: int, retry: str | None, stream: bool
) -> None:
    stage.playbook.scripts[f"refused line {refusal}"] = Script(refusal=refusal)
    response = send(stage.server, chat(f"refused line {refusal}", stream=stream))
    assert (response.status_code, response.headers.get("retry-after")) == (status, retry)
    assert response.json().keys() == {"error"}
    assert isinstance(response.json()["error"], str)


@pytest.mark.parametrize("stream", [False, True])
def test_what_is_no_object_is_told_as_text(stage: Stage, stream: bool) -> None:
    """Only where the client asks for calls as the model emitted them."""
    for arguments, given in (("[1,\n2", {"arguments": "[1,\n2"}), ("", {}), (' {"a":1.0}', {"a": 1.0})):
        stage.playbook.scripts["emitted line"] = Script((UpstreamCall("get_weather", arguments),))
        asked = chat("emitted line", tools=TOOLS, stream=stream)
        response = send(stage.server, asked, headers={"x-fortieth-guard": "off"})
        ((_, found),) = read(response, stream).calls
        assert json.loads(found) == given


def test_scores_stand_beside_the_text() -> None:
    codec = OllamaChat()
    asked = codec.decode(json.dumps(chat(logprobs=True, top_logprobs=1)).encode())
    head = codec.head(ModelCard("scripted", 0, 9, "fp"), "req_1")
    tokens = (TokenLogprob(Candidate(b"x", -0.5), (Candidate(b"x", -0.5),)),)
    scored = {"token": "x", "logprob": -0.5, "bytes": [120]}
    expected = [{**scored, "top_logprobs": [scored]}]
    streamed = json.loads(codec.encode_stream(head, asked).encode(TextWithLogprobs("x", tokens)))
    answer = Answer("x", "", (), Finish(FinishReason.stop, Usage(7, 1)), tokens)
    whole = json.loads(codec.encode_answers(head, asked, (answer,)))
    assert streamed["logprobs"] == whole["logprobs"] == expected
    assert streamed["message"]["content"] == whole["message"]["content"] == "x"


def test_base_urls_with_and_without_v1(stage: Stage) -> None:
    for path in ("/api/chat", "/v1/api/chat", "/api/chat/", "//api/chat"):
        response = send(stage.server, chat(stream=False), path)
        assert response.json()["message"]["content"] == "Hello there."
    assert (
        httpx.get(f"{stage.server.base_url}/api/tags", verify=NO_TLS).json()["models"][0]["name"]
        == "scripted:latest"
    )
