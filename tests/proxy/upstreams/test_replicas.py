"""Sessions stay with their replica, and only those move that must."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import pytest

from proxy.codecs.openai_request import decode_request
from proxy.conversation.request import SessionId
from proxy.upstreams.remote.litellm import LiteLLMUpstream, Routing
from proxy.upstreams.remote.replicas import Standings, rank
from proxy.upstreams.remote.target import Target
from tests.proxy.live import LoopThread
from tests.proxy.upstreams.wire import WireUpstream, refused, told, wire_serving

SESSIONS = [f"session-{i}" for i in range(3000)]
FIVE = tuple(f"http://10.0.0.{i}:8040/v1" for i in range(5))


def home(session: str, replicas: tuple[str, ...]) -> str:
    return rank(session, replicas)[0]


def test_sessions_are_spread_evenly() -> None:
    counts = Counter(home(session, FIVE) for session in SESSIONS)
    # 600 each: five standard deviations of a binomial with p = 1/5 are 110
    assert all(abs(counts[replica] - 600) < 110 for replica in FIVE), counts


@pytest.mark.parametrize("gone", FIVE)
def test_when_one_goes_only_its_own_sessions_move_to_their_second_choice(gone: str) -> None:
    left = tuple(one for one in FIVE if one != gone)
    for session in SESSIONS:
        first, second, *_ = rank(session, FIVE)
        assert home(session, left) == (second if first == gone else first)


def test_when_one_comes_it_only_takes() -> None:
    new = "http://10.0.0.9:8040/v1"
    moved = [session for session in SESSIONS if home(session, (*FIVE, new)) != home(session, FIVE)]
    assert all(home(session, (*FIVE, new)) == new for session in moved)
    assert 0 < len(moved) < len(SESSIONS) / 3


def test_the_order_of_the_settings_does_not_matter() -> None:
    assert all(rank(session, FIVE) == rank(session, FIVE[::-1]) for session in SESSIONS[:100])


def test_one_that_failed_comes_last_until_its_time_is_over() -> None:
    now = [0.0]
    standings = Standings(5.0, clock=lambda: now[0])
    ranked = rank("s", FIVE)
    standings.failed(ranked[0])
    assert standings.order("s", FIVE) == (*ranked[1:], ranked[0])
    for one in ranked:
        standings.failed(one)
    assert standings.order("s", FIVE) == ranked, "with all of them down somebody is asked all the same"
    standings.served(ranked[3])
    assert standings.order("s", FIVE)[0] == ranked[3]
    now[0] = 5.0
    assert standings.order("s", FIVE) == ranked


def test_sessions_over_real_servers() -> None:
    thread = LoopThread()
    try:
        wires = [WireUpstream(told("a"), [{"id": "m"}]) for _ in range(3)]
        with wire_serving(wires[0]), wire_serving(wires[1]), wire_serving(wires[2]):
            urls = [wire.base_url for wire in wires]
            target = Target(base_url=urls[0], replicas=tuple(urls[1:]))
            upstream = thread.run(LiteLLMUpstream.start([target], Routing(cooldown_s=60), {}))
            assert [card.id for card in upstream.models] == ["m"]
            sessions = [f"s{i}" for i in range(12)]
            homes = {session: thread.run(ask(upstream, session, wires)) for session in sessions}
            assert len(set(homes.values())) > 1
            assert {session: thread.run(ask(upstream, session, wires)) for session in sessions} == homes
            down = homes["s0"]
            wires[down].default = refused(503, "going down")
            moved = {session: thread.run(ask(upstream, session, wires)) for session in sessions}
            assert down not in moved.values()
            assert all(moved[session] == homes[session] for session in sessions if homes[session] != down)
            assert thread.run(ask(upstream, "s0", wires)) == moved["s0"]
    finally:
        thread.close()


async def ask(upstream: LiteLLMUpstream, session: str, wires: list[WireUpstream]) -> int:
    """The index of the server that answered."""
    before = [len(wire.heard) for wire in wires]
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    request = decode_request(json.dumps(body).encode()).request
    request = replace(request, session=SessionId(session, "t"))
    generation = await upstream.open(request)
    try:
        assert "".join([getattr(event, "text", "") async for event in generation]) == "a"
    finally:
        await generation.aclose()
    grown = [i for i, wire in enumerate(wires) if len(wire.heard) > before[i]]
    return next(i for i in grown if wires[i].default.status == 200)
