"""Generations that were stopped because they repeat themselves: failed attempts where calls are possible."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import pytest

from engine.types import Finished, FinishReason, Output, TextChunk
from proxy.conversation.cache_report import CacheReport
from proxy.conversation.request import Sampling
from proxy.guard.policy import GuardPolicy
from proxy.upstreams.base import UpstreamCall, UpstreamFinish, UpstreamReasoning
from proxy.upstreams.engine_generation import EngineGeneration
from proxy.upstreams.sampling import SamplingDefaults, sampling_params
from proxy.upstreams.scripted import Script
from tests.proxy.attempts import Ring, ask, ring
from tests.proxy.records.test_metrics import parse
from tests.proxy.requests import CALL, LISBON

STREAM = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
WORDS = "I will look at the weather now, and then I will look again. "
OPEN = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "'
ROUND = [WORDS] * 100

STOPPED: dict[str, tuple[Any, ...]] = {
    "words": ("Well. ", *ROUND),
    "reasoning": tuple(UpstreamReasoning(one) for one in ROUND),
    "reasoning in the text": ("<think>", *ROUND),
    "an argument": (OPEN, *ROUND),
    "the same call": (CALL + "\n",) * 60,
    "the same call, cut": (CALL + "\n",) * 60 + (CALL[:20],),
    "structured arguments": (UpstreamCall("get_weather", '{"city": "' + WORDS * 100, complete=False),),
}


def looping(*steps: Any, format: str = "auto") -> Script:
    return Script(steps, finish="length", repeated=True, format=format)


@STREAM
@pytest.mark.parametrize("name", STOPPED)
def test_what_repeats_itself_is_asked_again(full: Ring, name: str, stream: bool) -> None:
    key = full.attempts.plan(f"repeats {name} {stream}", looping(*STOPPED[name]), Script((CALL,)))
    seen = ask(full.server, key, stream, max_tokens=5000, temperature=0.9)
    assert (seen.verdict, seen.reason, seen.calls) == ("reasked", "tool_calls", (LISBON,))
    again = full.attempts.asked[key][1]
    assert again.sampling.temperature == 0.9, "a colder model repeats itself all the more"
    told = [message.text for message in again.messages]
    assert "(repetition)" in told[-1]
    assert sum(map(len, told)) < 3000, "most of what was repeated is left out"
    first, second = full.accounts.kept[-1].attempts
    assert (first.repeated, second.repeated) == (True, False)


def test_what_repeats_itself_for_as_long_as_an_attempt_took_is_a_loop(full: Ring) -> None:
    long = Script((OPEN, *("x" for _ in range(700))), finish="length")
    key = full.attempts.plan("expected", long, Script(("All right.",)), Script((CALL,)))
    ask(full.server, key, False, max_tokens=5000, tool_choice="required")
    lengths = [attempt.usage.completion_tokens for attempt in full.accounts.kept[-1].attempts]
    assert lengths[0] > 700 > lengths[1]
    expected = [request.expected_tokens for request in full.attempts.asked[key]]
    assert expected == [None, lengths[0], lengths[0]]


@STREAM
def test_words_are_an_answer_where_no_call_had_begun(full: Ring, stream: bool) -> None:
    key = full.attempts.plan(f"words {stream}", looping("Well. ", *ROUND), Script(("It rains.",)))
    seen = ask(full.server, key, stream)
    assert (seen.verdict, seen.reason, seen.calls) == ("reasked", "stop", ())
    assert seen.content.endswith("\n\nIt rains.")


@STREAM
@pytest.mark.parametrize("fields", [{"tools": []}, {"tool_choice": "none"}], ids=["no_tools", "none"])
def test_without_tools_the_text_ends_as_at_a_limit(full: Ring, fields: dict[str, Any], stream: bool) -> None:
    key = full.attempts.plan(f"no tools {fields} {stream}", looping("Well. ", *ROUND))
    seen = ask(full.server, key, stream, **fields)
    assert (seen.verdict, seen.reason, seen.attempts) == ("none", "length", 1)
    assert seen.content == "Well. " + WORDS * 100
    assert full.accounts.kept[-1].attempts[0].repeated


@STREAM
def test_a_whole_call_before_words_that_repeat_themselves_is_a_call(full: Ring, stream: bool) -> None:
    key = full.attempts.plan(f"call first {stream}", looping(CALL, "\n", *ROUND, format="hermes"))
    seen = ask(full.server, key, stream)
    assert (seen.reason, seen.calls, seen.attempts) == ("tool_calls", (LISBON,), 1)


@pytest.mark.parametrize("name", STOPPED)
def test_what_nothing_could_mend_is_the_models_own_text(full: Ring, name: str) -> None:
    key = full.attempts.plan(f"hopeless {name}", looping(*STOPPED[name]))
    seen = ask(full.server, key, False)
    assert (seen.verdict, seen.reason, seen.calls, seen.attempts) == ("failed", "length", (), 3)
    assert "Lisbon" in seen.content or WORDS in seen.content + seen.reasoning


def test_an_observer_and_no_guard_leave_it_as_it_is_and_metrics_count_it() -> None:
    with ring(GuardPolicy(drift=None)) as stage:
        key = stage.attempts.plan("repeats", looping(OPEN, *ROUND))
        for mode in ("off", "observe"):
            seen = ask(stage.server, key, False, {"x-fortieth-guard": mode})
            assert (seen.reason, seen.attempts, seen.content) == ("length", 1, OPEN + WORDS * 100)
        found = parse(httpx.get(stage.server.root + "/metrics").text)
        assert found[("fortieth_repetitions_stopped_total", (("model_name", "scripted"),))] == 2


async def _events(*outputs: Output) -> list[Any]:
    async def played() -> AsyncGenerator[Output, None]:
        for output in outputs:
            yield output

    generation = EngineGeneration(
        played(), "hermes", "", lambda: None, lambda text, finished: CacheReport(0, 3)
    )
    return [event async for event in generation]


def test_the_engines_word_for_it() -> None:
    end = Finished(id="a", reason=FinishReason.repetition, prompt_tokens=3, completion_tokens=1088)
    *_, finish = asyncio.run(_events(TextChunk("a", "A" * 1088, 1088), end))
    assert isinstance(finish, UpstreamFinish)
    assert (finish.reason, finish.repeated, finish.usage.completion_tokens) == ("length", True, 1088)


def test_the_setting_reaches_the_engine() -> None:
    for wanted in (True, False):
        assert sampling_params(Sampling(), SamplingDefaults(), 10, wanted).stop_repetition is wanted
    for expected in (None, 40):
        params = sampling_params(Sampling(), SamplingDefaults(), 10, expected=expected)
        assert params.expected_tokens == expected
