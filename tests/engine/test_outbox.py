"""What waits on its way out of the engine process, and what does not."""

from __future__ import annotations

import random

from engine.errors import EngineFault, to_failed
from engine.outbox import Event, Outbox, join
from engine.types import Began, Candidate, Failed, Finished, FinishReason, TextChunk, TokenLogprob


def text(id: str, said: str, tokens: int = 1) -> TextChunk:
    return TextChunk(id, said, tokens, (TokenLogprob(Candidate(1, said.encode(), -0.5), ()),))


def finished(id: str) -> Finished:
    return Finished(id=id, reason=FinishReason.stop, prompt_tokens=3, completion_tokens=2)


def test_a_first_text_leaves_at_once_and_the_next_ones_together() -> None:
    box = Outbox(0.03)
    box.put([text("a", "one")], 1.0)
    assert box.due(1.0)
    assert box.take() == [text("a", "one")]
    box.put([text("a", " two")], 1.01)
    assert not box.due(1.02)
    box.put([text("a", " three")], 1.02)
    assert not box.due(1.0399)
    assert box.due(1.0401)
    assert box.take() == [join(text("a", " two"), text("a", " three"))]
    assert box.take() == []
    assert not box.due(99.0)


def test_an_end_takes_what_waits_with_it() -> None:
    box = Outbox(0.03)
    box.put([text("a", "x"), text("b", "y")], 1.0)
    box.take()
    box.put([text("a", "1"), text("b", "2")], 1.001)
    box.put([text("a", "3"), finished("a")], 1.002)
    assert box.due(1.002)
    assert box.take() == [join(text("a", "1"), text("a", "3")), text("b", "2"), finished("a")]
    failed: Failed = to_failed("b", EngineFault("broken"))
    box.put([failed], 1.003)
    assert box.due(1.003)
    assert box.take() == [failed]


def test_what_begins_a_request_leaves_at_once_and_before_its_text() -> None:
    box = Outbox(0.03)
    box.put([text("a", "x")], 1.0)
    box.take()
    box.put([text("a", "y"), Began("b", 7), text("b", "z"), Began("c", 0)], 1.001)
    assert box.due(1.001)
    box.forget("c")
    assert box.take() == [Began("b", 7), text("a", "y"), text("b", "z")]
    assert box.take() == []


def test_of_an_aborted_request_nothing_more_leaves() -> None:
    box = Outbox(0.03)
    box.put([text("a", "x"), text("b", "x")], 1.0)
    box.take()
    box.put([text("a", "y"), text("b", "y")], 1.001)
    box.forget("a")
    box.forget("never heard of")
    assert box.take() == [text("b", "y")]
    box.put([text("a", "a new one of that name")], 1.002)
    assert box.due(1.002)


def test_without_an_interval_nothing_waits() -> None:
    box = Outbox(0.0)
    for n in range(3):
        box.put([text("a", str(n))], 1.0)
        assert box.due(1.0)
        assert box.take() == [text("a", str(n))]


def test_every_requests_text_arrives_whole_and_in_order() -> None:
    rng = random.Random(7)
    for _ in range(50):
        box, now = Outbox(0.03), 0.0
        said: dict[str, str] = {}
        got: dict[str, str] = {}
        ended: set[str] = set()
        for _ in range(200):
            now += rng.random() * 0.02
            events: list[Event] = []
            for id in rng.sample("abcdef", rng.randint(0, 4)):
                if id in ended:
                    continue
                piece = rng.choice("xyz ") * rng.randint(1, 3)
                said[id] = said.get(id, "") + piece
                events.append(text(id, piece))
                if rng.random() < 0.02:
                    ended.add(id)
                    events.append(finished(id))
            box.put(events, now)
            if box.due(now):
                _take(box, got)
        _take(box, got)
        assert got == said


def _take(box: Outbox, got: dict[str, str]) -> None:
    over: set[str] = set()
    for event in box.take():
        assert event.id not in over
        if isinstance(event, TextChunk):
            assert event.tokens == len(event.logprobs)
            got[event.id] = got.get(event.id, "") + event.text
        else:
            over.add(event.id)
