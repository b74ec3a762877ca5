"""What is over wakes nobody, in the server's process too: after whatever has happened its loop rests."""

from __future__ import annotations

import asyncio
import json
import selectors
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from proxy.conversation.errors import Overloaded, UpstreamUnavailable
from proxy.conversation.request import ChatRequest
from proxy.conversation.verdict import GuardMode
from proxy.http.routes import Limits
from proxy.records.ledger import Ledger
from proxy.upstreams.scripted import Script, ScriptedUpstream, Stall
from tests.proxy.live import LiveServer, LoopThread, serving
from tests.proxy.requests import CALL, HOPELESS_CALL, SLOPPY_CALL, TOOLS, body

WATCHED_S = 0.3
TICKS = 2  # of the server, which renews the date once a second
TRIES = 10  # connections that were closed are put away by then, however busy the machine is
SCRIPTS = {
    "text": Script(("a", "b", "c")),
    "call": Script((CALL,)),
    "sloppy": Script((SLOPPY_CALL,)),
    "hopeless": Script((HOPELESS_CALL,)),
    "stalls": Script(("a", Stall(3600), "b")),
    "waits": Script(("a",), admission=Stall(3600)),
    "breaks": Script(("a", UpstreamUnavailable("gone"))),
    "cut": Script(("a",), finish=""),
    "refuses": Script(refusal=Overloaded("full", retry_after_s=2.0)),
}
ENDLESS = ("stalls", "waits")


@dataclass
class Waits(selectors.DefaultSelector):
    """Of an event loop: each time that it had to look what there is to do."""

    looked: list[float | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.looked.append(timeout)
        found: list[tuple[selectors.SelectorKey, int]] = super().select(timeout)
        return found


def waits_in(awaited: Any) -> Iterator[str]:
    """The functions that a task is in, the outermost first."""
    while awaited is not None:
        yield getattr(awaited, "__qualname__", type(awaited).__name__)
        awaited = getattr(awaited, "cr_await", None)


@dataclass(frozen=True)
class Stage:
    server: LiveServer
    upstream: ScriptedUpstream
    waits: Waits
    thread: LoopThread

    def tasks(self) -> list[str]:
        """Where each waits; without the server's own, which renews the date once a second."""

        async def stacks() -> list[str]:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            own = ["Server.serve", "Event.wait"]  # the latter is there most of the time
            found: list[str] = []
            for names in (list(waits_in(task.get_coro())) for task in others):
                if names[0] in own:
                    own.remove(names[0])
                else:
                    found.append(" > ".join(names))
            return found

        return self.thread.run(stacks())

    def woken(self) -> int:
        """Times that the loop had something to do, while nobody asked for anything."""
        before = len(self.waits.looked)
        time.sleep(WATCHED_S)
        return len(self.waits.looked) - before

    def do(self, act: tuple[str, str]) -> None:
        kind, what = act
        match kind:
            case "ask" | "stream":
                asked = body(what, tools=TOOLS, stream=kind == "stream")
                asked |= {"timeout_s": 0.05} if what in ENDLESS else {}
                self.server.post(asked)
            case "leave":
                self.leave(what)
            case "half":
                with socket.create_connection(("127.0.0.1", self.server.port)) as client:
                    client.sendall(
                        b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\n\r\n{"
                    )
            case "page":
                with httpx.stream("GET", self.server.base_url + "/fortieth/events", timeout=20) as page:
                    next(page.iter_lines())
            case "get":
                self.upstream.health = UpstreamUnavailable("gone") if what == "/health" else None
                httpx.get(self.server.root + what, timeout=20)

    def leave(self, what: str) -> None:
        """A client that hangs up on a stream that would go on for an hour."""
        asked = json.dumps(body(what if what in ENDLESS else "stalls", stream=True)).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Length: {len(asked)}\r\n\r\n"
        with socket.create_connection(("127.0.0.1", self.server.port)) as client:
            client.sendall(head.encode() + asked)
            time.sleep(0.1)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    waits = Waits()
    thread = LoopThread(asyncio.SelectorEventLoop(waits))

    def choose(request: ChatRequest) -> Script:
        return SCRIPTS[request.messages[0].text]

    upstream = ScriptedUpstream(choose)
    ledger = Ledger.open(tmp_path_factory.mktemp("ledger") / "ledger.db")
    limits = Limits(keep_alive_s=0.02)
    with serving(upstream, mode=GuardMode.full, limits=limits, ledger=ledger, thread=thread) as server:
        yield Stage(server, upstream, waits, thread)
    ledger.close()
    thread.close()


ACTS = st.one_of(
    st.tuples(st.sampled_from(("ask", "stream", "leave")), st.sampled_from(sorted(SCRIPTS))),
    st.tuples(st.just("get"), st.sampled_from(("/health", "/metrics", "/v1/fortieth/sessions", "/nowhere"))),
    st.tuples(st.sampled_from(("half", "page")), st.just("")),
)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(acts=st.lists(ACTS, min_size=1, max_size=6))
@example(acts=[(kind, what) for kind in ("ask", "stream", "leave") for what in sorted(SCRIPTS)])
def test_after_all_requests_have_ended_the_loop_rests(stage: Stage, acts: list[tuple[str, str]]) -> None:
    threads = threading.active_count()
    for act in acts:
        stage.do(act)
    for _ in range(500):  # looks, not seconds: a machine that stood still has not let the loop run
        if not stage.tasks():
            break
        time.sleep(0.02)
    assert stage.tasks() == []
    assert any(stage.woken() <= TICKS for _ in range(TRIES))
    assert threading.active_count() <= threads + 1, "the loop's own, for what is blocking"
