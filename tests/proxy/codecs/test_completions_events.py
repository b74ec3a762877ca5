"""What a completion looks like, whole and streamed: literal, after OpenAI's documentation of the API."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from proxy.conversation.errors import UpstreamUnavailable
from proxy.conversation.events import Usage
from proxy.http.routes import Limits
from proxy.upstreams.base import UpstreamText
from proxy.upstreams.scripted import Script, Stall
from tests.proxy.attempts import agree, of_headers
from tests.proxy.codecs.completions import MARKUP, ScoredUpstream, complete, completing, score
from tests.proxy.live import serving

ENVELOPE = {"object": "text_completion", "model": "scripted", "system_fingerprint": "fp_scripted"}


def read(raw: str) -> list[Any]:
    """The data of a stream's events, in order; comments as they are. The fields of the envelope are looked at
    and taken out.
    """
    found: list[Any] = []
    ids = set()
    told = 0
    for block in raw.split("\n\n"):
        for line in block.split("\n"):
            if not line.startswith("data: {"):
                found += [line] if line else []
                continue
            data = json.loads(line.removeprefix("data: "))
            if "fortieth" in data:
                own = data.pop("fortieth")
                assert (own["verdict"], own["fixes"], own["attempts"], bool(own["session"])) == (
                    "none",
                    0,
                    1,
                    True,
                )
                told += 1
            if "error" not in data:
                ids.add((data.pop("id"), data.pop("created")))
                assert {name: data.pop(name) for name in ENVELOPE} == ENVELOPE
            found.append(data)
    assert len(ids) <= 1
    assert bool(told) == ("data: [DONE]" in raw), "every stream that ends well tells the verdict"
    assert all(re.fullmatch("cmpl-[0-9a-f]{28}", id) and isinstance(created, int) for id, created in ids)
    return found


def piece(text: str, index: int = 0, reason: str | None = None, logprobs: Any = None) -> dict[str, Any]:
    return {"text": text, "index": index, "logprobs": logprobs, "finish_reason": reason}


def chunk(text: str, index: int = 0, reason: str | None = None, **more: Any) -> dict[str, Any]:
    return {"choices": [piece(text, index, reason)], **more}


VERDICT = ": x-fortieth-verdict: none; fixes=0; attempts=1"
USAGE = {
    "prompt_tokens": 7,
    "completion_tokens": 2,
    "total_tokens": 9,
    "prompt_tokens_details": {"cached_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 0},
}

BOTH = {
    **USAGE,
    "prompt_tokens": 12,
    "total_tokens": 14,
    "prompt_tokens_details": {"cached_tokens": 2},
}


def test_a_whole_answer() -> None:
    with completing() as server:
        response = complete(server)
    answer = response.json()
    agree(answer.pop("fortieth"), of_headers(response))
    assert re.fullmatch("cmpl-[0-9a-f]{28}", answer.pop("id"))
    assert isinstance(answer.pop("created"), int)
    assert answer == {**ENVELOPE, "choices": [piece("upon a time", reason="stop")], "usage": USAGE}
    assert response.headers["x-fortieth-verdict"] == "none"


@pytest.mark.parametrize(
    ("fields", "events"),
    [
        ({}, [chunk("upon"), chunk(" a time"), chunk("", reason="stop"), VERDICT, "data: [DONE]"]),
        (
            {"echo": True},
            [
                chunk("once"),
                chunk("upon"),
                chunk(" a time"),
                chunk("", reason="stop"),
                VERDICT,
                "data: [DONE]",
            ],
        ),
        (
            {"stream_options": {"include_usage": True}},
            [
                chunk("upon", usage=None),
                chunk(" a time", usage=None),
                chunk("", reason="stop", usage=None),
                {"choices": [], "usage": USAGE},
                VERDICT,
                "data: [DONE]",
            ],
        ),
        ({"stop": " a"}, [chunk("upon"), chunk("", reason="stop"), VERDICT, "data: [DONE]"]),
    ],
    ids=["plain", "echo", "usage", "stop"],
)
def test_a_stream(fields: dict[str, Any], events: list[Any]) -> None:
    with completing() as server:
        response = complete(server, stream=True, **fields)
    assert response.headers["content-type"].startswith("text/event-stream")
    assert read(response.text) == events


def test_nothing_in_the_text_is_taken_for_more_than_text() -> None:
    script = Script(tuple(MARKUP), finish="length")
    with completing({"once": script}) as server:
        whole = complete(server).json()["choices"][0]
        streamed = read(complete(server, stream=True).text)
    assert (whole["text"], whole["finish_reason"]) == (MARKUP, "length")
    assert "".join(one["choices"][0]["text"] for one in streamed if isinstance(one, dict)) == MARKUP


def test_several_prompts_have_their_answers_in_order() -> None:
    slow = Script((Stall(0.05), "late"), usage=Usage(5, 0, 2))
    with completing({"a": slow, "b": Script(("soon",)), (1, 2): Script(("tokens",))}) as server:
        texts = complete(server, prompt=["a", "b"], n=2, echo=True).json()
        tokens = complete(server, prompt=[[1, 2], [3]]).json()
        streamed = read(
            complete(server, prompt=["a", "b"], stream=True, stream_options={"include_usage": True}).text
        )
    assert [(one["index"], one["text"]) for one in texts["choices"]] == [
        (0, "alate"),
        (1, "alate"),
        (2, "bsoon"),
        (3, "bsoon"),
    ]
    assert texts["usage"]["prompt_tokens"] == 5 + 7, "each prompt counts once"
    assert texts["usage"]["prompt_tokens_details"] == {"cached_tokens": 2}
    assert texts["usage"]["completion_tokens"] == 4
    assert [one["text"] for one in tokens["choices"]] == ["tokens", "upon a time"]
    assert streamed == [
        chunk("soon", 1, usage=None),
        chunk("", 1, "stop", usage=None),
        chunk("late", 0, usage=None),
        chunk("", 0, "stop", usage=None),
        {"choices": [], "usage": BOTH},
        VERDICT,
        "data: [DONE]",
    ]


SCORED = (
    UpstreamText("é", 2, (score(b"\xc3", -0.5, a=-0.25), score(b"\xa9", -1.0))),
    UpstreamText("ab", 2, (score("a", -2.0, a=-2.0, x=-3.0), score("b", -4.0))),
)
LOGPROBS: dict[str, list[Any]] = {
    "tokens": ["bytes:\\xc3", "bytes:\\xa9", "a", "b"],
    "token_logprobs": [-0.5, -1.0, -2.0, -4.0],
    "top_logprobs": [
        {"a": -0.25, "bytes:\\xc3": -0.5},
        {"bytes:\\xa9": -1.0},
        {"a": -2.0, "x": -3.0},
        {"b": -4.0},
    ],
    "text_offset": [0, 0, 1, 2],
}


def test_log_probabilities_run_beside_each_other() -> None:
    with serving(ScoredUpstream(*SCORED)) as server:
        whole = complete(server, logprobs=1).json()["choices"]
        streamed = read(complete(server, logprobs=1, stream=True).text)
        unasked = complete(server).json()["choices"]
    assert whole == [piece("éab", reason="stop", logprobs=LOGPROBS)]
    parts = [{name: values[at] for name, values in LOGPROBS.items()} for at in (slice(0, 2), slice(2, 4))]
    assert streamed[:3] == [
        {"choices": [piece("é", logprobs=parts[0])]},
        {"choices": [piece("ab", logprobs=parts[1])]},
        chunk("", reason="stop"),
    ]
    assert unasked == [piece("éab", reason="stop")]


def test_a_stream_that_fails_ends_in_an_error() -> None:
    script = Script(("upon", UpstreamUnavailable("it is gone")))
    with completing({"once": script}) as server:
        events = read(complete(server, stream=True).text)
    assert events == [
        chunk("upon"),
        {
            "error": {
                "message": "it is gone",
                "type": "server_error",
                "param": None,
                "code": "upstream_unavailable",
            }
        },
    ]


def test_a_silent_stream_is_kept_alive() -> None:
    with completing({"once": Script((Stall(0.3), "x"))}, limits=Limits(keep_alive_s=0.05)) as server:
        events = read(complete(server, stream=True).text)
    assert events[0] == chunk("")
    assert [one for one in events if one != chunk("")] == [
        chunk("x"),
        chunk("", reason="stop"),
        VERDICT,
        "data: [DONE]",
    ]
