"""The official openai SDK drives /v1/responses without a workaround."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from proxy.conversation.errors import UpstreamUnavailable
from proxy.upstreams.base import UpstreamReasoning
from proxy.upstreams.scripted import Script
from tests.proxy.attempts import Ring
from tests.proxy.codecs.responses import FLAT_TOOLS
from tests.proxy.conftest import Stage
from tests.proxy.requests import CALL, HOPELESS_CALL, SLOPPY_CALL


class Forecast(BaseModel):
    city: str
    days: int


@pytest.fixture
def client(stage: Stage) -> Iterator[openai.OpenAI]:
    """Closed at the end: a socket that the collector finds fails the test that runs then."""
    with stage.server.client() as one:
        yield one


def test_a_whole_answer(client: openai.OpenAI) -> None:
    response = client.responses.create(model="scripted", input="hi")
    assert response.id.startswith("resp_")
    assert (response.object, response.status, response.model) == ("response", "completed", "scripted")
    assert response.output_text == "Hello there."
    assert response.usage is not None
    assert (response.usage.input_tokens, response.usage.output_tokens, response.usage.total_tokens) == (
        7,
        2,
        9,
    )


def test_a_streamed_answer(client: openai.OpenAI, stage: Stage) -> None:
    stage.playbook.scripts["think"] = Script((UpstreamReasoning("So."), "It ", "rains."))
    with client.responses.stream(model="scripted", input="think") as stream:
        told = list(stream)
        final = stream.get_final_response()
    texts = [event for event in told if event.type == "response.output_text.delta"]
    assert [event.delta for event in texts] == ["It ", "rains."]
    assert texts[-1].snapshot == "It rains." == final.output_text
    assert [item.type for item in final.output] == ["reasoning", "message"]


async def test_the_async_client(stage: Stage) -> None:
    client = stage.server.async_client()
    stream = await client.responses.create(model="scripted", input="hi", stream=True)
    assert [event.type async for event in stream][-1] == "response.completed"
    await client.close()


@pytest.mark.parametrize("script", [CALL, SLOPPY_CALL], ids=["clean", "repaired"])
@pytest.mark.parametrize("kept", [False, True], ids=["sent_again", "previous_response_id"])
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_a_tool_loop(client: openai.OpenAI, stage: Stage, script: str, kept: bool, streamed: bool) -> None:
    """As the documentation has it: with the whole conversation sent again, and with what is new alone."""
    question = f"loop {script} {kept} {streamed}"
    stage.playbook.scripts[question] = Script(("I look.\n", script))
    sent: list[Any] = [{"role": "user", "content": question}]
    first = _turn(client, streamed, input=sent)
    said, call = first.output
    assert (said.type, call.type) == ("message", "function_call")
    assert json.loads(call.arguments) == {"city": "Lisbon"}
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    final = {"role": "user", "content": "Well?"}
    if kept:
        last = _turn(client, streamed, input=[result, final], previous_response_id=first.id)
    else:
        last = _turn(client, streamed, input=[*sent, *first.output, result, final])
    assert last.output_text == "Hello there."
    asked = stage.upstream.played[-1].request
    assert [message.role.value for message in asked.messages] == ["user", "assistant", "tool", "user"]
    answer, told = asked.messages[1:3]
    assert (answer.text, answer.calls[0].id) == ("I look.\n", call.call_id)
    assert (told.call_id, told.text) == (call.call_id, "sunny")


def _turn(client: openai.OpenAI, streamed: bool, **fields: Any) -> Any:
    if not streamed:
        return client.responses.create(model="scripted", tools=FLAT_TOOLS, **fields)
    with client.responses.stream(model="scripted", tools=FLAT_TOOLS, **fields) as stream:
        return stream.get_final_response()


def test_a_parsed_answer(client: openai.OpenAI, stage: Stage) -> None:
    stage.playbook.scripts["parse"] = Script(('{"city": "Lisbon", "days": 2}',))
    whole = client.responses.parse(model="scripted", input="parse", text_format=Forecast)
    assert whole.output_parsed == Forecast(city="Lisbon", days=2)
    with client.responses.stream(model="scripted", input="parse", text_format=Forecast) as stream:
        assert stream.get_final_response().output_parsed == whole.output_parsed
    schema = stage.upstream.played[-1].request.answer_schema
    assert schema is not None
    assert set(schema["properties"]) == {"city", "days"}


def test_a_parsed_call(client: openai.OpenAI, stage: Stage) -> None:
    stage.playbook.scripts["parse call"] = Script((SLOPPY_CALL,))
    tools: Any = [{**FLAT_TOOLS[0], "strict": True}]
    response = client.responses.parse(model="scripted", input="parse call", tools=tools)
    (call,) = response.output
    assert call.type == "function_call"
    assert call.parsed_arguments == {"city": "Lisbon"}


def test_a_call_is_asked_again(full: Ring) -> None:
    full.attempts.plan("again", HOPELESS_CALL, CALL)
    with full.server.client() as client:
        raw = client.responses.with_raw_response.create(model="scripted", input="again", tools=FLAT_TOOLS)
    (call,) = raw.parse().output
    assert call.type == "function_call"
    assert call.arguments == '{"city": "Lisbon"}'
    assert raw.headers["x-fortieth-verdict"] == "reasked"


def test_logprobs(client: openai.OpenAI, stage: Stage) -> None:
    response = client.responses.create(
        model="scripted", input="hi", include=["message.output_text.logprobs"], top_logprobs=2
    )
    assert response.output_text == "Hello there."
    assert stage.upstream.played[-1].request.sampling.logprobs == 2


def test_a_stored_response(client: openai.OpenAI) -> None:
    response = client.responses.create(model="scripted", input="hi", metadata={"run": "7"})
    assert client.responses.retrieve(response.id).to_dict() == response.to_dict()
    with pytest.raises(openai.BadRequestError, match="Cannot cancel a synchronous response"):
        client.responses.cancel(response.id)
    client.responses.delete(response.id)
    for lost in (client.responses.retrieve, client.responses.cancel, client.responses.delete):
        with pytest.raises(openai.NotFoundError, match=response.id):
            lost(response.id)


def test_a_response_that_must_not_be_stored(client: openai.OpenAI) -> None:
    response = client.responses.create(model="scripted", input="hi", store=False)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(response.id)
    with pytest.raises(openai.BadRequestError, match="unless it was asked for with store: false"):
        client.responses.create(model="scripted", input="Well?", previous_response_id=response.id)


def test_an_item_is_referred_to(client: openai.OpenAI, stage: Stage) -> None:
    response = client.responses.create(model="scripted", input="hi")
    sent: Any = [{"role": "user", "content": "hi"}, {"type": "item_reference", "id": response.output[0].id}]
    last = client.responses.create(model="scripted", input=[*sent, {"role": "user", "content": "Well?"}])
    said = [message.text for message in stage.upstream.played[-1].request.messages]
    assert said == ["hi", "Hello there.", "Well?"]
    # what was referred to is a part of what is stored
    client.responses.create(model="scripted", input="And?", previous_response_id=last.id)
    said = [message.text for message in stage.upstream.played[-1].request.messages]
    assert said == ["hi", "Hello there.", "Well?", "Hello there.", "And?"]


def test_a_stream_that_fails_raises(client: openai.OpenAI, stage: Stage) -> None:
    stage.playbook.scripts["dies"] = Script(("It ", UpstreamUnavailable("it died")))
    stream = client.responses.create(model="scripted", input="dies", stream=True)
    with pytest.raises(openai.APIError, match="it died"):
        list(stream)
