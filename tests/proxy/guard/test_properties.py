"""Whatever the attempts are and however they are cut: the same answer, only valid calls, within bounds."""

from __future__ import annotations

import asyncio
import itertools
import json
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.codecs.openai_request import decode_request
from proxy.conversation.events import Answer, FinishReason, ToolCallReady, Usage, collect
from proxy.conversation.request import ChatRequest
from proxy.conversation.verdict import GiveUp, GuardMode, Verdict
from proxy.guard.guard import Guard
from proxy.guard.policy import GuardPolicy
from proxy.upstreams.base import UpstreamCall
from proxy.upstreams.scripted import Script, ScriptedUpstream
from repair.tools import ToolSet
from tests.proxy.requests import BAD_TYPE_CALL, CALL, CUT_CALL, HOPELESS_CALL, SLOPPY_CALL, TOOLS, body

TEXTS = st.sampled_from(
    [CALL, SLOPPY_CALL, HOPELESS_CALL, BAD_TYPE_CALL, CUT_CALL, "</tool_call>", "Well. ", "\n", "{", "é😀"]
)
STRUCTURE = st.builds(
    UpstreamCall,
    st.sampled_from(["get_weather", "get_time", "Get_Weather", "nothing"]),
    st.sampled_from(['{"city": "Oslo"}', '{"city": "Oslo",}', '{"days": 1}', "{}", '{"city": "O', ""]),
    st.booleans(),
)
STEPS = st.lists(TEXTS | STRUCTURE, max_size=4)
ATTEMPTS = st.lists(st.tuples(STEPS, st.sampled_from(["stop", "length"])), min_size=1, max_size=4)


async def answer(attempts: list[Script], asked: ChatRequest, mode: GuardMode) -> Answer:
    upstream = ScriptedUpstream(lambda _: attempts[min(len(upstream.played), len(attempts) - 1)])
    exchange = await Guard(upstream, GuardPolicy(mode=mode)).open(asked)
    try:
        found = await collect(exchange.events())
    finally:
        await exchange.aclose()
    assert all(played.closed for played in upstream.played)
    assert found.finish.attempts == len(upstream.played) <= 3
    return found


def cut(steps: list[str | UpstreamCall], places: list[int]) -> list[str | UpstreamCall]:
    result: list[str | UpstreamCall] = []
    for step in steps:
        if isinstance(step, UpstreamCall):
            result.append(step)
            continue
        ends = sorted({0, len(step), *(place for place in places if place < len(step))})
        result += [step[start:end] for start, end in itertools.pairwise(ends)]
    return result


@settings(max_examples=150, deadline=None)
@given(
    attempts=ATTEMPTS,
    places=st.lists(st.integers(1, 80), max_size=8),
    mode=st.sampled_from([GuardMode.repair, GuardMode.full, GuardMode.constrain]),
    choice=st.sampled_from(["auto", "none", "required"]),
    parallel=st.booleans(),
)
def test_only_valid_calls_and_the_same_for_every_split(
    attempts: list[tuple[list[str | UpstreamCall], str]],
    places: list[int],
    mode: GuardMode,
    choice: str,
    parallel: bool,
) -> None:
    asked = decode_request(
        json.dumps(body(tools=TOOLS, tool_choice=choice, parallel_tool_calls=parallel)).encode()
    ).request
    whole = asyncio.run(answer([Script(steps, finish) for steps, finish in attempts], asked, mode))
    split = [Script(cut(steps, places), finish) for steps, finish in attempts]
    assert _plain(asyncio.run(answer(split, asked, mode))) == _plain(whole)
    tools = ToolSet.compile(asked.tools)
    valid = [_is_valid(call, tools) for call in whole.calls]
    # what is handed over when the guard gives up is refused by whoever validates it
    assert all(valid) is (whole.finish.given_up is not GiveUp.client)
    assert choice != "none" or not whole.calls
    assert parallel or len(whole.calls) < 2
    assert (whole.finish.reason is FinishReason.tool_calls) == bool(whole.calls)
    assert (whole.finish.verdict is Verdict.failed) == (whole.finish.given_up is not None)
    assert whole.finish.given_up is not GiveUp.text or not whole.calls


def _is_valid(call: ToolCallReady, tools: ToolSet) -> bool:
    tool = tools.get(call.name)
    return tool is not None and tool.schema.validator.is_valid(json.loads(call.arguments))


def _plain(found: Answer) -> Answer:
    """Without ids, and without tokens: the upstream here counts its pieces."""
    calls = tuple(replace(call, id="") for call in found.calls)
    return replace(found, calls=calls, finish=replace(found.finish, usage=Usage()))
