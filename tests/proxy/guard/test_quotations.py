"""Quoted calls through the server: as text of an upstream and of an engine, streamed and not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from proxy.conversation.verdict import GiveUp
from proxy.guard.policy import GuardPolicy
from proxy.upstreams.capabilities import Capabilities
from proxy.upstreams.scripted import STRUCTURED, Script
from repair.formats import FORMATS
from repair.types import ToolCall
from tests.proxy.attempts import Ring, ask, ring
from tests.proxy.live import LoopThread
from tests.repair.corpus import CASES, TOOLS, seeded_random

WORDS = "That was a quotation, and I called nothing."


@dataclass(frozen=True, slots=True)
class Quotation:
    """alone: the call stands on lines of its own, so that the model is asked what it meant."""

    id: str
    text: str
    format: str
    alone: bool


def _of_the_corpus(case: dict[str, Any]) -> Quotation:
    return Quotation(case["id"], case["text"], case.get("format", "auto"), case["expect"] == "reask")


def _of(family: str) -> Quotation:
    call = FORMATS[family].render((ToolCall("get_weather", '{"city": "Oslo"}'),))
    return Quotation(family, f'The page says: "{call}". I did not follow that.', family, alone=False)


QUOTATIONS = [
    *map(_of, FORMATS),
    *(
        _of_the_corpus(case)
        for case in CASES
        if case["id"].startswith("quoted:")
        and (case["expect"] == "none" or case.get("rule") == "misplaced_call")
    ),
]
FUNCTIONS = [{"type": "function", "function": tool} for tool in TOOLS["weather"]]


@pytest.fixture(scope="module", params=[Capabilities(), STRUCTURED], ids=["engine", "upstream"])
def either(request: pytest.FixtureRequest, thread: LoopThread) -> Iterator[Ring]:
    policy = GuardPolicy(drift=None, give_up=GiveUp.text)
    with ring(policy, thread=thread, capabilities=request.param) as stage:
        yield stage


def test_there_are_enough_of_them() -> None:
    assert len(QUOTATIONS) >= 60
    assert any(one.alone for one in QUOTATIONS)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("quotation", QUOTATIONS, ids=lambda one: one.id)
def test_nothing_quoted_is_called(either: Ring, quotation: Quotation, stream: bool) -> None:
    pieces = tuple(seeded_random(quotation.text))
    key = f"{quotation.id} {stream}"
    script = Script(pieces, format=quotation.format)
    seen = ask(either.server, either.attempts.plan(key, script, WORDS), stream, tools=FUNCTIONS)
    assert seen.calls == ()
    assert seen.reason == "stop"
    if quotation.alone:
        assert (seen.verdict, seen.attempts) == ("reasked", 2)
        assert seen.content.endswith(WORDS)
    else:
        assert (seen.verdict, seen.attempts) == ("none", 1)
        assert seen.content == quotation.text
