"""What the upstream's content filter ends is told as such, and never completed by repair."""

from __future__ import annotations

from proxy.conversation.events import FinishReason
from proxy.conversation.verdict import GuardMode
from proxy.upstreams.base import UpstreamCall
from proxy.upstreams.scripted import Script, ScriptedUpstream, Step
from tests.proxy.attempts import Attempts, ask
from tests.proxy.live import serving
from tests.proxy.requests import CALL

# the step, and whether its call goes out
CASES: dict[str, tuple[Step, bool]] = {
    "text": ("I would", False),
    "whole call": (CALL, True),
    "cut call": (CALL[:50], False),
    "structured call": (UpstreamCall("get_weather", '{"city": "Lisbon"}'), True),
    "cut structured call": (UpstreamCall("get_weather", '{"city": "Lis'), False),
}


def test_a_filtered_turn() -> None:
    plan = Attempts()
    with serving(ScriptedUpstream(plan), mode=GuardMode.repair) as server:
        for key, (step, goes_out) in CASES.items():
            plan.plan(key, Script((step,), finish="content_filter"))
            for stream in (False, True):
                seen = ask(server, key, stream)
                assert (len(seen.calls) == 1) is goes_out, key
                reason = FinishReason.tool_calls if goes_out else FinishReason.content_filter
                assert seen.reason == reason.value, key
