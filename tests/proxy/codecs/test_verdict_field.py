"""The verdict reaches whoever uses an SDK, in the field `fortieth`: of whole answers and of streams."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import openai
import pytest

from proxy.upstreams.scripted import Script
from tests.proxy.codecs.messages import TOOL
from tests.proxy.codecs.ollama import NO_TLS
from tests.proxy.conftest import Stage
from tests.proxy.requests import CALL, HOPELESS_CALL, SLOPPY_CALL, TOOLS, user

FUNCTION: Any = {"type": "function", **TOOLS[0]["function"]}
ANTHROPIC_TOOL: Any = TOOL
PLAYS = {"clean": CALL, "repaired": SLOPPY_CALL, "failed": HOPELESS_CALL, "none": "It rains."}
SESSION = {"x-session-id": "agent-7"}


@pytest.fixture(params=PLAYS)
def verdict(stage: Stage, request: pytest.FixtureRequest) -> str:
    """The verdict that is due where a user asks for it by its name."""
    name = str(request.param)
    stage.playbook.scripts[f"verdict {name}"] = Script((PLAYS[name],))
    return name


def due(verdict: str) -> dict[str, Any]:
    more = {"give_up": "text"} if verdict == "failed" else {}
    return {
        "verdict": verdict,
        "fixes": int(verdict == "repaired"),
        "attempts": 1,
        "session": "agent-7",
        **more,
    }


@pytest.fixture(scope="module")
def client(stage: Stage) -> Iterator[openai.OpenAI]:
    """Closed at the end: a socket that the collector finds fails the test that runs then."""
    with stage.server.client() as one:
        yield one


def own(answer: Any) -> Any:
    """What an SDK of pydantic models keeps of a field that it does not know."""
    return (answer.model_extra or {}).get("fortieth")


def test_openai_chat(client: openai.OpenAI, verdict: str) -> None:
    asked: Any = {
        "model": "scripted",
        "messages": [user(f"verdict {verdict}")],
        "tools": TOOLS,
        "extra_headers": SESSION,
    }
    chat = client.chat.completions
    assert own(chat.create(**asked)) == due(verdict)
    for usage in (False, True):
        options: Any = {"stream_options": {"include_usage": True}} if usage else {}
        chunks = list(chat.create(**asked, stream=True, **options))
        assert [own(chunk) for chunk in chunks] == [*[None] * (len(chunks) - 1), due(verdict)]
        assert (chunks[-1].usage is not None) is usage


def test_openai_chat_by_the_helper_that_adds_up(client: openai.OpenAI) -> None:
    """It takes strict tools only, so that this one declares none."""
    chat = client.chat.completions
    asked: Any = {"model": "scripted", "messages": [user("hi")], "extra_headers": SESSION}
    with chat.stream(**asked) as stream:
        seen = [own(event.chunk) for event in stream if event.type == "chunk"]
        assert stream.get_final_completion().choices[0].finish_reason == "stop"
    assert seen[-1] == due("none")


def test_openai_several_answers(stage: Stage, client: openai.OpenAI) -> None:
    stage.playbook.scripts["verdict of two"] = Script((SLOPPY_CALL,))
    asked: Any = {"model": "scripted", "messages": [user("verdict of two")], "tools": TOOLS, "n": 2}
    chat = client.chat.completions
    assert own(chat.create(**asked))["fixes"] == 2, "of both together"
    chunks = list(chat.create(**asked, stream=True))
    told = [(chunk.choices[0].index, own(chunk)["fixes"]) for chunk in chunks if own(chunk)]
    assert sorted(told) == [(0, 1), (1, 1)], "each choice its own"


def test_openai_responses(client: openai.OpenAI, verdict: str) -> None:
    asked: Any = {
        "model": "scripted",
        "input": f"verdict {verdict}",
        "tools": [FUNCTION],
        "extra_headers": SESSION,
    }
    responses = client.responses
    assert own(responses.create(**asked)) == due(verdict)
    with responses.stream(**asked) as stream:
        last = list(stream)[-1]
        assert last.type == "response.completed"
        assert own(last.response) == due(verdict)
        assert own(stream.get_final_response()) == due(verdict)


@pytest.fixture(scope="module")
def sdk(stage: Stage) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=stage.server.root, api_key="none", max_retries=0) as one:
        yield one


def test_anthropic_messages(sdk: anthropic.Anthropic, verdict: str) -> None:
    asked: Any = {
        "model": "scripted",
        "max_tokens": 100,
        "messages": [user(f"verdict {verdict}")],
        "tools": [ANTHROPIC_TOOL],
        "extra_headers": SESSION,
    }
    assert own(sdk.messages.create(**asked)) == due(verdict)
    told = [
        own(event) for event in sdk.messages.create(**asked, stream=True) if event.type == "message_delta"
    ]
    assert told == [due(verdict)]
    with sdk.messages.stream(**asked) as stream:  # the helper that adds up
        seen = [own(event) for event in stream if event.type == "message_delta"]
        assert stream.get_final_message().stop_reason
    assert seen == [due(verdict)]


def test_ollama_whose_sdk_keeps_no_unknown_field(stage: Stage, verdict: str) -> None:
    asked = {"model": "scripted", "messages": [user(f"verdict {verdict}")], "tools": TOOLS}
    for stream in (False, True):
        sent = {**asked, "stream": stream}
        url = stage.server.root + "/api/chat"
        response = httpx.post(url, json=sent, headers=SESSION, timeout=60, verify=NO_TLS)
        *_, last = response.text.splitlines()
        assert httpx.Response(200, text=last).json()["fortieth"] == due(verdict)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_the_session_is_a_header_too(stage: Stage, stream: bool) -> None:
    for named, told in (("agent-7", "agent-7"), ("ä\n" * 9, r"\xe4 " * 8 + r"\xe4"), (None, None)):
        body = {"messages": [user("hi")], "stream": stream, "prompt_cache_key": named}
        header = stage.server.post(body).headers["x-fortieth-session"]
        assert header == told if told else len(header) == 32
