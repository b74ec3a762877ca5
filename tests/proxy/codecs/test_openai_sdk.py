"""The official openai SDK drives the server without a workaround."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import openai
import pytest

from proxy.conversation.errors import BadRequest, ContextTooLong, Overloaded, UpstreamUnavailable
from proxy.upstreams.scripted import Script, Stall
from tests.proxy.attempts import parted
from tests.proxy.conftest import Stage
from tests.proxy.requests import CALL, HOPELESS_CALL, SLOPPY_CALL, TOOLS, user


def test_a_whole_answer(stage: Stage) -> None:
    answer = stage.server.client().chat.completions.create(model="scripted", messages=[user("hi")])
    assert answer.id.startswith("chatcmpl-")
    assert answer.object == "chat.completion"
    assert answer.model == "scripted"
    choice = answer.choices[0]
    assert (choice.index, choice.finish_reason) == (0, "stop")
    assert choice.message.role == "assistant"
    assert choice.message.content == "Hello there."
    assert choice.message.tool_calls is None
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (
        7,
        2,
        9,
    )


def test_a_streamed_answer(stage: Stage) -> None:
    stream = stage.server.client().chat.completions.create(
        model="scripted", messages=[user("hi")], stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "Hello there."
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 9
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_no_usage_chunk_unless_asked_for(stage: Stage) -> None:
    stream = stage.server.client().chat.completions.create(
        model="scripted", messages=[user("hi")], stream=True
    )
    assert all(chunk.choices and chunk.usage is None for chunk in stream)


def loop(stage: Stage, question: str) -> str:
    """One turn with a call, its result, and the final text, as every agent does it."""
    client = stage.server.client()
    messages: list[Any] = [user(question)]
    first = client.chat.completions.create(model="scripted", messages=messages, tools=TOOLS)
    assert first.choices[0].finish_reason == "tool_calls"
    call = (first.choices[0].message.tool_calls or [])[0]
    assert call.type == "function"
    assert json.loads(call.function.arguments) == {"city": "Lisbon"}
    assert call.id.startswith("call_")
    messages.append(first.choices[0].message)
    messages.append({"role": "tool", "tool_call_id": call.id, "content": "sunny"})
    messages.append(user(question + " final"))
    return (
        client.chat.completions.create(model="scripted", messages=messages, tools=TOOLS)
        .choices[0]
        .message.content
        or ""
    )


def test_a_tool_loop(stage: Stage) -> None:
    stage.playbook.scripts["weather?"] = Script((CALL,))
    stage.playbook.scripts["weather? final"] = Script(("It is ", "sunny."))
    assert loop(stage, "weather?") == "It is sunny."


def test_twenty_clients_at_once(stage: Stage) -> None:
    async def one(client: openai.AsyncOpenAI, i: int) -> None:
        stage.playbook.scripts[f"q{i}"] = Script(
            (f"text {i}\n", Stall(0.01), CALL.replace("Lisbon", f"City {i}"))
        )
        stream = await client.chat.completions.create(
            model="scripted", messages=[user(f"q{i}")], tools=TOOLS, stream=True
        )
        text, arguments = "", ""
        async for chunk in stream:
            delta = chunk.choices[0].delta
            text += delta.content or ""
            arguments += "".join(c.function.arguments or "" for c in delta.tool_calls or [] if c.function)
        assert text.strip() == f"text {i}"
        assert json.loads(arguments) == {"city": f"City {i}"}

    async def all_of_them() -> None:
        async with stage.server.async_client() as client:
            await asyncio.gather(*(one(client, i) for i in range(20)))

    asyncio.run(all_of_them())


@pytest.mark.parametrize(
    ("text", "verdict", "fixes", "finish"),
    [
        ("plain", "none", "0", "stop"),
        (CALL, "clean", "0", "tool_calls"),
        (SLOPPY_CALL, "repaired", "1", "tool_calls"),
        (HOPELESS_CALL, "failed", "0", "stop"),
    ],
    ids=["none", "clean", "repaired", "failed"],
)
def test_the_verdict(stage: Stage, text: str, verdict: str, fixes: str, finish: str) -> None:
    stage.playbook.scripts["judge"] = Script(tuple(text))
    create = stage.server.client().chat.completions.with_raw_response.create
    raw = create(model="scripted", messages=[user("judge")], tools=TOOLS)
    assert raw.headers["x-fortieth-verdict"] == verdict
    assert raw.headers["x-fortieth-fixes"] == fixes
    message = raw.parse().choices[0].message
    assert raw.parse().choices[0].finish_reason == finish
    if verdict == "failed":
        assert parted(message.content)[0] == text, "the model's own text, nothing lost"
    streamed = stage.server.post(
        {"model": "scripted", "messages": [user("judge")], "tools": TOOLS, "stream": True}
    ).text
    more = "; give-up=text" if verdict == "failed" else ""
    assert f"\n: x-fortieth-verdict: {verdict}; fixes={fixes}; attempts=1{more}\n" in streamed
    assert streamed.endswith("data: [DONE]\n\n")


@pytest.mark.parametrize(
    ("choice", "text", "verdict"),
    [
        ("none", CALL, "none"),
        ("required", CALL, "clean"),
        ("required", "no call", "failed"),
        ({"type": "function", "function": {"name": "get_weather"}}, CALL, "clean"),
        ({"type": "function", "function": {"name": "get_time"}}, CALL, "failed"),
    ],
    ids=["none", "required", "required_missing", "named", "named_other"],
)
def test_tool_choice_is_kept(stage: Stage, choice: Any, text: str, verdict: str) -> None:
    stage.playbook.scripts["choose"] = Script((text,))
    raw = stage.server.client().chat.completions.with_raw_response.create(
        model="scripted", messages=[user("choose")], tools=TOOLS, tool_choice=choice
    )
    assert raw.headers["x-fortieth-verdict"] == verdict
    message = raw.parse().choices[0].message
    assert bool(message.tool_calls) == (verdict == "clean")
    assert message.tool_calls or parted(message.content)[0] == text


def test_one_call_where_parallel_calls_are_off(stage: Stage) -> None:
    stage.playbook.scripts["pair"] = Script((CALL, CALL.replace("Lisbon", "Porto")))
    raw = stage.server.client().chat.completions.with_raw_response.create(
        model="scripted", messages=[user("pair")], tools=TOOLS, parallel_tool_calls=False
    )
    assert raw.headers["x-fortieth-verdict"] == "failed", "which of the two was meant is not ours to say"


def test_a_call_cut_by_the_limit_is_no_call(stage: Stage) -> None:
    stage.playbook.scripts["cut"] = Script((CALL[:-20],), finish="length")
    answer = stage.server.client().chat.completions.create(
        model="scripted", messages=[user("cut")], tools=TOOLS
    )
    assert answer.choices[0].finish_reason == "length"
    assert answer.choices[0].message.tool_calls is None
    assert parted(answer.choices[0].message.content)[0] == CALL[:-20]


def test_two_calls_stream_with_their_own_index(stage: Stage) -> None:
    stage.playbook.scripts["two"] = Script((CALL, "\n", CALL.replace("Lisbon", "Porto")))
    stream = stage.server.client().chat.completions.create(
        model="scripted", messages=[user("two")], tools=TOOLS, stream=True
    )
    deltas = [c for chunk in stream for c in chunk.choices[0].delta.tool_calls or []]
    assert [(d.index, bool(d.id)) for d in deltas] == [(0, True), (0, False), (1, True), (1, False)]
    assert [d.function.name for d in deltas if d.id and d.function] == ["get_weather"] * 2
    assert len({d.id for d in deltas if d.id}) == 2


def test_the_strict_stream_helper_takes_it(stage: Stage) -> None:
    stage.playbook.scripts["strict"] = Script(("Let me see.", CALL))
    with stage.server.client().chat.completions.stream(
        model="scripted", messages=[user("strict")], tools=TOOLS
    ) as stream:
        for _ in stream:
            pass
        final = stream.get_final_completion()
    assert final.choices[0].finish_reason == "tool_calls"


REFUSALS: list[tuple[Exception, type[openai.APIStatusError], str | None]] = [
    (BadRequest("x must be y", param="x"), openai.BadRequestError, None),
    (ContextTooLong(5000, 4096), openai.BadRequestError, "context_length_exceeded"),
    (Overloaded("full", retry_after_s=2.2), openai.RateLimitError, "rate_limit_exceeded"),
    (UpstreamUnavailable("down", retry_after_s=1), openai.InternalServerError, "upstream_unavailable"),
    (ZeroDivisionError("a defect"), openai.InternalServerError, "internal_error"),
]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("refusal", "error", "code"), REFUSALS, ids=lambda v: getattr(v, "__name__", None))
def test_refusals_keep_their_status(
    stage: Stage, refusal: Exception, error: type[openai.APIStatusError], code: str | None, stream: bool
) -> None:
    stage.playbook.scripts["refused"] = Script((), refusal=refusal)
    with pytest.raises(error) as caught:
        stage.server.client().chat.completions.create(
            model="scripted", messages=[user("refused")], stream=stream
        )
    assert caught.value.code == code
    if isinstance(refusal, Overloaded):
        assert caught.value.response.headers["retry-after"] == "3"


def test_an_unknown_model_is_a_404_that_lists_what_is_served(stage: Stage) -> None:
    with pytest.raises(openai.NotFoundError, match="scripted") as caught:
        stage.server.client().chat.completions.create(model="gpt-9", messages=[user("hi")])
    assert caught.value.code == "model_not_found"


@pytest.mark.parametrize("failure", [UpstreamUnavailable("the engine died"), ZeroDivisionError("a defect")])
def test_a_failure_after_the_first_token(stage: Stage, failure: Exception) -> None:
    stage.playbook.scripts["broken"] = Script(("some ", "text", failure))
    create = stage.server.client().chat.completions.create
    stream = create(model="scripted", messages=[user("broken")], stream=True)
    texts = [next(stream).choices[0].delta.content or "" for _ in range(3)]
    with pytest.raises(openai.APIError) as caught:
        next(stream)
    assert "".join(texts) == "some text"
    assert not isinstance(caught.value, openai.APIConnectionError), "the stream must end as a stream ends"
    with pytest.raises(openai.InternalServerError):
        create(model="scripted", messages=[user("broken")])
    raw = stage.server.post({"model": "scripted", "messages": [user("broken")], "stream": True}).text
    assert raw.count('"error"') == 1
    assert "[DONE]" not in raw
    assert '"finish_reason":"stop"' not in raw


def test_reasoning_is_apart(stage: Stage) -> None:
    stage.playbook.scripts["think"] = Script(("<think>", "hm ", "hm", "</think>", "Yes."))
    whole = stage.server.post({"model": "scripted", "messages": [user("think")]}).json()
    message = whole["choices"][0]["message"]
    assert message["content"].strip() == "Yes."
    assert message["reasoning_content"].strip() == "hm hm"
    assert 0 < whole["usage"]["completion_tokens_details"]["reasoning_tokens"] < 5


def test_a_silent_stream_is_kept_alive_with_data(stage: Stage) -> None:
    stage.playbook.scripts["slow"] = Script(("a", Stall(0.4), "b"))
    stream = stage.server.client().chat.completions.create(
        model="scripted", messages=[user("slow")], stream=True
    )
    contents = [c.choices[0].delta.content for c in stream if not c.choices[0].finish_reason]
    assert contents.count("") >= 3
    assert "".join(filter(None, contents)) == "ab"


def test_models(stage: Stage) -> None:
    client = stage.server.client()
    assert [model.id for model in client.models.list()] == ["scripted"]
    assert client.models.retrieve("scripted").id == "scripted"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("owner/other")
