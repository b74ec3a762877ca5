"""The official anthropic SDK drives the server without a workaround."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest
from anthropic import beta_tool
from anthropic.types import TextBlock, ThinkingBlock, ToolUseBlock

from proxy.conversation.errors import ContextTooLong, Overloaded, UpstreamUnavailable
from proxy.conversation.request import ChatRequest
from proxy.guard.policy import GuardPolicy
from proxy.upstreams.base import UpstreamReasoning
from proxy.upstreams.capabilities import Capabilities
from proxy.upstreams.scripted import Script, ScriptedUpstream
from tests.proxy.attempts import Attempts, Ring, ring
from tests.proxy.codecs.messages import TOOL
from tests.proxy.conftest import Stage
from tests.proxy.live import LiveServer, serving
from tests.proxy.requests import CALL, HOPELESS_CALL, SLOPPY_CALL, user
from tests.proxy.tokenizer import ByteTokenizer

WEATHER_TOOL: Any = TOOL
ASKED: dict[str, Any] = {"model": "scripted", "max_tokens": 100}


def client(server: LiveServer) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=server.root, api_key="none", max_retries=0)


@pytest.fixture(scope="module")
def sdk(stage: Stage) -> Iterator[anthropic.Anthropic]:
    with client(stage.server) as one:
        yield one


def test_a_whole_answer(sdk: anthropic.Anthropic) -> None:
    answer = sdk.messages.create(**ASKED, messages=[user("hi")], system="Be brief.")
    assert (answer.type, answer.role, answer.model) == ("message", "assistant", "scripted")
    assert answer.id.startswith("msg_")
    (block,) = answer.content
    assert isinstance(block, TextBlock)
    assert block.text == "Hello there."
    assert (answer.stop_reason, answer.stop_sequence) == ("end_turn", None)
    usage = answer.usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens) == (7, 0, 2)
    assert answer._request_id is not None


def test_the_stream_helper(stage: Stage, sdk: anthropic.Anthropic) -> None:
    stage.playbook.scripts["helper"] = Script(
        (UpstreamReasoning("So."), "I ", "look.", SLOPPY_CALL), started=(7, 3)
    )
    with sdk.messages.stream(
        **ASKED,
        messages=[user("helper")],
        tools=[WEATHER_TOOL],
        thinking={"type": "enabled", "budget_tokens": 1024},
    ) as stream:
        kinds = [event.type for event in stream]
        message = stream.get_final_message()
    thinking, text, call = message.content
    assert isinstance(thinking, ThinkingBlock)
    assert (thinking.thinking, bool(thinking.signature)) == ("So.", True)
    assert isinstance(text, TextBlock)
    assert text.text == "I look."
    assert isinstance(call, ToolUseBlock)
    assert (call.name, call.input) == ("get_weather", {"city": "Lisbon"})
    assert message.stop_reason == "tool_use"
    assert kinds[0] == "message_start"
    assert kinds[-1] == "message_stop"
    assert {"thinking", "signature", "text", "input_json", "message_delta"} <= set(kinds)


def test_raw_events(sdk: anthropic.Anthropic) -> None:
    kinds = [event.type for event in sdk.messages.create(**ASKED, messages=[user("hi")], stream=True)]
    assert kinds == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


@pytest.fixture(scope="module")
def reasking() -> Iterator[Ring]:
    with ring(GuardPolicy(drift=None)) as stage:
        yield stage


@pytest.mark.parametrize("stream", [False, True])
def test_the_tool_runner_finishes_behind_malformed_calls(
    reasking: Ring, stream: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """It wants a thread at first, is told that there is none, and goes on. The model's first call cannot be
    repaired and is asked again, its second one is repaired.
    """
    cities: list[str] = []

    @beta_tool
    def get_weather(city: str) -> str:
        """Current weather.

        Args:
            city: Its name.
        """
        cities.append(city)
        return f"In {city} it rains."

    plan = (HOPELESS_CALL, SLOPPY_CALL, CALL.replace("Lisbon", "Porto"), "It rains in both.")
    key = reasking.attempts.plan(f"Where does it rain? {stream}", *plan)
    with client(reasking.server) as sdk, caplog.at_level("INFO", "proxy.http.app"):
        asked: Any = {**ASKED, "messages": [user(key)], "tools": [get_weather]}
        if stream:
            *_, last = [
                one.get_final_message() for one in sdk.beta.messages.tool_runner(**asked, stream=True)
            ]
        else:
            last = sdk.beta.messages.tool_runner(**asked).until_done()
    statuses = [line.split()[2] for line in caplog.messages if line.startswith("POST /v1/messages ")]
    # the first one asks for a thread; the last one may not have been logged yet
    assert statuses[:3] == ["400", "200", "200"]
    assert cities == ["Lisbon", "Porto"]
    assert last.content[0].text == "It rains in both."
    final = reasking.attempts.asked[key][-1]
    assert [one.text for one in final.messages if one.role == "tool"] == [
        "In Lisbon it rains.",
        "In Porto it rains.",
    ]


def test_a_loop_by_hand_with_thinking_sent_back(stage: Stage, sdk: anthropic.Anthropic) -> None:
    stage.playbook.scripts["by hand"] = Script((UpstreamReasoning("So."), CALL))
    asked: dict[str, Any] = {
        **ASKED,
        "tools": [WEATHER_TOOL],
        "thinking": {"type": "enabled", "budget_tokens": 1024},
    }
    first = sdk.messages.create(**asked, messages=[user("by hand")])
    (call,) = [block for block in first.content if isinstance(block, ToolUseBlock)]
    results: Any = [{"type": "tool_result", "tool_use_id": call.id, "content": "rain", "is_error": True}]
    answered: Any = {"role": "assistant", "content": first.content}
    sdk.messages.create(**asked, messages=[user("by hand"), answered, {"role": "user", "content": results}])
    _, answer, result = stage.upstream.played[-1].request.messages
    assert answer.reasoning == "So."
    assert [(one.id, one.name, json.loads(one.arguments)) for one in answer.calls] == [
        (call.id, "get_weather", {"city": "Lisbon"})
    ]
    assert result.result is not None
    assert (result.call_id, result.text, result.result.is_error) == (call.id, "rain", True)


def test_parsed_answers(stage: Stage, sdk: anthropic.Anthropic) -> None:
    stage.playbook.scripts["as json"] = Script(('{"city": ', '"Lisbon"}'))
    schema: Any = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    raw = sdk.messages.with_raw_response.create(
        **ASKED,
        messages=[user("as json")],
        output_config={"format": {"type": "json_schema", "schema": schema}},
    )
    assert raw.headers["x-fortieth-answer"] == "valid"
    assert json.loads(raw.parse().content[0].text) == {"city": "Lisbon"}


def test_models(sdk: anthropic.Anthropic) -> None:
    (model,) = list(sdk.models.list())
    assert (model.id, model.max_input_tokens) == ("scripted", 4096)
    assert sdk.models.retrieve("scripted") == model
    with pytest.raises(anthropic.NotFoundError):
        sdk.models.retrieve("else")


def _counted(request: ChatRequest) -> tuple[int, ...]:
    return (0,) * (10 * len(request.messages) + len(request.tools))


def test_count_tokens(sdk: anthropic.Anthropic) -> None:
    upstream = ScriptedUpstream(Attempts(), capabilities=Capabilities(tokenizer=ByteTokenizer(_counted)))
    with serving(upstream) as server, client(server) as counting:
        counted = counting.messages.count_tokens(
            model="scripted", messages=[user("hi")], system="Be brief.", tools=[WEATHER_TOOL]
        )
    assert counted.input_tokens == 21
    with pytest.raises(anthropic.NotFoundError, match="no tokens can be counted for scripted"):
        sdk.messages.count_tokens(model="scripted", messages=[user("hi")])


@pytest.mark.parametrize(
    ("refusal", "expected", "words"),
    [
        (ContextTooLong(5000, 4096), anthropic.BadRequestError, "prompt is too long: 5000 tokens > 4095 max"),
        (Overloaded("the queue is full"), anthropic.InternalServerError, "the queue is full"),
        (UpstreamUnavailable("it is gone"), anthropic.InternalServerError, "it is gone"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_errors(
    stage: Stage,
    sdk: anthropic.Anthropic,
    refusal: Exception,
    expected: type[anthropic.APIStatusError],
    words: str,
    stream: bool,
) -> None:
    stage.playbook.scripts[words] = Script(refusal=refusal)
    with pytest.raises(expected, match=words) as raised:
        sdk.messages.create(**ASKED, messages=[user(words)], stream=stream)
    assert raised.value.request_id is not None


def test_an_error_in_the_stream_is_raised(stage: Stage, sdk: anthropic.Anthropic) -> None:
    stage.playbook.scripts["dies"] = Script(("It ", UpstreamUnavailable("it died")))
    with pytest.raises(anthropic.APIStatusError, match="it died"):
        list(sdk.messages.create(**ASKED, messages=[user("dies")], stream=True))


def test_many_at_once(stage: Stage) -> None:
    async def all_of_them() -> list[str]:
        async with anthropic.AsyncAnthropic(
            base_url=stage.server.root, auth_token="none", max_retries=0
        ) as sdk:

            async def one(number: int) -> str:
                async with sdk.messages.stream(**ASKED, messages=[user(f"hi {number}")]) as stream:
                    return "".join([text async for text in stream.text_stream])

            return await asyncio.gather(*map(one, range(8)))

    assert asyncio.run(all_of_them()) == ["Hello there."] * 8
