"""Prompts without a chat template at upstreams that are somebody else's."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.codecs.openai_completions_request import decode_request
from proxy.conversation.errors import BadRequest
from proxy.conversation.request import ChatRequest
from proxy.upstreams.remote.litellm import HostedSource
from proxy.upstreams.remote.mapping import raw_params
from tests.proxy.codecs.completions import complete
from tests.proxy.upstreams.stage import Hosted
from tests.proxy.upstreams.wire import DONE, Reply, refused


def event(text: str, finish: str | None = None, logprobs: Any = None, **fields: Any) -> bytes:
    """One SSE event of a completion."""
    choice = {"index": 0, "text": text, "logprobs": logprobs, "finish_reason": finish}
    data = {"id": "cmpl-wire", "object": "text_completion", "created": 1, "choices": [choice], **fields}
    return b"data: " + json.dumps(data).encode() + b"\n\n"


COUNTS = {"prompt_tokens": 5, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 4}}
COUNTED = event("", usage=COUNTS, choices=[])


def told(*texts: str, finish: str = "stop") -> Reply:
    return Reply((*map(event, texts), event("", finish), COUNTED, DONE))


def decoded(**fields: Any) -> ChatRequest:
    return decode_request(json.dumps({"prompt": "p", **fields}).encode()).request


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {"prompt": "p", "max_tokens": 16}),
        ({"prompt": [1, 2], "max_tokens": -1}, {"prompt": (1, 2)}),
        (
            {"suffix": "s", "logprobs": 2, "stop": "x", "seed": 0, "temperature": 0},
            {
                "prompt": "p",
                "max_tokens": 16,
                "suffix": "s",
                "logprobs": 2,
                "stop": ["x"],
                "seed": 0,
                "temperature": 0.0,
            },
        ),
        ({"logprobs": 0}, {"prompt": "p", "max_tokens": 16, "logprobs": 0}),
        (
            {"top_k": 4, "ignore_eos": True, "add_special_tokens": False},
            {
                "prompt": "p",
                "max_tokens": 16,
                "top_k": 4,
                "ignore_eos": True,
                "add_special_tokens": False,
            },
        ),
    ],
    ids=["plain", "tokens", "most", "no_top", "open_servers"],
)
def test_what_a_server_is_sent(fields: dict[str, Any], expected: dict[str, Any]) -> None:
    asked = decoded(**fields)
    assert asked.raw is not None
    fixed = {"stream": True, "stream_options": {"include_usage": True}}
    assert raw_params(asked, asked.raw) == {**fixed, **expected}


def test_a_server_is_asked_for_a_completion(chain: Hosted) -> None:
    key = chain.wire.plan("go on", told("<think>", "upon", " a time"))
    answer = complete(chain.server, model="wire", prompt=key, echo=True, max_tokens=9).json()
    (heard,) = chain.wire.asked(key)
    assert heard.path == "/v1/completions"
    assert heard.body == {
        "model": "wire",
        "prompt": "go on",
        "max_tokens": 9,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert answer["choices"] == [
        {"index": 0, "text": "go on<think>upon a time", "logprobs": None, "finish_reason": "stop"}
    ]
    assert answer["usage"]["prompt_tokens"] == 5
    assert answer["usage"]["prompt_tokens_details"] == {"cached_tokens": 4}
    assert answer["usage"]["completion_tokens"] == 3


def test_each_prompt_is_asked_for_itself(chain: Hosted) -> None:
    first, second = chain.wire.plan("one", told("1", finish="length")), chain.wire.plan("two", told("2"))
    answer = complete(chain.server, model="wire", prompt=[first, second]).json()
    found = [(one["text"], one["finish_reason"]) for one in answer["choices"]]
    assert found == [("1", "length"), ("2", "stop")]
    assert answer["usage"]["prompt_tokens"] == 10


def test_its_log_probabilities_are_passed_on(chain: Hosted) -> None:
    scores = {
        "tokens": ["up", "on"],
        "token_logprobs": [-0.5, -1.5],
        "top_logprobs": [{"in": -0.9, "up": -0.5}, None],
        "text_offset": [100, 102],
    }
    key = chain.wire.plan("scored", Reply((event("upon", logprobs=scores), event("", "stop"), COUNTED, DONE)))
    answer = complete(chain.server, model="wire", prompt=key, logprobs=2).json()
    assert answer["choices"][0]["logprobs"] == {
        "tokens": ["up", "on"],
        "token_logprobs": [-0.5, -1.5],
        "top_logprobs": [{"up": -0.5, "in": -0.9}, {"on": -1.5}],
        "text_offset": [0, 2],
    }


def test_a_stop_string_is_left_out_and_the_stream_is_left(chain: Hosted) -> None:
    key = chain.wire.plan("stops", told("up", "on\nand", " on"))
    answer = complete(chain.server, model="wire", prompt=key, stop=["\n"]).json()
    assert answer["choices"][0]["text"] == "upon"
    assert chain.wire.asked(key)[0].body["stop"] == ["\n"]


@pytest.mark.parametrize(
    ("refusal", "status", "words"),
    [
        (refused(404, "Not Found"), 404, "upstream wire: Not Found"),
        (refused(400, "suffix is not currently supported"), 400, "suffix is not currently supported"),
        (refused(400, "This model's maximum context length is 9"), 400, "maximum context length is 9"),
    ],
    ids=["no_such_route", "suffix", "too_long"],
)
def test_what_a_server_cannot_do_is_told(chain: Hosted, refusal: Reply, status: int, words: str) -> None:
    key = chain.wire.plan(f"cannot {words}", refusal)
    response = complete(chain.server, model="wire", prompt=key)
    assert response.status_code == status
    assert words in response.json()["error"]["message"]
    assert len(chain.wire.asked(key)) == 1, "asking again would not help"


async def test_a_hosted_model_takes_conversations_alone(chain: Hosted) -> None:
    source = HostedSource(None, "wire", chain.upstream.group("wire"))
    with pytest.raises(BadRequest, match="wire is a hosted model and takes conversations alone") as error:
        await source.open(decoded(), frozenset())
    assert error.value.param == "prompt"
