"""Several answers to one request, and the log probabilities of their tokens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from proxy.conversation.errors import Overloaded
from proxy.conversation.events import Event, Finish, FinishReason, Usage, total
from proxy.conversation.logprobs import Candidate, Logprobs, TextWithLogprobs, TokenLogprob
from proxy.conversation.request import ChatRequest, Sampling
from proxy.conversation.shown_tokens import with_logprobs
from proxy.conversation.verdict import Verdict
from proxy.guard.choices import Delivery, merged, open_delivery
from proxy.guard.deadline import Deadline
from proxy.upstreams.scripted import Script, Stall
from repair.types import ReasoningDelta, TextDelta
from tests.proxy.conftest import Stage
from tests.proxy.live import scripted, serving
from tests.proxy.requests import CALL, SLOPPY_CALL, TOOLS, body, user


def test_each_answer_is_guarded_for_itself(stage: Stage) -> None:
    stage.playbook.scripts["three"] = Script(("see\n", SLOPPY_CALL))
    create = stage.server.client().chat.completions.with_raw_response.create
    raw = create(model="scripted", messages=[user("three")], tools=TOOLS, n=3)
    answer = raw.parse()
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert all(choice.finish_reason == "tool_calls" for choice in answer.choices)
    ids = {call.id for choice in answer.choices for call in choice.message.tool_calls or []}
    assert len(ids) == 3
    assert (raw.headers["x-fortieth-verdict"], raw.headers["x-fortieth-fixes"]) == ("repaired", "3")
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (7, 6), "the prompt counts once"


def test_streams_of_several_answers_interleave(stage: Stage) -> None:
    pieces = ("a", Stall(0.01), "b", Stall(0.01), "c")
    stage.playbook.scripts["mixed"] = Script(pieces)
    stream = stage.server.client().chat.completions.create(
        model="scripted", messages=[user("mixed")], n=3, stream=True, stream_options={"include_usage": True}
    )
    texts, finishes, usages, order = ["", "", ""], [], [], []
    for chunk in stream:
        if chunk.usage:
            usages.append(chunk.usage)
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
            order += [choice.index] if choice.delta.content else []
            finishes += [choice.index] if choice.finish_reason else []
    assert texts == ["abc"] * 3
    assert sorted(finishes) == [0, 1, 2]
    assert order != sorted(order), "none waits for another"
    assert [(usage.prompt_tokens, usage.completion_tokens) for usage in usages] == [(7, 9)]


def test_one_failing_answer_fails_the_request(stage: Stage) -> None:
    played = len(stage.upstream.played)
    stage.playbook.scripts["half"] = Script(("a", ZeroDivisionError("a defect")))
    raw = stage.server.post(body("half", n=2, stream=True)).text
    assert raw.count('"error"') == 1
    assert "[DONE]" not in raw
    assert all(one.closed for one in stage.upstream.played[played:])
    assert stage.server.post(body("half", n=2)).status_code == 500


async def test_one_refused_answer_closes_the_others() -> None:
    closed: list[int] = []

    class Opened:
        session = "s"

        async def events(self) -> AsyncIterator[Event]:
            yield TextDelta("never")

        async def aclose(self) -> None:
            closed.append(1)

    async def open_one(request: ChatRequest) -> Opened:
        if request.sampling.seed == 9:
            await asyncio.sleep(0.01)
            raise Overloaded("full")
        return Opened()

    asked = ChatRequest("", (), n=4, sampling=Sampling(seed=7))
    with pytest.raises(Overloaded):
        await open_delivery(open_one, asked, Deadline())
    assert closed == [1, 1, 1]


@pytest.mark.parametrize(
    ("seed", "expected"),
    [(None, [None] * 3), (5, [5, 6, 7]), (2**64 - 2, [2**64 - 2, 2**64 - 1, 0])],
    ids=["none", "small", "the_last"],
)
async def test_seeds_follow_each_other(seed: int | None, expected: list[int | None]) -> None:
    upstream = scripted("x")

    async def open_one(request: ChatRequest) -> Any:
        return await upstream.open(request)

    await open_delivery(open_one, ChatRequest("", (), n=3, sampling=Sampling(seed=seed)), Deadline())
    assert [played.request.sampling.seed for played in upstream.played] == expected


async def test_merging_ends_every_stream_when_its_reader_goes() -> None:
    async def endless(index: int) -> AsyncIterator[Event]:
        while True:
            await asyncio.sleep(0)
            yield TextDelta(str(index))

    streams = merged([endless(0), endless(1)])
    seen = {(await anext(streams))[0] for _ in range(6)}
    await streams.aclose()  # type: ignore[attr-defined]
    assert seen == {0, 1}
    assert asyncio.all_tasks() == {asyncio.current_task()}


def test_a_total_tells_the_worst_verdict() -> None:
    def finish(verdict: Verdict, tokens: int, *warnings: str) -> Finish:
        return Finish(FinishReason.stop, Usage(5, tokens, 2, 1), verdict, 1, tokens, warnings=warnings)

    of_each = [finish(Verdict.clean, 1, "b"), finish(Verdict.failed, 2, "c", "b"), finish(Verdict.none, 3)]
    told = Finish(FinishReason.stop, Usage(5, 6, 2, 3), Verdict.failed, 3, 3, warnings=("b", "c"))
    assert total(of_each) == told


def score(raw: bytes) -> TokenLogprob:
    return TokenLogprob(Candidate(raw, -0.5))


SCORED: dict[str, tuple[list[Event], list[tuple[str, list[bytes]]]]] = {
    "one_by_one": (
        [Logprobs((score(b"a"),)), TextDelta("a"), Logprobs((score(b"b"),)), TextDelta("b")],
        [("a", [b"a"]), ("b", [b"b"])],
    ),
    "held_back": (
        [Logprobs((score(b"a <"),)), TextDelta("a "), Logprobs((score(b"b"),)), TextDelta("<b")],
        [("a ", []), ("<b", [b"a <", b"b"])],
    ),
    "half_a_character": (
        [Logprobs((score(b"\xc3"),)), Logprobs((score(b"\xa9"),)), TextDelta("é")],
        [("é", [b"\xc3", b"\xa9"])],
    ),
    "broken_characters": (
        [Logprobs((score(b"\xff"), score(b"a"), score(b"\xe2"))), TextDelta("\ufffda"), TextDelta("\ufffd")],
        [("\ufffda", [b"\xff", b"a"]), ("\ufffd", [b"\xe2"])],
    ),
    "reasoning_is_apart": (
        [
            Logprobs((score(b"<think>"), score(b"hm"))),
            ReasoningDelta("hm"),
            Logprobs((score(b"</think>"), score(b"\n"), score(b"t"))),
            TextDelta("t"),
        ],
        [("t", [b"t"])],
    ),
    "text_of_another_attempt": (
        [Logprobs((score(b"no"),)), TextDelta("yes"), TextDelta("no")],
        [("yes", []), ("no", [b"no"])],
    ),
}


@pytest.mark.parametrize(("events", "expected"), SCORED.values(), ids=SCORED)
async def test_tokens_find_their_text(events: list[Event], expected: list[tuple[str, list[bytes]]]) -> None:
    async def source() -> AsyncIterator[Event]:
        for event in events:
            yield event

    out = [event async for event in with_logprobs(source()) if isinstance(event, TextWithLogprobs)]
    assert [(event.text, [token.chosen.raw for token in event.tokens]) for event in out] == expected


def test_a_held_call_has_no_logprobs() -> None:
    with serving(scripted("say\n", CALL)) as server:
        sent = body(tools=TOOLS, logprobs=True, top_logprobs=2)
        choice = server.post(sent).json()["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["logprobs"] is None


async def test_a_delivery_closes_all_its_answers() -> None:
    upstream = scripted("x")
    sources: Any = [await upstream.open(ChatRequest("", ())) for _ in range(3)]
    await Delivery(sources, ChatRequest("", (), n=3), Deadline()).aclose()
    assert all(played.closed for played in upstream.played)
