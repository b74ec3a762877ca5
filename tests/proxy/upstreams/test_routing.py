"""LiteLLM's Router chooses, and hears from us how each server did: its strategies over real servers."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from proxy.codecs.openai_request import decode_request
from proxy.conversation.errors import RequestError
from proxy.records.request_record import Ending
from proxy.upstreams.base import UpstreamFinish
from proxy.upstreams.remote.deployments import Deployment
from proxy.upstreams.remote.generation import HostedGeneration
from proxy.upstreams.remote.litellm import LiteLLMUpstream, Routing
from proxy.upstreams.remote.target import Target
from proxy.upstreams.scripted import Stall
from tests.proxy.attempts import Accounts, ask
from tests.proxy.live import LoopThread
from tests.proxy.upstreams.stage import hosted
from tests.proxy.upstreams.wire import Cut, Reply, WireUpstream, called, chunk, refused, told, wire_serving


@contextlib.contextmanager
def served(
    routing: Routing, *wires: WireUpstream, spare: WireUpstream | None = None
) -> Iterator[tuple[LoopThread, LiteLLMUpstream]]:
    """All wires under the name `m`, which falls back to the spare one."""
    thread = LoopThread()
    with contextlib.ExitStack() as stack:
        stack.callback(thread.close)
        for wire in (*wires, *([spare] if spare else [])):
            stack.enter_context(wire_serving(wire))
        fallbacks = ("spare",) if spare else ()
        targets = [Target(base_url=one.base_url, name="m", fallbacks=fallbacks) for one in wires]
        if spare:
            targets.append(Target(base_url=spare.base_url, name="spare"))
        upstream = thread.run(LiteLLMUpstream.start(targets, routing, {}))
        try:
            yield thread, upstream
        finally:
            # its session alone: LiteLLM's clients are the process's, and other tests need them
            thread.run(upstream.close_servers())


def wire(reply: Reply) -> WireUpstream:
    return WireUpstream(reply, [{"id": "m"}])


async def opened(upstream: LiteLLMUpstream, constrained: bool = False) -> HostedGeneration:
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    request = decode_request(json.dumps(body).encode()).request
    return await upstream.open(replace(request, constrained=constrained))


async def asked(upstream: LiteLLMUpstream) -> tuple[str, ...]:
    """One request to its end; the base_urls that were asked for it, whether it failed or not."""
    try:
        generation = await opened(upstream)
    except RequestError as error:
        return places(error.asked)
    try:
        found = [event async for event in generation]
    except RequestError as error:
        return places(error.asked)
    finally:
        await generation.aclose()
    assert isinstance(found[-1], UpstreamFinish)
    return places(found[-1].asked)


def places(asked: tuple[str, ...]) -> tuple[str, ...]:
    """Of "NAME at URL as MODEL" the URL."""
    return tuple(one.split(" at ")[1].split(" as ")[0] for one in asked)


def test_the_least_busy_one_is_asked() -> None:
    one, two = wire(told("a")), wire(told("b"))
    with served(Routing(strategy="least-busy"), one, two) as (thread, upstream):
        for count in (2, 4):
            running = [thread.run(opened(upstream)) for _ in range(4)]
            assert (len(one.heard), len(two.heard)) == (count, count)
            for generation in running:
                thread.run(generation.aclose())


def test_the_quicker_one_is_asked() -> None:
    slow, quick = wire(Reply(told("a").steps, before=Stall(1.5))), wire(told("b"))
    with served(Routing(strategy="latency-based-routing"), slow, quick) as (thread, upstream):
        for _ in range(8):
            thread.run(asked(upstream))
    assert len(slow.heard) <= 2, "each is tried, then the quicker one"
    assert len(quick.heard) >= 6


@pytest.mark.parametrize(
    "fault",
    [refused(500, "broken"), refused(401, "no"), refused(429, "slow down"), Reply((Cut(),))],
    ids=["500", "401", "429", "cut"],
)
def test_one_that_failed_is_left_out_and_named(fault: Reply) -> None:
    bad, good, spare = wire(fault), wire(told("b")), wire(told("c"))
    with served(Routing(cooldown_s=60, retries=3), bad, good, spare=spare) as (thread, upstream):
        found = [thread.run(asked(upstream)) for _ in range(12)]
    assert len(bad.heard) <= 1
    last = good.base_url
    assert set(found) <= {(last,), (bad.base_url, last), (bad.base_url, spare.base_url)}
    assert found[-1] == (last,)


def test_one_that_breaks_in_the_middle_is_left_out_too() -> None:
    bad, good = wire(Reply((chunk({"content": "a"}), Cut()))), wire(told("b"))
    with served(Routing(cooldown_s=60), bad, good) as (thread, upstream):
        found = [thread.run(asked(upstream)) for _ in range(12)]
    assert found.count((bad.base_url,)) == len(bad.heard) <= 1
    assert found[-1] == (good.base_url,)


def test_a_bad_request_says_nothing_of_the_server() -> None:
    one = wire(refused(400, "seed must be positive"))
    with served(Routing(cooldown_s=60), one, wire(refused(400, "too"))) as (thread, upstream):
        found = [thread.run(asked(upstream)) for _ in range(12)]
    assert len(set(found)) == 2, "both are asked all the same"


@pytest.mark.parametrize("constrained", [True, False])
def test_no_server_says_that_it_constrained(constrained: bool) -> None:
    async def finish(upstream: LiteLLMUpstream) -> UpstreamFinish:
        generation = await opened(upstream, constrained)
        last = [event async for event in generation][-1]
        await generation.aclose()
        assert isinstance(last, UpstreamFinish)
        return last

    with served(Routing(), wire(told("a"))) as (thread, upstream):
        assert thread.run(finish(upstream)).unconstrained is constrained


def test_two_keys_for_one_server_are_two_deployments() -> None:
    targets = [Target(base_url="http://h/v1", model="m", api_key_env=key) for key in ("ONE", "TWO")]
    deployments = [Deployment(one, "m", "openai/m", "k") for one in targets]
    assert len({one.router_id for one in deployments}) == 2


def test_an_error_names_all_that_were_asked() -> None:
    one, spare = wire(refused(500, "broken")), wire(refused(500, "broken too"))
    with served(Routing(retries=1), one, spare=spare) as (thread, upstream):
        found = thread.run(asked(upstream))
    assert found == (one.base_url,) * 2 + (spare.base_url,) * 2


def test_the_account_names_who_was_asked() -> None:
    accounts = Accounts()
    one = WireUpstream(told("a"), [{"id": "wire"}])
    with hosted(one, sinks=(accounts,)) as stage:
        place = (f"wire at {one.base_url} as openai/wire with WIRE_KEY",)
        good, bad = ("get_weather", '{"city": "Lisbon"}'), ("get_weather", '{"days": 2}')
        ask(stage.server, one.plan("mended", called(bad), called(good)), False, model="wire")
        first, second = accounts.kept[-1].attempts
        assert (first.asked, first.unconstrained) == (place, False)
        assert (second.asked, second.constrained, second.unconstrained) == (place, True, True)
        ask(stage.server, one.plan("closed", refused(401, "no")), False, model="wire")
        (only,) = accounts.kept[-1].attempts
        assert (only.asked, only.verdict, "no" in only.error) == (place, None, True)
        ask(stage.server, one.plan("broken", Reply((chunk({"content": "a"}), Cut()))), True, model="wire")
        (only,) = accounts.kept[-1].attempts
        assert (only.asked, accounts.kept[-1].ending) == (place, Ending.failed)
