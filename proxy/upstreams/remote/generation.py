"""One request to a remote upstream: retries and fallbacks until the first event has come, then its stream."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from proxy.conversation.errors import (
    BadRequest,
    ContextTooLong,
    Overloaded,
    RequestError,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from proxy.conversation.request import ChatRequest, tools_left_out
from proxy.upstreams.base import UpstreamCallPart, UpstreamEvent, UpstreamFinish, UpstreamStarted
from proxy.upstreams.capabilities import Capabilities
from proxy.upstreams.remote.assembly import Assembly
from proxy.upstreams.remote.deployments import Group
from proxy.upstreams.remote.mapping import in_plain_words
from proxy.upstreams.remote.replicas import Standings
from proxy.upstreams.remote.unsent import Sent, depends_on_value, refused_fields
from repair.formats import Wire

_log = logging.getLogger(__name__)

_BACKOFF_S = 0.2
# How often a request that was refused is sent with less, and how many fields are remembered of one upstream.
_MOST_REFUSALS = 6
_MOST_UNSENT = 64

T = TypeVar("T")


class Source(Protocol):
    """One deployment's answer to one request. Call open(), then next() until it returns None.

    place: which deployment.
    sent: with what it was asked.
    """

    @property
    def place(self) -> str: ...

    @property
    def sent(self) -> Sent: ...

    async def open(self, request: ChatRequest, unsent: frozenset[str]) -> None:
        """unsent: names of fields that are left out."""
        ...

    async def next(self) -> Any | None: ...

    def finished(self, assembly: Assembly) -> bool:
        """Whether what has come holds a real finish."""
        ...

    def failed(self, error: RequestError) -> None:
        """Reports the failure to the routing."""
        ...

    async def aclose(self, tokens: int | None) -> None:
        """Closes the source. tokens: generated tokens, where the answer was read to its end."""
        ...


class Sources(Protocol):
    """Where sources come from, and the rules by which they are asked.

    retries: how often a name is asked again before anything has come.
    window_s: how long a refusal is waited for.
    stop_repetition: whether a stream that repeats itself word for word is left.
    unsent: by name, fields that its deployments have refused.
    """

    retries: int
    window_s: float
    stop_repetition: bool
    standings: Standings
    unsent: dict[str, frozenset[str]]
    capabilities: Capabilities

    def group(self, name: str) -> Group: ...

    def aims(self, name: str, session: str) -> tuple[str, ...]:
        """What to ask for, best first: the name, or the replicas in the session's order."""
        ...

    async def source(self, aim: str, group: Group) -> Source: ...

    def translated(self, name: str, timeout_s: float) -> AbstractContextManager[None]:
        """A context in which libraries' exceptions become RequestErrors."""
        ...


class HostedGeneration:
    """A generation that asks names in order until one of them answers.

    names: each is asked if all before it failed before their answers began.
    """

    generation_prompt = ""

    def __init__(self, sources: Sources, request: ChatRequest, names: Sequence[str]) -> None:
        self._sources = sources
        self._request = request
        self._told = request  # the request, or all of it that is text
        self._names = names
        self._group = sources.group(names[0])
        self._source: Source | None = None
        self._assembly = Assembly()
        self._ended = False
        self._asked: list[str] = []
        self._unsent: frozenset[str] = frozenset()
        self._refused: frozenset[str] = frozenset()  # for good
        self._warnings: tuple[str, ...] = ()
        # beginnings of calls, which are needed while another deployment may still be asked; None ends them
        self._parts: asyncio.Queue[UpstreamCallPart | None] = asyncio.Queue()
        self._begun = asyncio.Event()
        self._first = asyncio.create_task(self._begin())
        self._first.add_done_callback(lambda _: self._pass_on(None))

    @property
    def format(self) -> str | Wire:
        return self._group.format

    @property
    def asked(self) -> tuple[str, ...]:
        """The deployments that were asked, in order; the last one answers."""
        return tuple(self._asked)

    async def admit(self) -> None:
        """Waits until something has come or a refusal is unlikely. Raises the refusal."""
        with contextlib.suppress(TimeoutError):  # wait_for of Python 3.11 may swallow that a client has left
            async with asyncio.timeout(self._sources.window_s):
                await self._begun.wait()
        if self._first.done():
            try:
                self._first.result()
            except RequestError as error:
                error.asked = self.asked
                raise

    async def __aiter__(self) -> AsyncIterator[UpstreamEvent]:
        yield UpstreamStarted()
        try:
            while (part := await self._parts.get()) is not None:
                yield part
            events = await self._first
            while True:
                for event in events:
                    yield self._signed(event) if isinstance(event, UpstreamFinish) else event
                if self._ended:
                    return
                events = await self._next()
        except RequestError as error:
            error.asked = self.asked
            raise

    def _signed(self, finish: UpstreamFinish) -> UpstreamFinish:
        """The finish with the deployments asked, what was left out for them, and whether an upstream that
        cannot constrain was to constrain.
        """
        unconstrained = self._request.constrained and not self._sources.capabilities.constraint
        return replace(finish, unconstrained=unconstrained, asked=self.asked, warnings=self._warnings)

    async def end(self) -> list[UpstreamEvent]:
        """Leaves the stream, so that the upstream can stop too."""
        await self._stop_asking()
        await self._close_source()
        events = self._assembly.end(left=True)
        return [self._signed(event) if isinstance(event, UpstreamFinish) else event for event in events]

    async def aclose(self) -> None:
        await self._stop_asking()
        if not self._first.cancelled():
            self._first.exception()  # marks the error as seen: nobody waits for it any more
        await self._close_source()

    async def _stop_asking(self) -> None:
        if not self._first.done():
            self._first.cancel()
            await asyncio.wait({self._first})

    async def _close_source(self) -> None:
        if self._source is not None:
            source, self._source = self._source, None
            heard = self._ended and not self._assembly.repeated
            await source.aclose(self._assembly.tokens if heard else None)

    async def _begin(self) -> list[UpstreamEvent]:
        """The first events, from the first name that gives any. Raises the error of the first name."""
        error: RequestError | None = None
        for name in self._names:
            self._group = self._sources.group(name)
            try:
                return await self._begin_as_sent(name)
            except (UpstreamTimeout, UpstreamUnavailable, Overloaded, ContextTooLong) as failed:
                error = error or failed
            except BadRequest:
                raise
            except RequestError as failed:
                error = error or failed
            await self._close_source()
            if name != self._names[-1]:
                _log.warning(
                    "upstream %s failed, so %s is asked", name, self._names[self._names.index(name) + 1]
                )
        assert error is not None
        raise error

    async def _begin_as_sent(self, name: str) -> list[UpstreamEvent]:
        """Asks with the request as the client sent it, and after a refusal with less, because a 400 would end
        an agent's run over a picture or a field. Raises the first error.
        """
        self._told, self._refused = self._request, frozenset()
        self._unsent = self._sources.unsent.get(name, frozenset())
        first: BadRequest | None = None
        for _ in range(_MOST_REFUSALS):
            try:
                events = await self._begin_with(name)
            except ContextTooLong:
                raise
            except BadRequest as error:
                first = first or error
                if not self._send_less(name, error):
                    raise first from None
                await self._close_source()
            else:
                self._remember(name)
                return events
        assert first is not None
        raise first

    def _remember(self, name: str) -> None:
        """Keeps what was refused beside what other requests have found out meanwhile. Where it took the text
        alone to be answered, what was left out before was a guess.
        """
        known = self._sources.unsent.get(name, frozenset()) | self._refused
        if self._told is self._request and len(known) <= _MOST_UNSENT:
            self._sources.unsent[name] = known

    def _send_less(self, name: str, error: BadRequest) -> bool:
        """Leaves out the fields that the refusal names, else everything that is no text; False where that
        changes nothing.
        """
        sent = self._source.sent if self._source is not None else Sent()
        named = refused_fields(error, sent.params) - self._unsent
        if named:
            _log.warning("upstream %s refused fields, which are left out: %s", name, error.message)
            self._unsent |= named
            if not depends_on_value(error, named):
                self._refused |= named
            return True
        plain = in_plain_words(self._told)
        if plain is self._told:
            return False
        _log.warning(
            "upstream %s refused images or other media, so it is asked with the text alone: %s",
            name,
            error.message,
        )
        self._told = plain
        return True

    def _left_out(self, sent: Sent) -> tuple[str, ...]:
        """What of the client's request is not in the one that was sent."""
        upstream = self._group.card.id
        told = sent.told(upstream)
        if self._told is self._request:
            return told
        hosted = tools_left_out(self._request.hosted_tools)
        return (*told, f"upstream {upstream} refused what is no text: told in words", *hosted)

    async def _begin_with(self, name: str) -> list[UpstreamEvent]:
        """Asks one name, again while that may help and nothing has come."""
        aims = self._sources.aims(name, self._request.session.id)
        retries = max(self._sources.retries, len(aims) - 1)
        for attempt in range(retries + 1):
            aim = aims[attempt % len(aims)]
            try:
                events = await self._ask(aim)
            except (UpstreamUnavailable, UpstreamTimeout, Overloaded) as error:
                self._sources.standings.failed(aim)
                await self._close_source()
                # an upstream that says when to come again is not asked before, but another target may be
                alone = isinstance(error, Overloaded) and self._group.size == 1
                if attempt == retries or alone:
                    raise
                _log.info("upstream %s failed before its answer began, so it is asked again", aim)
            else:
                self._sources.standings.served(aim)
                return events
            await asyncio.sleep(_BACKOFF_S * attempt)
        raise AssertionError("the last attempt returns or raises")

    async def _ask(self, aim: str) -> list[UpstreamEvent]:
        self._assembly = Assembly(self._sources.stop_repetition, self._request.expected_tokens)
        self._ended = False
        self._source = await self._in_time(self._sources.source(aim, self._group))
        try:
            await self._in_time(self._source.open(self._told, self._unsent))
        finally:
            self._asked.append(self._source.place)
        self._warnings = self._left_out(self._source.sent)
        while True:
            events = await self._next()
            parts = [event for event in events if isinstance(event, UpstreamCallPart)]
            if len(parts) < len(events):
                return events
            for part in parts:
                self._pass_on(part)

    def _pass_on(self, part: UpstreamCallPart | None) -> None:
        self._parts.put_nowait(part)
        self._begun.set()

    async def _next(self) -> list[UpstreamEvent]:
        """The events of the next chunk; at the end those of the calls and the finish. Raises RequestError."""
        assert self._source is not None
        try:
            chunk = await self._in_time(self._source.next())
        except UpstreamUnavailable:
            if not self._assembly.finished:
                raise
            chunk = None  # all has come; only the count of its tokens may be missing
        if chunk is not None:
            events = self._assembly.feed(chunk)
            if not self._assembly.repeated:
                return events
            self._ended = True
            return [*events, *self._assembly.end()]
        self._ended = True
        if not self._source.finished(self._assembly):
            broken = self._assembly.broken
            how = f"with the reason {broken!r}" if broken else "without a finish"
            error = UpstreamUnavailable(
                f"upstream {self._group.card.id}: its stream ended {how}", retry_after_s=1.0
            )
            self._source.failed(error)
            raise error
        return self._assembly.end()

    async def _in_time(self, work: Awaitable[T]) -> T:
        """The work's result. Raises RequestError, which the source is told of."""
        try:
            with self._sources.translated(self._group.card.id, self._group.timeout_s):
                async with asyncio.timeout(self._group.timeout_s):
                    return await work
        except RequestError as error:
            if self._source is not None:
                self._source.failed(error)
            raise
