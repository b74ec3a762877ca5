"""Every fault of an upstream, streamed and not: one clean error of the right shape, nothing made up, no
hang.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from proxy.upstreams.scripted import Stall
from tests.proxy.attempts import Seen, ask
from tests.proxy.upstreams.stage import KEY, Hosted
from tests.proxy.upstreams.wire import (
    DONE,
    Cut,
    Reply,
    call_chunks,
    called,
    chunk,
    refused,
    told,
)

GOOD_CALL = ("get_weather", '{"city": "Lisbon"}')
TEXT = chunk({"content": "Well"})
CALL = call_chunks(0, *GOOD_CALL)[:2]
TOO_LONG = "This model's maximum context length is 10 tokens. However, your messages resulted in 20 tokens."


@dataclass(frozen=True, slots=True)
class Case:
    """reply: the fault. status, code: of the error. asked: how often the upstream was asked in all."""

    reply: Reply
    status: int
    code: str
    asked: int = 2
    retry_after: str | None = None


# Faults in place of a response, and those that stand behind what the upstream has said already.
REFUSALS = {
    "429": Case(refused(429, "slow down", headers={"retry-after": "7"}), 429, "rate_limit_exceeded", 1, "7"),
    "429 plain": Case(refused(429, "slow down"), 429, "rate_limit_exceeded", 1, "2"),
    "401": Case(refused(401, f"Incorrect API key: {KEY}"), 401, "invalid_api_key", 1),
    "403": Case(refused(403, "not for you"), 403, "permission_denied", 1),
    "404": Case(refused(404, "The model `x` does not exist"), 404, "model_not_found", 1),
    "400": Case(refused(400, "seed must be positive"), 400, "", 1),
    "422": Case(refused(422, "cannot be processed"), 400, "", 1),
    "context": Case(refused(400, TOO_LONG, "context_length_exceeded"), 400, "context_length_exceeded", 1),
    "500": Case(refused(500, "oops"), 503, "upstream_unavailable", 2, "2"),
    "503": Case(refused(503, "loading", headers={"retry-after": "3"}), 503, "upstream_unavailable", 2, "3"),
    "529": Case(refused(529, "overloaded"), 503, "upstream_unavailable", 2, "2"),
    "silent": Case(Reply(before=Stall(20)), 504, "upstream_timeout"),
    "cut at once": Case(Reply((Cut(),)), 503, "upstream_unavailable"),
    "html": Case(Reply((b"<html>It works</html>",)), 503, "upstream_unavailable"),
    "no bytes": Case(Reply(()), 503, "upstream_unavailable"),
    "only done": Case(Reply((DONE,)), 503, "upstream_unavailable"),
    "garbage at once": Case(Reply((b"data: {nope\n\n", DONE)), 503, "upstream_unavailable"),
    "stall in a call": Case(Reply((*CALL, Stall(20))), 504, "upstream_timeout"),
    "cut in a call": Case(Reply((*CALL, Cut())), 503, "upstream_unavailable"),
    "end in a call": Case(Reply((*CALL, DONE)), 503, "upstream_unavailable"),
}
LATE = {
    "stall": Case(Reply((TEXT, Stall(20))), 504, "upstream_timeout", 1),
    "cut": Case(Reply((TEXT, Cut())), 503, "upstream_unavailable", 1),
    "cut in a call after text": Case(Reply((TEXT, *CALL, Cut())), 503, "upstream_unavailable", 1),
    "end": Case(Reply((TEXT,)), 503, "upstream_unavailable", 1),
    "end with done": Case(Reply((TEXT, DONE)), 503, "upstream_unavailable", 1),
    "garbage": Case(Reply((TEXT, b"data: {nope\n\n", DONE)), 503, "upstream_unavailable", 1),
    "no text": Case(Reply((TEXT, b"\xff\xfe\x00\n\n", DONE)), 503, "upstream_unavailable", 1),
    "error event": Case(
        Reply((TEXT, b'data: {"error": {"message": "boom", "code": 500}}\n\n', DONE)),
        503,
        "upstream_unavailable",
        1,
    ),
}


def post(chain: Hosted, key: str, stream: bool) -> Any:
    body = {"model": model_for(key), "messages": [{"role": "user", "content": key}], "stream": stream}
    return chain.server.post(body)


def model_for(key: str) -> str:
    return "brief" if "stall" in key or "silent" in key else "wire"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("name", [*REFUSALS, *LATE])
def test_a_fault_is_one_clean_error(chain: Hosted, name: str, stream: bool) -> None:
    case = {**REFUSALS, **LATE}[name]
    key = chain.wire.plan(f"{name} {stream}", case.reply)
    response = post(chain, key, stream)
    if stream and name in LATE:
        assert response.status_code == 200
        *said, last = [line for line in response.text.split("\n\n") if line.startswith("data: {")]
        texts = [json.loads(one[6:])["choices"][0] for one in said]
        assert "".join(one["delta"].get("content") or "" for one in texts) == "Well"
        assert not any("tool_calls" in one["delta"] or one["finish_reason"] for one in texts)
        error = json.loads(last[6:])["error"]
    else:
        # a fault that comes after the window stands in the stream
        assert response.status_code == case.status
        error = response.json()["error"]
        assert response.headers.get("retry-after") == case.retry_after or case.retry_after is None
    assert (error["code"] or "") == case.code
    assert KEY not in response.text
    assert "litellm" not in response.text.lower()
    assert len(chain.wire.asked(key)) == case.asked


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("name", ["500", "silent", "cut at once", "garbage at once", "cut in a call"])
def test_asked_again_while_nothing_was_said(chain: Hosted, name: str, stream: bool) -> None:
    key = chain.wire.plan(f"again {name} {stream}", REFUSALS[name].reply, called(GOOD_CALL))
    seen = ask(chain.server, key, stream, model=model_for(key))
    assert seen.calls == (GOOD_CALL,)
    assert (seen.verdict, seen.attempts) == ("clean", 1)
    assert len(chain.wire.asked(key)) == 2


# what the upstream answers first, and what the client gets where the second answer is right
ANSWERS: dict[str, tuple[Reply, Seen]] = {
    "text": (told("It ", "rains."), Seen(200, "It rains.", reason="stop", verdict="none")),
    "length": (told("It ", finish="length"), Seen(200, "It ", reason="length", verdict="none")),
    "filter": (told("It", finish="content_filter"), Seen(200, "It", reason="content_filter", verdict="none")),
    "call": (called(GOOD_CALL), Seen(200, "", calls=(GOOD_CALL,), reason="tool_calls", verdict="clean")),
    "two calls": (
        called(GOOD_CALL, ("get_time", "{}"), text="Let me see."),
        Seen(200, "Let me see.", calls=(GOOD_CALL, ("get_time", "{}")), reason="tool_calls", verdict="clean"),
    ),
    "sloppy call": (
        called(("get_weather", '{"city": "Lisbon",}')),
        Seen(200, "", calls=(GOOD_CALL,), reason="tool_calls", verdict="repaired", fixes=1),
    ),
    "leaked call": (
        told('<tool_call>\n{"name": "get_weather", "argu', 'ments": {"city": "Lisbon"}}\n</tool_call>'),
        Seen(200, "", calls=(GOOD_CALL,), reason="tool_calls", verdict="clean"),
    ),
    "hopeless call": (
        called(("get_weather", '{"days": 2}')),
        Seen(200, "", calls=(GOOD_CALL,), reason="tool_calls", verdict="reasked", attempts=2),
    ),
    "call cut by length": (
        called(("get_weather", '{"city": "Lis'), finish="length"),
        Seen(200, "", calls=(GOOD_CALL,), reason="tool_calls", verdict="reasked", attempts=2),
    ),
    "reasoning": (
        Reply((chunk({"reasoning_content": "Hm."}), TEXT, chunk({}, "stop"), DONE)),
        Seen(200, "Well", "Hm.", reason="stop", verdict="none"),
    ),
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("name", ANSWERS)
def test_what_the_upstream_says_arrives(chain: Hosted, name: str, stream: bool) -> None:
    reply, expected = ANSWERS[name]
    key = chain.wire.plan(f"{name} {stream}", reply, called(GOOD_CALL))
    seen = ask(chain.server, key, stream, model="wire")
    assert not seen.error
    told_of = (seen.content.strip(), seen.reasoning, seen.calls, seen.reason, seen.verdict, seen.fixes)
    assert told_of == (
        expected.content.strip(),
        expected.reasoning,
        expected.calls,
        expected.reason,
        expected.verdict,
        expected.fixes,
    )
    assert seen.attempts == max(1, expected.attempts)
