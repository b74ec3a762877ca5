"""A codec is all there is to a dialect: one that the product has never heard of is served beside OpenAI's by
the same app, through one argument.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from proxy.codecs.registry import CODECS
from proxy.conversation.errors import BadTool, Overloaded, UpstreamUnavailable
from proxy.conversation.request import ChatRequest
from proxy.guard.policy import GuardPolicy
from proxy.http.routes import Limits
from proxy.upstreams.base import UpstreamReasoning
from proxy.upstreams.capabilities import Capabilities
from proxy.upstreams.scripted import Script, ScriptedUpstream, Stall
from tests.proxy.codecs.plain import Plain
from tests.proxy.conftest import Stage
from tests.proxy.live import Playbook, serving
from tests.proxy.requests import CALL, SLOPPY_CALL, WEATHER, body
from tests.proxy.tokenizer import ByteTokenizer

CAN = {"get_weather": WEATHER["function"]["parameters"]}
TICKET = {"x-request-id": "ticket-7"}


@pytest.fixture(scope="module")
def both() -> Iterator[Stage]:
    playbook = Playbook(Script(("It ", "rains.")))
    upstream = ScriptedUpstream(playbook)
    limits = Limits(max_body_bytes=100_000, keep_alive_s=0.05)
    policy = GuardPolicy(drift=None)
    with serving(upstream, codecs=(*CODECS, Plain()), limits=limits, policy=policy) as server:
        yield Stage(server, playbook, upstream)


def say(both: Stage, words: str, script: Script | None = None, **fields: Any) -> httpx.Response:
    if script is not None:
        both.playbook.scripts[words] = script
    return httpx.post(f"{both.server.root}/plain/turn", json={"say": words, **fields}, headers=TICKET)


def lines(response: httpx.Response) -> list[dict[str, Any]]:
    """Of a stream, without those that only keep it alive."""
    told = [json.loads(one) for one in response.text.splitlines()]
    return [one for one in told if one != {"wait": True}]


def test_a_whole_answer(both: Stage) -> None:
    response = say(both, "How is the weather?", until="END")
    assert response.status_code == 200
    told = response.json()
    assert told.pop("turn").startswith("turn-")
    assert told == {"text": "It rains.", "do": [], "end": "stop", "met": None, "spent": [7, 2]}
    assert response.headers["plain-ticket"] == response.headers["x-request-id"] == "ticket-7"
    assert response.headers["x-fortieth-verdict"] == "none"
    asked = both.upstream.played[-1].request
    assert [message.text for message in asked.messages] == ["How is the weather?"]
    assert asked.sampling.stop == ("END",)


def test_what_only_the_dialect_knows_comes_back_to_it(both: Stage) -> None:
    assert say(both, "LOUDER").json()["text"] == "IT RAINS."
    assert [one["text"] for one in lines(say(both, "LOUDER", live=True)) if "text" in one] == [
        "IT ",
        "RAINS.",
    ]


@pytest.mark.parametrize("live", [False, True], ids=["whole", "stream"])
def test_calls_are_guarded_and_have_its_ids(both: Stage, live: bool) -> None:
    script = Script(("I look.\n", SLOPPY_CALL))
    response = say(both, f"call {live}", script, can=CAN, live=live)
    if live:
        *told, end = lines(response)
        (call,) = [one["do"] for one in told if "do" in one]
        verdict = end
    else:
        (call,), verdict = response.json()["do"], dict(response.headers)
    assert call.pop("id").startswith("do-")
    assert call == {"what": "get_weather", "with": {"city": "Lisbon"}}
    assert (verdict["x-fortieth-verdict"], verdict["x-fortieth-fixes"]) == ("repaired", "1")


def test_a_stream_has_its_form(both: Stage) -> None:
    script = Script((UpstreamReasoning("So."), "It rains. EN", "D of it"), started=(120, 100))
    response = say(both, "live", script, until="END", live=True)
    assert response.headers["content-type"] == "application/x-plain-lines"
    assert response.headers["plain-ticket"] == "ticket-7"
    first, *told = lines(response)
    assert first["turn"].startswith("turn-")
    assert told == [
        {"read": 120, "known": 100},
        {"text": "It rains. "},
        {
            "end": "stop",
            "met": "END",
            "spent": [7, 3],
            "x-fortieth-verdict": "none",
            "x-fortieth-fixes": "0",
            "x-fortieth-attempts": "1",
            "x-fortieth-session": response.headers["x-fortieth-session"],
        },
    ]


def test_a_silent_stream_is_kept_alive(both: Stage) -> None:
    response = say(both, "slow", Script((Stall(0.3), "x")), live=True)
    assert response.text.count('{"wait": true}\n') >= 2
    assert [one for one in lines(response) if "text" in one] == [{"text": "x"}]


@pytest.mark.parametrize("live", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(
    ("fields", "script", "status", "told"),
    [
        ({"can": 3}, Script(), 422, ("unclear", "can", "can: expected an object, got number 3")),
        (
            {"can": {f"f{i}": {} for i in range(1025)}},
            Script(),
            422,
            ("unclear", "can", "tools: "),
        ),
        ({"by": "else"}, Script(), 410, ("nobody", "model", "The model `else` does not exist")),
        ({}, Script(refusal=Overloaded("full", retry_after_s=2.2)), 529, ("busy", None, "full")),
        ({}, Script(refusal=ZeroDivisionError("x")), 550, ("broken", None, "the server failed")),
    ],
    ids=["field", "tools", "model", "busy", "defect"],
)
def test_an_error_before_the_stream(
    both: Stage,
    fields: dict[str, Any],
    script: Script,
    status: int,
    told: tuple[str, str | None, str],
    live: bool,
) -> None:
    response = say(both, f"error {told}", script, live=live, **fields)
    assert response.status_code == status
    error = response.json()
    assert (error["trouble"], error["about"], error["ticket"]) == (*told[:2], "ticket-7")
    assert error["told"].startswith(told[2])
    assert response.headers["plain-trouble"] == "yes"
    assert response.headers.get("retry-after") == ("3" if status == 529 else None)


def test_each_dialect_knows_where_a_tool_stands() -> None:
    """No JSON that is read here makes an unusable schema, so that the error is made by hand."""
    error, reason = BadTool("f", "nested"), "not a usable JSON Schema for tool 'f': nested"
    plain, (chat, *_) = Plain(), CODECS
    asked = plain.decode(b'{"say": "x", "can": {"f": {}}}')
    assert json.loads(plain.encode_error(error, asked, "").body)["about"] == "can.f"
    tools = [WEATHER, {"type": "function", "function": {"name": "f"}}]
    told = chat.encode_error(error, chat.decode(json.dumps(body(tools=tools)).encode()), "")
    assert told.status == 400
    assert json.loads(told.body)["error"] == {
        "message": f"tools[1].function.parameters: {reason}",
        "type": "invalid_request_error",
        "param": "tools[1].function.parameters",
        "code": "invalid_function_parameters",
    }


def test_what_the_dialect_knows_helps_to_tell_an_error(both: Stage) -> None:
    response = say(both, "TOO MANY", Script(refusal=Overloaded("the queue is full")))
    assert response.json()["told"] == "THE QUEUE IS FULL"


def test_bodies_that_cannot_be_read(both: Stage) -> None:
    url = f"{both.server.root}/plain/turn"
    for content, status in ((b"{", 422), (b'"x"', 422), (b" " * 200_000, 550)):
        response = httpx.post(url, content=content, headers=TICKET)
        assert response.status_code == status
        assert response.json()["ticket"] == "ticket-7"
    assert response.headers["connection"] == "close"


def test_an_error_in_the_stream(both: Stage) -> None:
    script = Script(("It ", UpstreamUnavailable("it died")))
    response = say(both, "dies", script, live=True)
    assert response.status_code == 200
    *_, text, last = lines(response)
    assert text == {"text": "It "}
    assert last == {"trouble": "broken", "about": None, "told": "it died", "ticket": "ticket-7"}
    assert say(both, "dies").status_code == 550


def test_models(both: Stage) -> None:
    at = f"{both.server.root}/plain/models"
    assert httpx.get(at).json() == {"here": ["scripted"]}
    assert httpx.get(f"{at}/scripted").json() == {"name": "scripted", "room": 4096}
    missing = httpx.get(f"{at}/else", headers=TICKET)
    assert (missing.status_code, missing.json()["trouble"]) == (410, "nobody")


def test_tokens_are_counted_through_the_codec() -> None:
    def count(request: ChatRequest) -> tuple[int, ...]:
        return (0,) * (len(request.messages[-1].text) + 1000 * len(request.session.id))

    can = Capabilities(tokenizer=ByteTokenizer(count))
    upstream = ScriptedUpstream(Playbook(Script(("x",))), capabilities=can)
    with serving(upstream, codecs=(*CODECS, Plain())) as server:
        asked = {"x-session-id": "s1"}
        url = f"{server.root}/plain/length"
        assert httpx.post(url, json={"say": "words"}, headers=asked).json() == {"long": 2005}
        wrong = httpx.post(url, json={"say": "words", "by": "else"}, headers=TICKET)
        assert (wrong.status_code, wrong.json()["trouble"]) == (410, "nobody")
        assert httpx.post(url, json={}).status_code == 422
        chat = httpx.post(f"{server.base_url}/chat/completions/input_tokens", json=body("hi"), headers=asked)
        assert chat.json() == {"object": "chat.completion.input_tokens", "input_tokens": 2002}


def test_an_upstream_that_cannot_count_says_so(both: Stage) -> None:
    response = httpx.post(f"{both.server.root}/plain/length", json={"say": "WORDS"})
    assert (response.status_code, response.json()["trouble"]) == (550, "broken")
    assert response.json()["told"] == "NO TOKENS CAN BE COUNTED FOR SCRIPTED: ITS UPSTREAM DOES NOT TELL THEM"


def test_a_shared_path_is_the_claimants(both: Stage) -> None:
    at = f"{both.server.base_url}/models"
    assert httpx.get(at, headers={"plain-speech": "yes"}).json() == {"here": ["scripted"]}
    assert httpx.get(at).json()["object"] == "list"
    assert httpx.post(at, headers={"plain-speech": "yes"} | TICKET).json()["ticket"] == "ticket-7"


def test_the_other_dialect_is_as_it_was(both: Stage) -> None:
    answer = both.server.post(body(tools=[WEATHER])).json()
    assert answer["id"].startswith("chatcmpl-")
    both.playbook.scripts["call"] = Script((CALL,))
    (call,) = both.server.post(body("call", tools=[WEATHER])).json()["choices"][0]["message"]["tool_calls"]
    assert call["id"].startswith("call_")
    assert both.server.post(b"{").json()["error"]["code"] == "invalid_json"
    assert httpx.get(f"{both.server.base_url}/models").json()["object"] == "list"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/plain/nothing", 404, "not_found"),
        ("GET", "/plain/turn", 405, "method_not_allowed"),
        ("POST", "/v1/fortieth/sessions/x/pin", 404, "not_found"),
    ],
)
def test_what_belongs_to_no_dialect_is_told_in_the_first(
    both: Stage, method: str, path: str, status: int, code: str
) -> None:
    response = httpx.request(method, both.server.root + path)
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)


def test_a_locked_server_says_so_in_each() -> None:
    upstream = ScriptedUpstream(Playbook(Script(("x",))))
    with serving(upstream, codecs=(*CODECS, Plain()), api_key="key") as server:
        response = httpx.post(f"{server.root}/plain/turn", json={"say": "x"})
        assert (response.status_code, response.json()["trouble"]) == (402, "stranger")
        assert httpx.get(f"{server.root}/plain/models").status_code == 402
        assert server.post(body()).json()["error"]["type"] == "authentication_error"
