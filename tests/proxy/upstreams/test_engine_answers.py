"""What a request may ask of its answers, over the real engine: several, scored, thought over, in time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from engine.config import EngineConfig
from proxy.codecs.openai_request import decode_request
from proxy.conversation.message import Message, Role
from proxy.conversation.request import ChatRequest, Sampling
from proxy.upstreams.base import UpstreamEvent, UpstreamFinish, UpstreamStarted
from proxy.upstreams.engine import EngineUpstream
from tests.engine.tiny import make_model
from tests.proxy.live import LiveServer, LoopThread, serving
from tests.proxy.records.test_metrics import parse
from tests.proxy.requests import TOOLS, user

SHORT = Sampling(max_tokens=2, ignore_eos=True)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory, thread: LoopThread) -> Iterator[EngineUpstream]:
    model = make_model(tmp_path_factory.mktemp("models") / "tiny", context=1024)
    upstream = thread.run(EngineUpstream.start(EngineConfig(model=str(model), max_batch=8), "tiny"), 120)
    yield upstream
    thread.run(upstream.close())


@pytest.fixture(scope="module")
def server(engine: EngineUpstream, thread: LoopThread) -> Iterator[LiveServer]:
    with serving(engine, thread=thread) as server:
        yield server


def test_the_prompt_is_counted_before_the_first_text(engine: EngineUpstream, thread: LoopThread) -> None:
    async def heard() -> list[UpstreamEvent]:
        generation = await engine.open(ChatRequest("", (Message.of(Role.user, "hi"),), sampling=SHORT))
        try:
            return [event async for event in generation]
        finally:
            await generation.aclose()

    first, *_, last = thread.run(heard())
    assert isinstance(last, UpstreamFinish)
    assert first == UpstreamStarted(last.usage.prompt_tokens, last.usage.cached_tokens)
    assert last.usage.prompt_tokens > 0


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"tools": TOOLS},
        {"enable_thinking": False},
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "object"}}}},
    ],
    ids=lambda fields: "-".join(fields) or "words",
)
def test_a_prompt_is_counted_without_an_answer(
    engine: EngineUpstream, server: LiveServer, thread: LoopThread, fields: dict[str, Any]
) -> None:
    asked = decode_request(json.dumps({"messages": [user("hi")], **fields}).encode()).request
    tokenizer = engine.capabilities.tokenizer
    assert tokenizer is not None
    assert len(thread.run(tokenizer.tokenize(asked))) == ask(server, **fields)["usage"]["prompt_tokens"]


def ask(server: LiveServer, **fields: Any) -> dict[str, Any]:
    sent = {"messages": [user("hi")], "max_tokens": 24, "ignore_eos": True, **fields}
    response = server.post(sent)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def chunks(server: LiveServer, **fields: Any) -> list[dict[str, Any]]:
    raw = server.post(
        {"messages": [user("hi")], "max_tokens": 24, "ignore_eos": True, **fields, "stream": True}
    )
    lines = [line.removeprefix("data: ") for line in raw.text.split("\n\n") if line.startswith("data: {")]
    return [json.loads(line) for line in lines]


def test_seeded_answers_are_those_of_the_seeds_that_follow(server: LiveServer) -> None:
    together = ask(server, n=3, seed=11, temperature=1.0)
    alone = [ask(server, seed=seed, temperature=1.0) for seed in (11, 12, 13)]
    texts = [choice["message"]["content"] for choice in together["choices"]]
    assert texts == [one["choices"][0]["message"]["content"] for one in alone]
    assert len(set(texts)) == 3
    assert together["usage"]["prompt_tokens"] == alone[0]["usage"]["prompt_tokens"]
    assert together["usage"]["completion_tokens"] == 3 * 24


def test_unseeded_answers_differ(server: LiveServer) -> None:
    answer = ask(server, n=4, temperature=1.0)
    assert len({choice["message"]["content"] for choice in answer["choices"]}) == 4


def test_log_probabilities_tell_the_text(server: LiveServer) -> None:
    fields: dict[str, Any] = {"logprobs": True, "top_logprobs": 3, "temperature": 0}
    choice = ask(server, **fields)["choices"][0]
    scored = choice["logprobs"]["content"]
    assert len(scored) == 24
    raw = b"".join(bytes(token["bytes"]) for token in scored)
    assert raw.decode("utf-8", "replace") == choice["message"]["content"]
    for token in scored:
        assert token["token"] == bytes(token["bytes"]).decode("utf-8", "replace")
        best = [one["logprob"] for one in token["top_logprobs"]]
        assert best == sorted(best, reverse=True)
        assert len(best) == 3
        assert token["logprob"] == best[0] <= 0, "greedy decoding takes the likeliest"
    streamed = [chunk["choices"][0]["logprobs"] for chunk in chunks(server, **fields) if chunk["choices"]]
    assert [token for part in streamed if part for token in part["content"]] == scored


def test_log_probabilities_of_each_answer(server: LiveServer) -> None:
    answer = ask(server, n=2, logprobs=True, seed=3, temperature=1.0)
    for choice in answer["choices"]:
        raw = b"".join(bytes(token["bytes"]) for token in choice["logprobs"]["content"])
        assert raw.decode("utf-8", "replace") == choice["message"]["content"]
        assert all(token["top_logprobs"] == [] for token in choice["logprobs"]["content"])


def test_nobody_gets_log_probabilities_unasked(server: LiveServer) -> None:
    assert ask(server)["choices"][0]["logprobs"] is None


@pytest.mark.parametrize("budget", [1, 8])
def test_thinking_ends_with_its_budget(server: LiveServer, budget: int) -> None:
    answer = ask(server, enable_thinking=True, thinking_budget=budget, max_tokens=40)
    message = answer["choices"][0]["message"]
    assert message["reasoning_content"]
    assert message["content"], "what follows the block is the answer"
    # the tiny model's closing marker is eight tokens, and the closing itself is no thinking that shows
    assert answer["usage"]["completion_tokens_details"]["reasoning_tokens"] <= budget + len("</think>")


def test_without_a_budget_it_thinks_to_its_end(server: LiveServer) -> None:
    message = ask(server, enable_thinking=True, max_tokens=40)["choices"][0]["message"]
    assert message["reasoning_content"]
    assert not message["content"]


def test_a_request_that_takes_too_long(server: LiveServer) -> None:
    sent = {"messages": [user("hi")], "max_tokens": 900, "ignore_eos": True, "timeout_s": 0.05}
    response = server.post(sent)
    assert response.status_code == 504
    assert response.json()["error"]["code"] == "request_timeout"


def test_the_engine_shows_in_the_metrics(server: LiveServer) -> None:
    ask(server, max_tokens=8)
    found = parse(httpx.get(server.root + "/metrics").text)
    assert found[("fortieth_engine_up", ())] == 1
    assert found[("fortieth_engine_resident_memory_bytes", ())] > 0
    assert found[("fortieth_request_queue_time_seconds_count", (("model_name", "tiny"),))] >= 1
    assert found[("fortieth_request_decode_time_seconds_sum", (("model_name", "tiny"),))] > 0
    assert found[("fortieth_generation_tokens_total", (("model_name", "tiny"),))] >= 8
