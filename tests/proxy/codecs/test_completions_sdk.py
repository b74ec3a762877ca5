"""The official openai SDK drives completions without a workaround."""

from __future__ import annotations

import asyncio

import openai
import pytest

from proxy.conversation.errors import Overloaded, UpstreamUnavailable
from proxy.upstreams.base import UpstreamText
from proxy.upstreams.scripted import Script
from tests.proxy.codecs.completions import ScoredUpstream, completing, refusing, score
from tests.proxy.live import serving


def test_a_whole_completion() -> None:
    with completing() as server:
        answer = server.client().completions.create(model="scripted", prompt="once", echo=True)
    assert (answer.object, answer.model) == ("text_completion", "scripted")
    choice = answer.choices[0]
    assert (choice.index, choice.text, choice.finish_reason) == (0, "onceupon a time", "stop")
    assert choice.logprobs is None
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (7, 2)
    assert answer.usage.prompt_tokens_details is not None
    assert answer.usage.prompt_tokens_details.cached_tokens == 0


def test_a_streamed_completion() -> None:
    with completing() as server:
        chunks = list(
            server.client().completions.create(
                model="scripted", prompt="once", stream=True, stream_options={"include_usage": True}
            )
        )
    assert {(chunk.object, chunk.id) for chunk in chunks} == {("text_completion", chunks[0].id)}
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == "upon a time"
    reasons = [str(chunk.choices[0].finish_reason) for chunk in chunks if chunk.choices]
    assert reasons == ["None", "None", "stop"]
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 9


def test_several_prompts() -> None:
    with completing({"a": Script(("A",)), (5, 6): Script(("tokens",))}) as server:
        client = server.client()
        texts = client.completions.create(model="scripted", prompt=["a", "b"], n=2)
        tokens = client.completions.create(model="scripted", prompt=[[5, 6], [7]])
        one = client.completions.create(model="scripted", prompt=[5, 6])
    assert [choice.text for choice in texts.choices] == ["A", "A", "upon a time", "upon a time"]
    assert [choice.text for choice in tokens.choices] == ["tokens", "upon a time"]
    assert [choice.text for choice in one.choices] == ["tokens"]


def test_log_probabilities() -> None:
    upstream = ScoredUpstream(UpstreamText("ab", 2, (score("a", -1.0, a=-1.0, b=-2.0), score("b", -3.0))))
    with serving(upstream) as server:
        answer = server.client().completions.create(model="scripted", prompt="once", logprobs=2)
    found = answer.choices[0].logprobs
    assert found is not None
    assert (found.tokens, found.token_logprobs, found.text_offset) == (["a", "b"], [-1.0, -3.0], [0, 1])
    assert found.top_logprobs == [{"a": -1.0, "b": -2.0}, {"b": -3.0}]


def test_errors_are_the_sdks_own() -> None:
    scripts = {
        "full": refusing(Overloaded("the queue is full", retry_after_s=2)),
        "broken": Script(("upon", UpstreamUnavailable("it is gone"))),
    }
    with completing(scripts) as server:
        client = server.client()
        with pytest.raises(openai.BadRequestError, match="best_of"):
            client.completions.create(model="scripted", prompt="once", best_of=4)
        with pytest.raises(openai.NotFoundError, match="does not exist"):
            client.completions.create(model="else", prompt="once")
        with pytest.raises(openai.RateLimitError) as full:
            client.completions.create(model="scripted", prompt="full")
        assert full.value.response.headers["retry-after"] == "2"
        with pytest.raises(openai.APIError, match="it is gone"):
            list(client.completions.create(model="scripted", prompt="broken", stream=True))


def test_twenty_clients_at_once() -> None:
    async def one(client: openai.AsyncOpenAI, i: int) -> str:
        stream = await client.completions.create(model="scripted", prompt=f"q{i}", stream=True)
        return "".join([chunk.choices[0].text async for chunk in stream])

    async def all_of_them(client: openai.AsyncOpenAI) -> list[str]:
        async with client:
            return await asyncio.gather(*(one(client, i) for i in range(20)))

    with completing({f"q{i}": Script(("text ", str(i))) for i in range(20)}) as server:
        texts = asyncio.run(all_of_them(server.async_client()))
    assert texts == [f"text {i}" for i in range(20)]
