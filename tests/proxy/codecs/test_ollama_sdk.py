"""The official ollama SDK drives /api without a workaround."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import ollama
import pytest

from proxy.conversation.errors import UpstreamUnavailable
from proxy.upstreams.base import UpstreamReasoning
from proxy.upstreams.scripted import Script
from tests.proxy.attempts import Ring
from tests.proxy.codecs.ollama import NO_TLS
from tests.proxy.conftest import Stage
from tests.proxy.requests import CALL, HOPELESS_CALL, SLOPPY_CALL, TOOLS, user


@pytest.fixture
def client(stage: Stage) -> Iterator[ollama.Client]:
    """Closed at the end: a socket that the collector finds fails the test that runs then."""
    with ollama.Client(stage.server.root, verify=NO_TLS) as one:
        yield one


def get_weather(city: str) -> str:
    """Current weather

    Args:
        city: where
    """
    return f"sunny in {city}"


def test_a_whole_answer(client: ollama.Client) -> None:
    answer = client.chat("scripted", [user("hi")])
    assert (answer.message.role, answer.message.content) == ("assistant", "Hello there.")
    assert (answer.model, answer.done, answer.done_reason) == ("scripted", True, "stop")
    assert (answer.prompt_eval_count, answer.eval_count) == (7, 2)
    assert answer.total_duration
    assert answer.total_duration > 0


def test_a_streamed_answer(client: ollama.Client, stage: Stage) -> None:
    stage.playbook.scripts["sdk thinks"] = Script((UpstreamReasoning("So."), "It\u2028", "rains."))
    parts = list(client.chat("scripted:latest", [user("sdk thinks")], stream=True, think=True))
    assert "".join(part.message.thinking or "" for part in parts) == "So."
    assert "".join(part.message.content or "" for part in parts) == "It\u2028rains."
    assert [part.done for part in parts][-1] is True


async def test_the_async_client(stage: Stage) -> None:
    async with ollama.AsyncClient(stage.server.root, verify=NO_TLS) as client:
        parts = [part async for part in await client.chat("scripted", [user("hi")], stream=True)]
        assert "".join(part.message.content or "" for part in parts) == "Hello there."


@pytest.mark.parametrize("script", [CALL, SLOPPY_CALL], ids=["clean", "repaired"])
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_a_tool_loop(client: ollama.Client, stage: Stage, script: str, streamed: bool) -> None:
    """As its documentation has it: a Python function as the tool, and its result under its name."""
    question = f"sdk loop {script} {streamed}"
    stage.playbook.scripts[question] = Script(("I look.\n", script))
    messages: list[Any] = [user(question)]
    said = _turn(client, streamed, messages)
    (call,) = said.tool_calls or ()
    assert (call.function.name, call.function.arguments) == ("get_weather", {"city": "Lisbon"})
    result = get_weather(**call.function.arguments)
    messages += [said, {"role": "tool", "tool_name": call.function.name, "content": result}, user("Well?")]
    assert _turn(client, streamed, messages).content == "Hello there."
    asked = stage.upstream.played[-1].request
    assert [message.role.value for message in asked.messages] == ["user", "assistant", "tool", "user"]
    answer, told = asked.messages[1:3]
    assert (answer.text, answer.calls[0].name, answer.calls[0].arguments) == (
        "I look.\n",
        "get_weather",
        '{"city": "Lisbon"}',
    )
    assert (told.call_id, told.text) == (answer.calls[0].id, "sunny in Lisbon")
    assert told.call_id


def _turn(client: ollama.Client, streamed: bool, messages: list[Any]) -> ollama.Message:
    if not streamed:
        return client.chat("scripted", messages, tools=[get_weather]).message
    content = ""
    calls: list[ollama.Message.ToolCall] = []
    for part in client.chat("scripted", messages, tools=[get_weather], stream=True):
        content += part.message.content or ""
        calls += part.message.tool_calls or ()
    return ollama.Message(role="assistant", content=content, tool_calls=calls)


def test_a_call_is_asked_again(full: Ring) -> None:
    full.attempts.plan("sdk again", HOPELESS_CALL, CALL)
    with ollama.Client(full.server.root, verify=NO_TLS) as client:
        answer = client.chat("scripted", [user("sdk again")], tools=TOOLS)
    (call,) = answer.message.tool_calls or [None]
    assert call is not None
    assert call.function.arguments == {"city": "Lisbon"}
    assert len(full.attempts.asked["sdk again"]) == 2


def test_a_formatted_answer(client: ollama.Client, stage: Stage) -> None:
    stage.playbook.scripts["sdk format"] = Script(('{"city": "Lisbon"}',))
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    options = {"temperature": 0, "num_ctx": 4096, "stop": ["END"]}
    answer = client.chat("scripted", [user("sdk format")], format=schema, options=options, keep_alive="5m")
    assert answer.message.content == '{"city": "Lisbon"}'
    asked = stage.upstream.played[-1].request
    assert (asked.answer_schema, asked.sampling.temperature, asked.sampling.stop) == (schema, 0, ("END",))


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_a_prompt(client: ollama.Client, stage: Stage, streamed: bool) -> None:
    if streamed:
        parts = list(client.generate("scripted", "hi", system="Be brief.", stream=True))
        assert "".join(part.response or "" for part in parts) == "Hello there."
    else:
        assert client.generate("scripted", "hi", system="Be brief.").response == "Hello there."
    assert [message.text for message in stage.upstream.played[-1].request.messages] == ["Be brief.", "hi"]


def test_a_model_is_loaded(client: ollama.Client) -> None:
    assert client.generate("scripted").done_reason == "load"
    assert client.chat("scripted").done_reason == "load"


def test_what_is_known_of_models(client: ollama.Client) -> None:
    (listed,) = client.list().models
    (loaded,) = client.ps().models
    assert listed.model == loaded.model == "scripted:latest"
    shown = client.show("scripted:latest")
    assert shown.capabilities == ["completion", "tools"]
    assert shown.modelinfo is not None
    assert shown.modelinfo["fortieth.context_length"] == 4096


def test_an_error_is_raised_with_its_words(client: ollama.Client, stage: Stage) -> None:
    for ask in (lambda: client.chat("else", [user("hi")]), lambda: client.embed("scripted", "hi")):
        with pytest.raises(ollama.ResponseError) as caught:
            ask()
        assert caught.value.status_code == 404
    assert caught.value.error.startswith("not served here")


def test_an_error_in_a_stream_is_raised(client: ollama.Client, stage: Stage) -> None:
    stage.playbook.scripts["sdk dies"] = Script(("It ", UpstreamUnavailable("it died")))
    with pytest.raises(ollama.ResponseError, match="it died"):
        list(client.chat("scripted", [user("sdk dies")], stream=True))
