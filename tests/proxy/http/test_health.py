"""/health tells the truth, and asks the upstream no more often than it must."""

from __future__ import annotations

import asyncio

import httpx

from proxy.conversation.errors import UpstreamUnavailable
from proxy.http.health import HealthCheck
from tests.proxy.live import scripted, serving


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


async def test_many_askers_share_one_check() -> None:
    upstream, clock = scripted(), Clock()
    check = HealthCheck(upstream, max_age_s=1.0, clock=clock)
    answers = await asyncio.gather(*(check.ask() for _ in range(20)))
    assert all(answer.ok for answer in answers)
    assert upstream.checks == 1
    clock.now += 0.9
    await check.ask()
    assert upstream.checks == 1
    clock.now += 0.2
    await check.ask()
    assert upstream.checks == 2


async def test_an_asker_that_leaves_takes_nothing_along() -> None:
    upstream = scripted()
    check = HealthCheck(upstream)
    first = asyncio.create_task(check.ask())
    second = asyncio.create_task(check.ask())
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).ok
    assert upstream.checks == 1


def test_the_route() -> None:
    upstream = scripted()
    with serving(upstream) as server:
        response = httpx.get(server.root + "/health")
        assert (response.status_code, response.json()) == (200, {"status": "ok", "models": ["scripted"]})
        assert httpx.head(server.root + "/health").status_code == 200
    upstream.health = UpstreamUnavailable("the engine is restarting: signal 9")
    with serving(upstream) as server:
        response = httpx.get(server.root + "/health")
        assert response.status_code == 503
        assert response.json() == {
            "status": "unavailable",
            "reason": "the engine is restarting: signal 9",
        }
        assert response.headers["retry-after"] == "1"
    upstream.health = ZeroDivisionError("a defect")
    with serving(upstream) as server:
        response = httpx.get(server.root + "/health")
        assert (response.status_code, response.json()["error"]["code"]) == (500, "internal_error")
