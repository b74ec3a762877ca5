"""What a client was sent is judged on the wire, in each dialect, streamed and not."""

from __future__ import annotations

import contextlib
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from proxy.conversation.errors import RateLimited, UpstreamUnavailable
from proxy.conversation.request import ChatRequest
from proxy.conversation.verdict import GiveUp, GuardMode
from proxy.guard.policy import GuardPolicy
from proxy.upstreams.scripted import Script, ScriptedUpstream
from tests.clients.recorder import Answered, Asked, End, listening
from tests.clients.witness import Call, Verdict, Witness, judge, on_wire, schemas, unasked
from tests.proxy.live import LiveServer, Playbook, serving
from tests.proxy.requests import CALL, HOPELESS_CALL, WEATHER, user

FUNCTION = WEATHER["function"]
FLAT = {"type": "function", **FUNCTION}
ANTHROPIC = {"name": FUNCTION["name"], "input_schema": FUNCTION["parameters"]}
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"tools": [WEATHER]},
    "/v1/messages?beta=true": {"tools": [ANTHROPIC], "max_tokens": 99},
    "/v1/responses": {"tools": [{"type": "namespace", "name": "functions", "tools": [FLAT]}]},
}
SCRIPTS = {
    "good": Script((CALL,)),
    "hopeless": Script((HOPELESS_CALL,)),
    "broken": Script((CALL.replace('"Lisbon"', "Lisbon or Porto"),)),
    "words": Script(("Hello.",)),
    "dies": Script(("Hel", UpstreamUnavailable("gone"))),
    "full": Script(refusal=RateLimited("slow down")),
}


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    book = Playbook(SCRIPTS["words"])
    book.scripts |= SCRIPTS

    def play(request: ChatRequest) -> Script:
        return book(request)

    policy = GuardPolicy(mode=GuardMode.repair, give_up=GiveUp.client)
    with serving(ScriptedUpstream(play), policy=policy) as live:
        yield live


def ask(port: int, path: str, key: str, stream: bool) -> None:
    """One turn; what comes is read to its end."""
    said = "input" if path.endswith("responses") else "messages"
    body = {"model": "scripted", said: [user(key)], "stream": stream, **BODIES[path]}
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", json.dumps(body).encode())
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            response.read()
    except urllib.error.HTTPError as error:
        error.close()


def seen(server: LiveServer, path: str, key: str, stream: bool) -> Verdict:
    with listening(Witness(server.port)) as witness:
        ask(witness.port, path, key, stream)
        (verdict,) = witness.verdicts()
    return verdict


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("path", BODIES)
def test_calls_are_judged_by_the_schemas_of_the_request(server: LiveServer, path: str, stream: bool) -> None:
    assert seen(server, path, "good", stream) == Verdict((Call("get_weather", {"city": "Lisbon"}, True),))
    assert seen(server, path, "hopeless", stream) == Verdict((Call("get_weather", {"days": 2}, False),))
    (broken,) = seen(server, path, "broken", stream).calls
    assert not broken.valid
    assert seen(server, path, "words", stream) == Verdict()


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("path", BODIES)
def test_errors_of_the_api_are_found(server: LiveServer, path: str, stream: bool) -> None:
    assert seen(server, path, "full", stream).error.startswith("429: ")
    assert "gone" in seen(server, path, "dies", stream).error


def answered(path: str, stream: bool, body: bytes, end: End = End.whole) -> Answered:
    sent = json.dumps({"stream": stream, **BODIES[path]}).encode()
    return Answered(Asked(path, {}, sent), 200, body, end)


@pytest.mark.parametrize("path", BODIES)
def test_an_answer_without_its_end_is_an_error(server: LiveServer, path: str) -> None:
    with listening(Witness(server.port)) as witness:
        ask(witness.port, path, "good", True)
        witness.settle()
        whole = witness.seen[0].body
    assert judge(answered(path, True, whole)).error == ""
    cut = whole[: whole.rindex(b"data: ")]
    assert judge(answered(path, True, cut)).error.startswith("no end")
    assert judge(answered(path, True, cut, End.broken)).error.startswith("no end")
    assert judge(answered(path, True, cut, End.left)).error == ""
    assert judge(answered(path, False, b"")).error.startswith("no end")
    assert judge(Answered(Asked(path, {}, b"{}"), 0, b"", End.broken)).error == "no answer"


def test_a_refused_thread_is_no_error(server: LiveServer) -> None:
    """The SDK's tool runner asks for one, and sends the whole conversation where there is none."""
    path = "/v1/messages?beta=true"
    asked = {"model": "scripted", "messages": [user("good")], **BODIES[path]}
    with listening(Witness(server.port)) as witness:
        for body in ({**asked, "thread": {"type": "auto"}}, asked):
            request = urllib.request.Request(
                f"http://127.0.0.1:{witness.port}{path}", json.dumps(body).encode()
            )
            with contextlib.suppress(urllib.error.HTTPError), urllib.request.urlopen(request, timeout=10):
                pass
        refused, answered = witness.verdicts()
        first = witness.first()
    assert (refused, answered.error, len(answered.calls)) == (Verdict(), "", 1)
    assert first is not None
    assert "thread" not in json.loads(first.body)


def test_free_text_has_no_schema() -> None:
    body = {"tools": [{"type": "custom", "name": "patch"}, {"type": "web_search"}, FLAT, ANTHROPIC]}
    assert set(schemas(body)) == {"patch", "get_weather"}
    item = {"type": "custom_tool_call", "name": "patch", "input": "*** Begin"}
    answer = json.dumps({"status": "completed", "output": [item]}).encode()
    sent = Asked("/v1/responses", {}, json.dumps(body).encode())
    assert judge(Answered(sent, 200, answer)).calls == (Call("patch", {"input": "*** Begin"}, True),)


def test_what_a_client_was_sent_is_added_up(server: LiveServer) -> None:
    with listening(Witness(server.port)) as witness:
        for key in ("good", "hopeless", "full"):
            ask(witness.port, "/v1/chat/completions", key, True)
        told = on_wire(witness, server.base_url)
        # by a valid call, by one that broke its schema, by none, and by one that had its execution
        executions = [{"city": "Lisbon"}, {"days": 2}, "north", {}, {"city": "Lisbon"}]
        assert unasked(executions, witness, "get_weather") == executions[1:]
        assert unasked([{"city": "Lisbon"}], witness, "get_time") == [{"city": "Lisbon"}]
    assert (told.answers, told.calls, told.invalid, len(told.errors)) == (3, 2, 1, 1)
    assert told.prompt == 0  # a scripted model has no tokens


def test_an_execution_in_a_shell_is_found_in_its_command() -> None:
    command = {"command": "cd x && sh lookup.sh step 1"}
    shell = {"type": "function", "function": {"name": "bash", "parameters": {"type": "object"}}}
    call = {"index": 0, "function": {"name": "bash", "arguments": json.dumps(command)}}
    witness = Witness(1)
    witness.server_close()
    body = json.dumps({"tools": [shell]}).encode()
    answer = {"choices": [{"message": {"tool_calls": [call]}, "finish_reason": "tool_calls"}]}
    asked = Asked("/v1/chat/completions", {}, body)
    witness.asked(asked)
    witness.answered(Answered(asked, 200, json.dumps(answer).encode()))
    assert unasked(["step 1", "step 1", "north"], witness, "bash") == ["step 1", "north"]
    witness.waiting.append(asked)
    assert unasked(["step 1"], witness, "bash") == []
    assert [verdict.error for verdict in witness.verdicts()] == [
        "",
        "no end of the answer by the end of the run",
    ]


def test_a_function_without_a_schema_takes_an_object() -> None:
    body = {
        "tools": [{"type": "function", "function": {"name": "now"}}, {"type": "function", "name": "then"}]
    }
    calls = [
        {"index": at, "function": {"name": name, "arguments": text}}
        for at, (name, text) in enumerate([("now", "{}"), ("now", "[]"), ("then", "{"), ("then", '{"x": 1}')])
    ]
    answer = {"choices": [{"message": {"tool_calls": calls}, "finish_reason": "tool_calls"}]}
    sent = Asked("/v1/chat/completions", {}, json.dumps(body).encode())
    judged = judge(Answered(sent, 200, json.dumps(answer).encode())).calls
    assert [call.valid for call in judged] == [True, False, False, True]
