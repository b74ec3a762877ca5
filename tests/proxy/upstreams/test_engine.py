"""The real engine behind the real HTTP server, with a tiny model of random weights."""

from __future__ import annotations

import asyncio
import json
import math
import os
import re
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from engine.config import EngineConfig
from engine.errors import (
    ContextOverflow,
    DeadlineExceeded,
    EngineDied,
    EngineError,
    EngineFault,
    EngineUnavailable,
    InvalidRequest,
    QueueFull,
)
from engine.template import ChatTemplate
from proxy.codecs.openai_request import decode_request
from proxy.conversation.errors import (
    BadRequest,
    ContextTooLong,
    Overloaded,
    RequestError,
    RequestTimeout,
    UpstreamUnavailable,
)
from proxy.conversation.request import Sampling
from proxy.http.server import answer_settings
from proxy.http.settings import Settings
from proxy.prompts.boundaries import write_prompt
from proxy.upstreams.engine import EngineUpstream
from proxy.upstreams.engine_generation import translate
from proxy.upstreams.sampling import SamplingDefaults, sampling_params
from tests.engine.drive import PRINTABLE
from tests.engine.tiny import make_model
from tests.proxy.codecs.messages import TOOL, events, send
from tests.proxy.codecs.test_accepted_requests import POISONED
from tests.proxy.live import LiveServer, LoopThread, serving
from tests.proxy.requests import TOOLS, user

CAPACITY = 6


@dataclass(frozen=True, slots=True)
class Engine:
    server: LiveServer
    upstream: EngineUpstream

    def live(self) -> int:
        stats = self.upstream.client.stats()
        return stats.running + stats.waiting


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("models") / "tiny", context=1024)


@pytest.fixture(scope="module")
def engine(model: Path) -> Iterator[Engine]:
    thread = LoopThread()
    config = EngineConfig(model=str(model), max_batch=4, queue_limit=CAPACITY - 4)
    upstream = thread.run(EngineUpstream.start(config, "tiny"), 120)
    with serving(upstream, thread=thread) as server:
        yield Engine(server, upstream)
    thread.run(upstream.close())
    thread.close()


def wait_until(true: Any, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def body(**fields: Any) -> dict[str, Any]:
    return {"messages": [user("hi")], "max_tokens": 8, **fields}


def test_a_turn_whole_and_streamed(engine: Engine) -> None:
    client = engine.server.client()
    whole = client.chat.completions.create(
        model="tiny", messages=[user("hi")], max_tokens=24, seed=3, temperature=0.8
    )
    assert whole.usage is not None
    assert 0 < whole.usage.completion_tokens <= 24
    assert whole.usage.prompt_tokens > 10
    assert whole.choices[0].finish_reason in ("stop", "length")
    stream = client.chat.completions.create(
        model="tiny", messages=[user("hi")], max_tokens=24, seed=3, temperature=0.8, stream=True
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    assert text == whole.choices[0].message.content, "a seed gives the same text either way"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("fields", [{}, {"tools": TOOLS}], ids=["no_tools", "tools"])
def test_a_stop_string_ends_the_text_and_the_generation(
    engine: Engine, fields: dict[str, Any], stream: bool
) -> None:
    asked = body(max_tokens=200, seed=4, temperature=1.0, logit_bias=PRINTABLE, ignore_eos=True, **fields)
    plain = engine.server.post(asked).json()
    text = plain["choices"][0]["message"]["content"]
    stop = text[20:23]
    asked |= {"stop": [stop, "\x00"], "stream": stream, "stream_options": {"include_usage": True}}
    response = engine.server.post(asked)
    if stream:
        lines = [line[6:] for line in response.text.splitlines() if line.startswith("data: {")]
        *chunks, last = map(json.loads, lines)
        usage, reason = last["usage"], chunks[-1]["choices"][0]["finish_reason"]
        said = "".join(one["choices"][0]["delta"].get("content") or "" for one in chunks)
    else:
        usage, choice = response.json()["usage"], response.json()["choices"][0]
        said, reason = choice["message"]["content"], choice["finish_reason"]
    assert (said, reason) == (text[: text.index(stop)], "stop")
    assert usage["prompt_tokens"] == plain["usage"]["prompt_tokens"]
    assert len(said) < usage["completion_tokens"] < 200
    wait_until(lambda: engine.live() == 0)


@pytest.mark.parametrize("tools", [False, True])
def test_tokens_are_counted_as_they_are_used_in_every_dialect(engine: Engine, tools: bool) -> None:
    """The same conversation in two dialects has one prompt, of which the second request finds all but the
    end in the cache; counted before, it has as many tokens, and so says message_start.
    """
    words = f"Count this one, {tools}. " * 8
    chat = body(messages=[{"role": "system", "content": "Be brief."}, user(words)])
    messages = body(system="Be brief.", messages=[user(words)], thinking={"type": "adaptive"})
    if tools:
        chat["tools"] = TOOLS
        messages["tools"] = [TOOL, {"name": "get_time", "input_schema": TOOLS[1]["function"]["parameters"]}]
    counted = send(engine.server, messages, "/messages/count_tokens").json()["input_tokens"]
    url = f"{engine.server.base_url}/chat/completions/input_tokens"
    assert httpx.post(url, json=chat).json()["input_tokens"] == counted
    assert engine.server.post(chat).json()["usage"]["prompt_tokens"] == counted
    usage = send(engine.server, messages).json()["usage"]
    assert usage["input_tokens"] + usage["cache_read_input_tokens"] == counted
    assert usage["cache_read_input_tokens"] > counted // 2
    (_, start), *_, (_, end), _ = events(send(engine.server, messages | {"stream": True}).text)
    begun = start["message"]["usage"]
    assert begun["input_tokens"] + begun["cache_read_input_tokens"] == counted
    assert begun["cache_read_input_tokens"] == end["usage"]["cache_read_input_tokens"] > counted // 2
    assert end["usage"]["input_tokens"] + end["usage"]["cache_read_input_tokens"] == counted


def test_a_prompt_that_is_too_long_is_told_so_that_clients_compact(engine: Engine) -> None:
    response = send(engine.server, body(messages=[user("long " * 3000)]))
    assert response.status_code == 400
    told = response.json()["error"]["message"]
    assert re.match(r"prompt is too long: \d{4,} tokens > 1023 maximum", told)


def test_health_is_a_generated_token(engine: Engine) -> None:
    before = engine.upstream.client.stats().tokens_generated
    time.sleep(1.1)  # an older answer would be given again
    assert httpx.get(engine.server.root + "/health").status_code == 200
    wait_until(lambda: engine.upstream.client.stats().tokens_generated > before)


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"top_k": 100_000}, "top_k", "100000"),
        ({"logit_bias": {"999999999": 1}}, "logit_bias", "999999999"),
        ({"stop": "x" * 5000}, "stop", "5000"),
        ({"messages": [user("x" * 3000)]}, "messages", "prompt is too long: "),
    ],
    ids=["top_k", "logit_bias", "stop", "context"],
)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_what_the_engine_refuses(
    engine: Engine, fields: dict[str, Any], param: str, words: str, stream: bool
) -> None:
    response = engine.server.post(body(**fields, stream=stream))
    assert response.status_code == 400
    error = response.json()["error"]
    assert error["param"] == param
    assert words in error["message"]
    assert (error["code"] == "context_length_exceeded") == (param == "messages")
    assert engine.server.post(body()).status_code == 200


def test_more_tokens_than_fit_are_cut_to_what_fits(engine: Engine) -> None:
    usage = engine.server.post(body(max_tokens=65536, ignore_eos=True)).json()["usage"]
    assert usage["total_tokens"] == 1024


@pytest.mark.parametrize("poison", POISONED.values(), ids=POISONED)
def test_a_poisoned_history_renders(model: Path, engine: Engine, poison: dict[str, Any]) -> None:
    messages = [user("first"), poison, user("go on"), {"role": "assistant", "content": ""}]
    sent = json.dumps(body(messages=messages, tools=TOOLS, max_tokens=2))
    response = engine.server.post(sent.encode())
    assert response.status_code == 200, response.text


def rush(engine: Engine, clients: int) -> list[int]:
    """Of each client its completion tokens; or the seconds of Retry-After, as a negative number."""

    async def one(client: openai.AsyncOpenAI) -> int:
        try:
            answer = await client.chat.completions.create(
                model="tiny", messages=[user("hi")], max_tokens=300, extra_body={"ignore_eos": True}
            )
            return answer.usage.completion_tokens if answer.usage else 0
        except openai.RateLimitError as error:
            return -int(error.response.headers["retry-after"])

    async def all_of_them() -> list[int]:
        async with engine.server.async_client() as client:
            return await asyncio.gather(*(one(client) for _ in range(clients)))

    return asyncio.run(all_of_them())


def test_a_full_queue_is_a_429(engine: Engine) -> None:
    results = rush(engine, 3 * CAPACITY)
    assert results.count(300) >= CAPACITY, "what was admitted was served in full"
    refused = [result for result in results if result != 300]
    assert refused
    assert all(seconds < 0 for seconds in refused), "each with the seconds to wait"
    assert engine.server.post(body()).status_code == 200, "and there is room again"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_client_that_goes_away_frees_the_engine(engine: Engine, stream: bool) -> None:
    sent = body(max_tokens=900, ignore_eos=True, stream=stream)
    url = engine.server.base_url + "/chat/completions"
    with httpx.Client() as client:
        if stream:
            with client.stream("POST", url, json=sent) as response:
                next(response.iter_lines())
        else:
            with pytest.raises(httpx.ReadTimeout):
                client.post(url, json=sent, timeout=0.2)
    wait_until(lambda: engine.live() == 0)


def test_the_engine_is_killed_during_a_stream(engine: Engine) -> None:
    stream = engine.server.client().chat.completions.create(
        model="tiny", messages=[user("hi")], max_tokens=900, stream=True, extra_body={"ignore_eos": True}
    )
    for _ in range(10):
        next(stream)
    os.kill(engine.upstream.client.stats().pid, signal.SIGKILL)
    with pytest.raises(openai.APIError, match="engine process ended"):
        list(stream)
    answer = engine.server.client().chat.completions.create(model="tiny", messages=[user("hi")], max_tokens=4)
    assert answer.choices[0].finish_reason
    wait_until(lambda: httpx.get(engine.server.root + "/health").status_code == 200)


def test_no_slot_was_lost_on_the_way(engine: Engine) -> None:
    """After refusals, clients that went away and a killed engine."""
    assert rush(engine, CAPACITY) == [300] * CAPACITY


TRANSLATIONS: list[tuple[EngineError, type[RequestError], float | None]] = [
    (InvalidRequest("top_k", "no"), BadRequest, None),
    (ContextOverflow(9, 4), ContextTooLong, None),
    (QueueFull(3.5), Overloaded, 3.5),
    (EngineUnavailable("loading", 7.0), UpstreamUnavailable, 7.0),
    (EngineDied("signal 9"), UpstreamUnavailable, 2.0),
    (EngineFault("a step failed"), UpstreamUnavailable, 2.0),
    (DeadlineExceeded(1.5), RequestTimeout, None),
]


@pytest.mark.parametrize(("error", "expected", "retry"), TRANSLATIONS, ids=lambda v: type(v).__name__)
def test_engine_errors_keep_their_meaning(
    error: EngineError, expected: type[RequestError], retry: float | None
) -> None:
    translated = translate(error)
    assert type(translated) is expected
    assert translated.retry_after_s == retry


def test_sampling_falls_back_to_the_model_and_then_to_greedy(tmp_path: Path) -> None:
    assert SamplingDefaults.load(tmp_path) == SamplingDefaults()
    config = {"temperature": 0.6, "top_k": 20, "top_p": 0.95, "eos_token_id": 3, "min_p": None}
    (tmp_path / "generation_config.json").write_text(json.dumps(config))
    defaults = SamplingDefaults.load(tmp_path)
    assert defaults == SamplingDefaults(temperature=0.6, top_k=20, top_p=0.95)
    params = sampling_params(Sampling(temperature=0.0), defaults, 100)
    assert (params.temperature, params.top_k, params.max_tokens) == (0.0, 20, 100)
    assert [defaults.unasked_tokens(context) for context in (8192, 262_144)] == [4096, 16_384]
    limits = [
        sampling_params(Sampling(max_tokens=asked), defaults, 8000, unasked=4096).max_tokens
        for asked in (None, 6000, 9000)
    ]
    assert limits == [4096, 6000, 8000], "what the client says goes before"
    assert sampling_params(Sampling(), defaults, 100).max_tokens == 100
    assert sampling_params(Sampling(top_p=0.0), defaults, 100).temperature == 0.0
    (tmp_path / "generation_config.json").write_text(json.dumps(config | {"do_sample": False}))
    assert SamplingDefaults.load(tmp_path) == SamplingDefaults()
    for sampled in (True, False):
        told = config | {"do_sample": sampled, "max_new_tokens": 2048}
        (tmp_path / "generation_config.json").write_text(json.dumps(told))
        shorter = SamplingDefaults.load(tmp_path)
        assert [shorter.unasked_tokens(context) for context in (2048, 262_144)] == [1024, 2048]
    senseless = {"max_new_tokens": -5, "top_k": math.inf, "temperature": math.nan}
    (tmp_path / "generation_config.json").write_text(json.dumps(senseless))
    assert SamplingDefaults.load(tmp_path) == SamplingDefaults()
    (tmp_path / "generation_config.json").write_text("[")
    assert SamplingDefaults.load(tmp_path) == SamplingDefaults()


def test_the_setting_bounds_an_answer_whose_client_does_not(model: Path) -> None:
    thread = LoopThread()
    settings = answer_settings(Settings(answer_tokens=5))
    upstream = thread.run(EngineUpstream.start(EngineConfig(model=str(model)), "tiny", settings), 120)
    try:
        with serving(upstream, thread=thread) as server:
            asked = {"messages": [user("hi")], "ignore_eos": True}
            used = [
                server.post(asked | limit).json()["usage"]["completion_tokens"]
                for limit in ({}, {"max_tokens": -1}, {"max_tokens": 9})
            ]
    finally:
        thread.run(upstream.close())
        thread.close()
    assert used == [5, 5, 9]


STRICT = """\
{%- for message in messages %}
{%- if message.role == 'system' and not loop.first %}{{ raise_exception('system comes first') }}{% endif %}
{%- for call in message.tool_calls or [] %}{{ call.function.name }}
{%- for key, value in call.function.arguments | items %}({{ key }}={{ value }}){% endfor %}
{%- endfor %}[{{ message.role }}]{{ message.content }}
{%- endfor %}"""
STRICTEST = """\
{%- for message in messages %}
{%- if (message.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('must alternate') }}{% endif %}
[{{ message.role }}]{{ message.content }}{%- endfor %}"""
REFUSING = "{{ raise_exception('not like this') }}"
HISTORY = [
    user("a"),
    {"role": "system", "content": "b"},
    {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{oops"}}]},
    {"role": "tool", "tool_call_id": "1", "content": "c"},
]


def render(model: Path, source: str) -> str:
    (model / "chat_template.jinja").write_text(source)
    request = decode_request(json.dumps({"messages": HISTORY}).encode()).request
    return write_prompt(ChatTemplate.load(model), request).plain


def test_templates_that_want_it_plainer_get_it_plainer(tmp_path: Path) -> None:
    model = make_model(tmp_path / "picky")
    assert render(model, STRICT) == "[user]a[user]System: bf(arguments={oops)[assistant][tool]c"
    assert "[assistant]Called f with {oops" in render(model, STRICTEST)
    with pytest.raises(InvalidRequest, match="not like this"):
        render(model, REFUSING)
