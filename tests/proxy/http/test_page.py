"""GET / and the events that fill the page: what is in them, who gets them, and what they may never cost."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from engine.types import CacheStats, EngineStats, SessionInfo
from proxy.conversation.errors import Overloaded
from proxy.conversation.verdict import GuardMode, Verdict
from proxy.guard.guard import Guard
from proxy.guard.policy import GuardPolicy
from proxy.http.index import RUNNING
from proxy.http.page.document import page_document
from proxy.http.page.feed import MOST_ENDED, MOST_PAGES, Feed, OpenPage
from proxy.http.page.figures import PageSources, Sampler
from proxy.http.server import Stop, bind, run_http
from proxy.http.settings import Settings
from proxy.records.activity import KEPT, Activity
from proxy.records.metrics import Pace
from proxy.records.session_stats import SessionStats
from proxy.upstreams.base import Upstream
from proxy.upstreams.scripted import Script, ScriptedUpstream, Stall
from tests.proxy.attempts import Attempts
from tests.proxy.live import LiveServer, LoopThread, scripted, serving
from tests.proxy.records.test_ledger import ACCOUNT
from tests.proxy.requests import CALL, SLOPPY_CALL, TOOLS, body

BROWSER = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
EVENTS = "/v1/fortieth/events"


def test_a_browser_gets_the_page_and_others_a_line() -> None:
    with serving(scripted("hi")) as server:
        page = httpx.get(server.root, headers=BROWSER)
        told = httpx.get(server.root)
        known = httpx.get(server.root, headers=BROWSER | {"if-none-match": page.headers["etag"]})
        head = httpx.head(server.root, headers=BROWSER)
    assert page.headers["content-type"].startswith("text/html")
    assert page.text.startswith("<!doctype html>")
    assert told.text == RUNNING
    assert (known.status_code, known.content) == (304, b"")
    assert (head.status_code, head.content) == (200, b"")
    assert {one.headers["vary"] for one in (page, told, known)} == {"accept"}


def test_nothing_comes_from_elsewhere() -> None:
    """Every style and script is in the page and named in its policy, which lets in nothing else."""
    document = page_document(keyed=False)
    html = document.html.decode()
    policy = dict(rule.split(" ", 1) for rule in document.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["connect-src"] == "'self'"
    for tag, rule in (("style", "style-src"), ("script", "script-src")):
        texts = re.findall(f"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts]
        assert policy[rule].split() == [f"'sha256-{one}'" for one in hashes]
        assert len(texts) >= 2
    bare = re.sub(r"<(style|script)>.*?</\1>", "", html, flags=re.DOTALL)
    assert set(re.findall(r'(?:src|href|action)="([^"]*)"', bare)) == {"#requests-heading", "data:,"}
    assert not re.search(r"<(style|script)\b[^>]+>|\son\w+=|\sstyle=", bare)


def own_scripts() -> str:
    html = page_document(keyed=False).html.decode()
    return "".join(
        text for text in re.findall(r"<script>(.*?)</script>", html, re.DOTALL) if "uPlot (v" not in text
    )


def test_texts_of_models_are_set_as_text() -> None:
    for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "http:", "https:"):
        assert way not in own_scripts(), way


def test_every_element_that_the_script_asks_for_is_there() -> None:
    html = page_document(keyed=False).html.decode()
    asked = set(re.findall(r'byId\("([\w-]+)"\)|fill\("([\w-]+)"|Plot\("([\w-]+)"', own_scripts()))
    names = {name for found in asked for name in found if name}
    assert len(names) > 20
    assert [name for name in sorted(names) if f'id="{name}"' not in html] == []


@contextlib.contextmanager
def opened(server: LiveServer, **headers: str) -> Iterator[Iterator[dict[str, Any]]]:
    """The events of one page, as they come."""
    with httpx.stream("GET", server.root + EVENTS, headers=headers, timeout=20) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        yield (json.loads(line[6:]) for line in response.iter_lines() if line.startswith("data: "))


def test_the_page_is_open_and_its_events_want_the_key() -> None:
    with serving(scripted("hi"), api_key="k") as server:
        assert "<html data-keyed " in httpx.get(server.root, headers=BROWSER).text
        assert httpx.get(server.root + EVENTS).status_code == 401
        assert httpx.head(server.root + EVENTS, headers={"x-api-key": "k"}).status_code == 200
        with opened(server, authorization="Bearer k") as events:
            assert next(events)["server"]["models"][0]["id"] == "scripted"


def test_a_request_is_shown_while_it_runs_and_when_it_has_ended() -> None:
    plan = Attempts()
    with serving(ScriptedUpstream(plan), mode=GuardMode.full) as server:
        asked = body(plan.plan("sloppy", SLOPPY_CALL), tools=TOOLS)
        server.post(asked, {"x-request-id": "before", "session-id": "s1"})
        with opened(server) as events:
            first = next(events)
            assert [one["request_id"] for one in first["ended"]] == ["before"]
            (session,) = first["sessions"]
            assert (session["id"], session["turns"], session["cache"]) == ("s1", 1, None)
            assert first["totals"]["verdicts"] == {"repaired": 1}
            server.post(asked, {"x-request-id": "after"})
            shown = next(one for event in events for one in event["ended"] if one["request_id"] == "after")
    assert shown["fixes"][0]["kind"] == "trailing_comma"
    assert len(shown["attempts"]) == 1


def test_where_a_running_request_is(thread: LoopThread) -> None:
    scripts = {
        "admission": Script(("a",), admission=Stall(3600)),
        "first": Script((Stall(3600), "a")),
        "later": Script(("a", Stall(3600), "b")),
    }
    with serving(
        ScriptedUpstream(lambda request: scripts[request.messages[0].text]), thread=thread
    ) as server:

        async def ask(text: str) -> None:
            async with httpx.AsyncClient(timeout=60) as client:
                await client.post(server.base_url + "/chat/completions", json=body(text))

        waiting = {text: thread.start(ask(text)) for text in scripts}
        with opened(server) as events:
            phases = next(
                told for event in events if len(told := [one["phase"] for one in event["running"]]) == 3
            )
            assert sorted(phases) == ["waiting", "waiting", "writing"]
            for one in waiting.values():
                one.cancel()
            assert next(event["totals"] for event in events if not event["running"])["requests"] == {
                "abandoned": 3
            }


async def test_an_open_page_does_not_hold_the_server(caplog: pytest.LogCaptureFixture) -> None:
    stop = Stop()
    with bind("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        said: list[str] = []
        serving_task = asyncio.create_task(run_http(scripted("hi"), Settings(), listener, stop, said.append))
        while not said:
            await asyncio.sleep(0.01)
        async with (
            httpx.AsyncClient(timeout=20) as client,
            client.stream("GET", f"http://127.0.0.1:{port}{EVENTS}") as response,
        ):
            lines = response.aiter_lines()
            await anext(lines)
            stop.ask()
            assert [line async for line in lines if line.startswith("data: ")] == []
        await serving_task
    assert "still running" not in caplog.text


def sources(
    activity: Activity | None = None,
    upstream: Upstream | None = None,
    session_stats: SessionStats | None = None,
    redact: bool = False,
) -> PageSources:
    guard = Guard(upstream or scripted("hi"), GuardPolicy(), activity=activity)
    return PageSources(guard, Pace(), session_stats or SessionStats(), redact=redact)


async def after_first(feed: Feed) -> OpenPage:
    """A page that has its first event."""
    page = feed.open()
    await anext(page)
    return page


def end(activity: Activity, times: int = 1, **changed: Any) -> None:
    for _ in range(times):
        one = activity.begin("r", "m", "s", 1, GuardMode.full, False)
        activity.end(one, replace(ACCOUNT, **changed))


def test_every_verdict_can_be_selected_and_is_summed_up() -> None:
    html = page_document(keyed=False).html.decode()
    found = re.search(r'<select id="verdict">(.*?)</select>', html, re.DOTALL)
    assert found is not None
    options = re.findall(r'<option(?: value="(.*?)")?>(.*?)</option>', found.group(1))
    assert options[0] == ("", "any")
    assert {text for _, text in options[1:]} == set(Verdict)
    summed = re.search(r"const verdicts = (\[.*?\])", own_scripts())
    assert summed is not None
    assert set(json.loads(summed.group(1))) == set(Verdict)


async def test_nothing_runs_where_nobody_looks() -> None:
    before = asyncio.all_tasks()
    feed = Feed(sources(), tick_s=0.001)
    assert asyncio.all_tasks() == before
    page = await after_first(feed)
    await anext(page)
    assert asyncio.all_tasks() != before
    page.close()
    await asyncio.sleep(0.01)
    assert (feed.pages, asyncio.all_tasks()) == (0, before)
    again = json.loads(await anext(feed.open()))
    assert again["samples"] == []
    feed.close()


async def test_pages_are_bounded_and_closed() -> None:
    feed = Feed(sources(), tick_s=3600)
    pages = [await after_first(feed) for _ in range(MOST_PAGES)]
    with pytest.raises(Overloaded):
        feed.open()
    feed.close()
    assert [event for page in pages async for event in page] == []
    for page in pages:
        page.close()
    assert [event async for event in feed.open()] == []


async def test_many_requests_in_a_second_are_counted_and_the_newest_told() -> None:
    activity = Activity()
    feed = Feed(sources(activity=activity), tick_s=0.02)
    page = await after_first(feed)
    end(activity, MOST_ENDED + 7)
    event = json.loads(await anext(page))
    assert (len(event["ended"]), event["skipped"]) == (MOST_ENDED, 7)
    assert event["ended"][-1]["number"] == MOST_ENDED + 7
    end(activity)
    event = json.loads(await anext(page))
    assert (len(event["ended"]), event["skipped"]) == (1, 0)
    end(activity, 3 * KEPT)
    first = json.loads(await anext(feed.open()))
    assert [one["number"] for one in first["ended"]] == list(
        range(MOST_ENDED + 9 + 2 * KEPT, MOST_ENDED + 9 + 3 * KEPT)
    )
    feed.close()


async def test_words_are_left_out_where_the_ledger_leaves_them_out() -> None:
    activity = Activity()
    end(activity, error="the word itself \ud800")
    for redact in (False, True):
        feed = Feed(sources(activity=activity, redact=redact))
        text = await anext(feed.open())
        assert ("the word itself" in text) is not redact
        assert text.isascii()
        json.loads(text)
        feed.close()


class Keeper:
    """An upstream with an engine of its own, as far as the page asks it."""

    def __init__(self) -> None:
        self.asked = 0

    async def sessions(self) -> list[SessionInfo]:
        self.asked += 1
        one = {
            "turns": 1,
            "branches": 1,
            "tokens": 7,
            "prompt_tokens": 7,
            "reused_tokens": 0,
            "ram_bytes": 70,
        }
        return [SessionInfo(id="s", tier="ram", cause="none", idle_s=1.0, pinned=False, **one)]

    async def pin_session(self, id: str, pinned: bool = True) -> bool:
        raise NotImplementedError

    async def drop_session(self, id: str) -> bool:
        raise NotImplementedError

    def prefetch_session(self, id: str) -> None:
        raise NotImplementedError


def stats() -> EngineStats:
    cache = CacheStats(ram_bytes=10, ram_budget=100, from_ram=3)
    return EngineStats(state="ready", reason="", pid=1, restarts=2, waiting=4, cache=cache)


async def test_the_figures_of_an_engine() -> None:
    keeper, activity, seen = Keeper(), Activity(), SessionStats()
    upstream = scripted("hi")
    upstream.capabilities = replace(upstream.capabilities, stats=stats, sessions=keeper)
    feed = Feed(sources(activity=activity, upstream=upstream, session_stats=seen), tick_s=0.001)
    page = feed.open()
    first = json.loads(await anext(page))
    assert (first["engine"]["waiting"], first["engine"]["cache"]["ram_bytes"]) == (4, 10)
    end(activity)
    seen.record(replace(ACCOUNT, session="s", model="m"))
    told = next_with_cache = None
    while next_with_cache is None:
        told = json.loads(await anext(page))
        next_with_cache = next((one["cache"] for one in told.get("sessions", []) if one["cache"]), None)
    assert next_with_cache["tokens"] == 7
    for _ in range(10):
        await anext(page)
    assert keeper.asked == 1, "seldom, however often events are told"
    page.close()


def test_rates_are_since_the_last_sample() -> None:
    now = [100.0]
    told = sources()
    sampler = Sampler(told, lambda: now[0])
    told.pace.tokens += 30
    told.pace.first(0.25)
    now[0] += 2
    one = sampler.sample()
    assert (one["tokens_s"], one["ttft"]) == (15.0, [0.25])
    now[0] += 1
    assert (sampler.sample()["tokens_s"], sampler.sample()["ttft"]) == (0.0, [])
    for _ in range(100):
        told.pace.first(0.5)
    assert len(sampler.sample()["ttft"]) == 32


def test_generations_are_timed_for_the_curves() -> None:
    with serving(scripted("a", "b", CALL)) as server, opened(server) as events:
        next(events)
        server.post(body())
        event = next(event for event in events if event["sample"]["ttft"])
    assert event["sample"]["tokens_s"] > 0
