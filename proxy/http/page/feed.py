"""The stream of events of the page: once a second, the same bytes for all pages that are open.

No request waits for it: requests leave what happens in proxy/records/activity.py, and a task that runs while
a page is open looks there. What a slow reader does not take is not kept for it: its stream ends, and the page
asks for a new one, which begins with all that there is to see.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict, deque
from typing import Any

from engine.errors import EngineUnavailable
from engine.types import SessionInfo
from proxy.conversation.errors import Overloaded
from proxy.http.page.figures import (
    PageSources,
    Sampler,
    encoded,
    ended_object,
    engine_object,
    running_object,
    server_object,
    session_objects,
    totals_object,
)
from proxy.records.activity import KEPT, EndedRequest

TICK_S = 1.0
# Pages that may be open at once, and events that may wait for one of them.
MOST_PAGES = 64
MOST_WAITING = 16
# Ended requests in one event: where more end within a second, the newest.
MOST_ENDED = 25
# Samples that a new page gets: so many seconds back, as far as a page was open.
SAMPLES = 600
# The engine is asked for its sessions this seldom, and only where requests have ended.
SESSIONS_S = 5.0


class OpenPage:
    """The events for one page, JSON texts; the first holds all that there is to see. It counts as open until
    close().

    ended: set when the page gets no more, because it did not take its events or the server stops.
    """

    def __init__(self, feed: Feed) -> None:
        self.waiting: asyncio.Queue[str | None] = asyncio.Queue(MOST_WAITING)
        self.ended = asyncio.Event()
        self._feed = feed
        self._began = False

    def __aiter__(self) -> OpenPage:
        return self

    async def __anext__(self) -> str:
        if not self._began:
            self._began = True
            return self._feed.begin(self)
        event = None if self.ended.is_set() else await self.waiting.get()
        if event is None:
            raise StopAsyncIteration
        return event

    def close(self) -> None:
        self._feed.forget(self)

    def end(self) -> None:
        """The page gets nothing more, not even what waits for it."""
        self.ended.set()
        while not self.waiting.empty():
            self.waiting.get_nowait()
        self.waiting.put_nowait(None)


class Feed:
    """Tells all open pages what happens. close() ends their streams, for a server that stops."""

    def __init__(self, sources: PageSources, tick_s: float = TICK_S) -> None:
        self._sources = sources
        self._tick_s = tick_s
        self._open: set[OpenPage] = set()
        self._told: set[OpenPage] = set()  # of these, the ones that get what happens
        self._task: asyncio.Task[None] | None = None
        self._closed = False
        self._samples: deque[dict[str, Any]] = deque(maxlen=SAMPLES)
        self._records: OrderedDict[int, str] = OrderedDict()  # encoded, by their order
        self._kept: dict[str, SessionInfo] = {}

    @property
    def pages(self) -> int:
        """How many get what happens; one that is open and was left behind does not."""
        return len(self._told)

    def open(self) -> OpenPage:
        """One more page. Raises Overloaded where too many are open, whether they take their events or not."""
        if len(self._open) >= MOST_PAGES:
            raise Overloaded(f"{MOST_PAGES} pages are open already", retry_after_s=10)
        page = OpenPage(self)
        self._open.add(page)
        return page

    def begin(self, page: OpenPage) -> str:
        """The first event of a page. Raises StopAsyncIteration where the feed is closed."""
        if self._closed:
            raise StopAsyncIteration
        self._told.add(page)
        if self._task is None:
            self._task = asyncio.create_task(self._run(self._sources.activity.order))
        return self._all()

    def forget(self, page: OpenPage) -> None:
        self._open.discard(page)
        self._told.discard(page)
        if not self._told:
            self._rest()

    def close(self) -> None:
        self._closed = True
        for page in self._open:
            page.end()
        self._told.clear()
        self._rest()

    def _rest(self) -> None:
        """Where nobody looks, nothing runs. What was drawn before would have a gap, and is forgotten."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self._samples.clear()

    async def _run(self, order: int) -> None:
        """order: of the last request that the first page has been told of."""
        sampler = Sampler(self._sources)
        sessions_at, sessions_order = 0.0, -1
        clock = asyncio.get_running_loop().time
        asking: asyncio.Task[None] | None = None
        try:
            while True:
                await asyncio.sleep(self._tick_s)
                now = self._sources.activity.order
                if now != sessions_order and clock() - sessions_at >= SESSIONS_S and asking is None:
                    sessions_at, sessions_order = clock(), now
                    asking = asyncio.create_task(self._ask_for_sessions())
                fresh = now != order or (asking is not None and asking.done())
                asking = None if asking is not None and asking.done() else asking
                self._tell(self._tick(sampler, order, with_sessions=fresh))
                order = now
        finally:
            if asking is not None:
                asking.cancel()

    def _tell(self, event: str) -> None:
        for page in list(self._told):
            try:
                page.waiting.put_nowait(event)
            except asyncio.QueueFull:
                self._told.discard(page)
                page.end()

    async def _ask_for_sessions(self) -> None:
        keeper = self._sources.upstream.capabilities.sessions
        if keeper is not None:
            with contextlib.suppress(EngineUnavailable):  # what was known last stays
                self._kept = {one.id: one for one in await keeper.sessions()}

    def _tick(self, sampler: Sampler, order: int, with_sessions: bool) -> str:
        sample = sampler.sample()
        self._samples.append(sample)
        ended = self._sources.activity.ended(order)
        told = {
            "sample": encoded(sample),
            "skipped": encoded(max(0, self._sources.activity.order - order - MOST_ENDED)),
            "ended": self._ended(ended[-MOST_ENDED:]),
            **self._now(),
        }
        if with_sessions:
            told["sessions"] = encoded(session_objects(self._sources, self._kept))
        return _object(told)

    def _all(self) -> str:
        return _object(
            {
                "server": encoded(server_object(self._sources)),
                "samples": encoded(list(self._samples)),
                "ended": self._ended(self._sources.activity.ended()),
                "sessions": encoded(session_objects(self._sources, self._kept)),
                **self._now(),
            }
        )

    def _now(self) -> dict[str, str]:
        return {
            "running": encoded([running_object(one) for one in self._sources.activity.running]),
            "totals": encoded(totals_object(self._sources)),
            "engine": encoded(engine_object(self._sources)),
        }

    def _ended(self, requests: list[EndedRequest]) -> str:
        """As a JSON array. A record is encoded once for all pages."""
        for one in requests:
            if one.order not in self._records:
                self._records[one.order] = encoded(ended_object(one, self._sources.redact))
        texts = [self._records[one.order] for one in requests]
        while len(self._records) > KEPT:
            self._records.popitem(last=False)
        return f"[{','.join(texts)}]"


def _object(members: dict[str, str]) -> str:
    """A JSON object whose values are JSON texts."""
    return "{" + ",".join(f'"{name}":{value}' for name, value in members.items()) + "}"
