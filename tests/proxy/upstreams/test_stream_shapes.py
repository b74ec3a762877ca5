"""Answers are read however their server writes them, whole and streamed alike, or fail with one error."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.conversation.events import Usage
from proxy.upstreams.base import UpstreamCall, UpstreamEvent, UpstreamFinish
from proxy.upstreams.remote.assembly import Assembly
from proxy.upstreams.remote.chunk_reader import ChunkReader
from proxy.upstreams.remote.failures import read_failure
from proxy.upstreams.remote.refusals import refusal
from proxy.upstreams.remote.scores import read_scores
from tests.proxy.upstreams.call_shapes import TOOLS, ev, piece
from tests.proxy.upstreams.dialects import ask, body, events, make_client, read_stream, read_whole
from tests.proxy.upstreams.stage import Hosted
from tests.proxy.upstreams.stream_shapes import in_pieces, shapes
from tests.proxy.upstreams.wire import DONE, Reply

SHAPES = shapes()
ASKED: dict[str, Any] = {"tools": TOOLS, "logprobs": True, "top_logprobs": 1}


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with make_client() as made:
        yield made


def test_there_are_enough() -> None:
    assert len(SHAPES) >= 200


@pytest.mark.parametrize("name", SHAPES)
def test_an_answer_is_read_whole_and_streamed(chain: Hosted, client: httpx.Client, name: str) -> None:
    data, size, kind, expected = SHAPES[name]
    steps = list(in_pieces(data, size, Random(name)))
    chain.wire.plan(name, Reply(steps, headers={"content-type": kind}))
    whole = ask(client, chain.server, "chat", body("chat", name, ASKED))
    streamed = ask(client, chain.server, "chat", body("chat", name, {**ASKED, "stream": True}))
    assert (read_whole(whole), read_stream(streamed)) == (expected, expected)


def heard(parts: Sequence[bytes]) -> list[UpstreamEvent] | None:
    """What the bytes add up to; None where they fail."""
    reader, assembly = ChunkReader(), Assembly(stop_repetition=True)
    chunks = [chunk for part in parts for chunk in reader.feed(part)]
    events = [event for chunk in chunks + reader.end() for event in assembly.feed(chunk)]
    return None if reader.failure or not assembly.finished else events + assembly.end()


def test_no_split_changes_an_answer() -> None:
    for name, (data, *_) in SHAPES.items():
        whole = heard([data])
        for size in (1, 2, 5, 64):
            assert heard([data[at : at + size] for at in range(0, len(data), size)]) == whole, (name, size)


def test_a_long_call_is_not_read_again_with_each_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name comes with each piece, so that each could begin another call."""
    text = json.dumps({"a": " ".join(map(str, range(1000)))})
    told = [ev({"tool_calls": [piece("look", text[at : at + 4])]}) for at in range(0, len(text), 4)]
    data = [json.dumps(one).join(("data: ", "\n\n")).encode() for one in (*told, ev({}, "tool_calls"))]
    read: list[int] = []
    loads = json.loads

    def counted(text: str) -> Any:
        read.append(len(text))
        return loads(text)

    monkeypatch.setattr(json, "loads", counted)
    events = heard(data)
    assert events is not None
    assert [one.arguments for one in events if isinstance(one, UpstreamCall)] == [text]
    assert sum(read) < 2 * len(text)


COUNTS = ["prompt_tokens", "completion_tokens", "cached_tokens", "cost"]
NAMES = ["type", "text", "content", "index", "token", "prompt_tokens_details", *COUNTS]
ANY = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 300)
    | st.floats()
    | st.sampled_from(["", "x", "\ud83d", "null"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3),
    max_leaves=6,
)
PLACES = (
    "content",
    "reasoning",
    "refusal",
    "tool_calls",
    "function_call",
    "reasoning_details",
    "annotations",
)
OF_CHOICE = ("delta", "message", "finish_reason", "logprobs", "usage", "error", "text", "stop_reason")


@settings(deadline=None)
@given(st.sampled_from(PLACES), st.sampled_from(OF_CHOICE), ANY, ANY)
def test_any_value_anywhere_is_read_or_fails(place: str, other: str, value: Any, second: Any) -> None:
    """Nothing that a server can send is a defect of ours."""
    events = [ev({place: value}), ev({"content": "x"}), ev({"tool_calls": [value]}), ev({}, "stop")]
    events[1]["choices"][0][other] = second
    found = heard([json.dumps(one).join(("data: ", "\n\n")).encode() for one in events])
    assert found is None or isinstance(found[-1], UpstreamFinish)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1", "1e300", "null"])
def test_a_count_that_is_no_number_of_tokens_is_none(number: str) -> None:
    counts = ", ".join(f'"{name}": {number}' for name in COUNTS)
    told = f'{{"choices": [], "usage": {{{counts}, "prompt_tokens_details": {{{counts}}}}}}}'
    end = json.dumps(ev({"content": "x"}, "stop"))
    events = heard([f"data: {end}\n\ndata: {told}\n\n".encode()])
    assert events is not None
    assert isinstance(events[-1], UpstreamFinish)
    assert events[-1].usage == Usage(cost=-1 if number == "-1" else None)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(["content", "tokens", "token_logprobs", "top_logprobs"]), ANY), ANY)
def test_any_log_probabilities_too(logprobs: Any, inner: Any) -> None:
    listed = {"content": [{"token": inner, "bytes": inner, "logprob": inner, "top_logprobs": inner}]}
    older = {"tokens": ["x"], "token_logprobs": inner, "top_logprobs": [inner]}
    for one in (logprobs, listed, older):
        read_scores(one)


@settings(deadline=None)
@given(st.sampled_from([0, 400, 402, 413, 422, 429, 500]), ANY, st.booleans())
def test_any_error_is_one(status: int, said: Any, inside: bool) -> None:
    body = {"error": {"message": said, "code": said, "param": said, "type": said}} if inside else said
    error = refusal(read_failure(status, body, {}), "u")
    assert json.dumps([error.message, error.param, error.code], ensure_ascii=False).encode()


SIGNATURE = {"google": {"thought_signature": "s"}}
DETAILS = [
    {"type": "reasoning.text", "index": 0, "text": "h"},
    {"type": "reasoning.text", "index": 0, "text": "m", "signature": "s"},
]
EXTRAS = [
    ev({"role": "assistant", "reasoning_details": DETAILS[:1]}),
    ev({"content": "See.", "reasoning_details": DETAILS[1:]}),
    ev({"annotations": [{"type": "url_citation"}], "extra_content": SIGNATURE}),
    ev({"tool_calls": [piece("look", '{"a": "x"}', index=0, id="a", extra_content=SIGNATURE)]}),
    ev({}, "tool_calls"),
    {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2, "cost": 0.25}},
]
EXTRA_STEPS = (*(b"data: " + json.dumps(one).encode() + b"\n\n" for one in EXTRAS), DONE)


def test_what_stands_beside_an_answer_comes_back(chain: Hosted, client: httpx.Client) -> None:
    chain.wire.plan("extras", Reply(EXTRA_STEPS))
    told = ask(client, chain.server, "chat", body("chat", "extras", ASKED)).json()
    message = told["choices"][0]["message"]
    assert message["tool_calls"][0]["extra_content"] == message["extra_content"] == SIGNATURE
    assert message["annotations"] == [{"type": "url_citation"}]
    assert message["reasoning_details"] == [{**DETAILS[1], "text": "hm"}]
    assert told["usage"]["cost"] == 0.25


def test_nor_is_it_lost_in_a_stream(chain: Hosted, client: httpx.Client) -> None:
    chain.wire.plan("extras streamed", Reply(EXTRA_STEPS))
    asked = {**ASKED, "stream": True, "stream_options": {"include_usage": True}}
    told = list(events(ask(client, chain.server, "chat", body("chat", "extras streamed", asked))))
    deltas = [choice["delta"] for event in told for choice in event["choices"]]
    found = {key: value for delta in deltas for key, value in delta.items()}
    assert found["extra_content"] == SIGNATURE
    assert [one["reasoning_details"][0]["text"] for one in deltas if "reasoning_details" in one] == ["h", "m"]
    calls = [delta["tool_calls"][0] for delta in deltas if "tool_calls" in delta]
    assert calls[0]["extra_content"] == SIGNATURE
    assert told[-1]["usage"]["cost"] == 0.25


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("dialect", ["messages", "responses", "ollama", "completions"])
def test_a_refusal_and_a_price_in_other_dialects(
    chain: Hosted, client: httpx.Client, dialect: str, stream: bool
) -> None:
    told = [ev({"refusal": "I can"}), ev({"refusal": "not."}), ev({}, "stop"), EXTRAS[-1]]
    steps = (*(b"data: " + json.dumps(one).encode() + b"\n\n" for one in told), DONE)
    key = f"refusal in {dialect} {stream}"
    chain.wire.plan(key, Reply(steps))
    response = ask(client, chain.server, dialect, {**body(dialect, key, {}), "stream": stream})
    assert response.status_code == 200, response.text
    pieces = ["I can", "not."] if stream else ["I cannot."]
    assert all(piece in response.text for piece in pieces)
    marks = {"messages": '"stop_reason":"refusal"', "responses": '"type":"refusal"'}
    assert marks.get(dialect, "") in response.text
    assert ("0.25" in response.text) == (dialect != "ollama" and (dialect != "completions" or not stream))
