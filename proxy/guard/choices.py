"""The answers of one request (one, or several by `n`) as one stream of events, opened and ended together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Protocol, TypeVar

from proxy.conversation.events import Answer, Event, Finish, OfChoice, Started, collect, total
from proxy.conversation.logprobs import Logprobs
from proxy.conversation.request import ChatRequest
from proxy.conversation.shown_tokens import with_logprobs
from proxy.guard.deadline import Deadline
from proxy.guard.json_answer import checked
from repair.types import ReasoningDelta

T = TypeVar("T")

_SEEDS = 2**64


class EventSource(Protocol):
    """The events of one turn, to be read once, and the method that closes them."""

    @property
    def session(self) -> str:
        """The id of the session that the request is counted to."""
        ...

    def events(self) -> AsyncIterator[Event]: ...

    async def aclose(self) -> None: ...


class Delivery:
    """The answers of one request. aclose() ends them all, whatever they are doing."""

    def __init__(self, sources: Sequence[EventSource], asked: ChatRequest, deadline: Deadline) -> None:
        self._sources = sources
        self._asked = asked
        self._deadline = deadline

    @property
    def session(self) -> str:
        """The id of the request's session: that of the first answer."""
        return self._sources[0].session

    def events(self) -> AsyncIterator[Event]:
        """The events of the request. Raises RequestError.

        One answer: its events as they are. Several answers: each event as OfChoice, with one Started and one
        Finish for all of them.
        """
        return self._answer(self._sources[0]) if len(self._sources) == 1 else self._all()

    async def _all(self) -> AsyncIterator[Event]:
        finishes: dict[int, Finish] = {}
        started = False
        async for index, event in merged([self._answer(source) for source in self._sources]):
            if isinstance(event, Started):
                if not started:
                    yield event
                started = True
                continue
            if isinstance(event, Finish):
                finishes[index] = event
            assert not isinstance(event, OfChoice | Logprobs)
            yield OfChoice(index, event)
        in_order = [finishes[index] for index in sorted(finishes)]
        yield total(in_order, max(1, len(self._asked.prompts)))

    async def answers(self) -> tuple[Answer, ...]:
        """The whole answers, in order. Raises RequestError."""
        if len(self._sources) == 1:
            return (await collect(self._answer(self._sources[0])),)
        tasks = [asyncio.create_task(collect(self._answer(source))) for source in self._sources]
        try:
            return tuple(await asyncio.gather(*tasks))
        finally:
            await _end(tasks)

    async def aclose(self) -> None:
        for source in self._sources:
            await source.aclose()

    def _answer(self, source: EventSource) -> AsyncIterator[Event]:
        """The events of one answer. Each step is added only where the request needs it, because every token
        pays for it.
        """
        events = source.events()
        if self._deadline.at is not None:
            events = self._in_time(events)
        if self._asked.sampling.logprobs is not None:
            events = with_logprobs(events)
        if self._asked.json_answer:
            events = checked(events, self._asked)
        if not self._asked.include_reasoning:
            events = without_reasoning(events)
        return events

    async def _in_time(self, events: AsyncIterator[Event]) -> AsyncIterator[Event]:
        while True:
            try:
                event = await self._deadline.keep(anext(events))
            except StopAsyncIteration:
                return
            yield event


async def open_delivery(
    open_one: Callable[[ChatRequest], Awaitable[EventSource]], asked: ChatRequest, deadline: Deadline
) -> Delivery:
    """Opens an exchange for each answer. If one is refused, the others are closed and the error is raised."""
    requests = [_nth(asked, index) for index in range(asked.answers)]
    if len(requests) == 1:  # without a task, which an error would hold, and which would hold the error
        return Delivery([await deadline.keep(open_one(requests[0]))], asked, deadline)
    opening = [asyncio.ensure_future(open_one(request)) for request in requests]
    try:
        sources = await deadline.keep(asyncio.gather(*opening))
    except BaseException:
        await _end(opening)
        for task in opening:
            if not task.cancelled() and task.exception() is None:
                await task.result().aclose()
        raise
    return Delivery(sources, asked, deadline)


def _nth(asked: ChatRequest, index: int) -> ChatRequest:
    """The request of answer `index`: a given seed is counted up for the answers to one prompt, without a seed
    each answer draws its own.
    """
    if asked.prompts:
        asked = replace(asked, prompts=(asked.prompts[index // asked.n],))
        index %= asked.n
    seed = asked.sampling.seed
    if index == 0 or seed is None:
        return asked
    following = seed + index if seed + index < _SEEDS else seed + index - _SEEDS
    return replace(asked, sampling=replace(asked.sampling, seed=following))


async def merged(streams: Sequence[AsyncIterator[Event]]) -> AsyncIterator[tuple[int, Event]]:
    """The events of all streams as they come, each with the number of its stream."""
    running = {_next(stream): index for index, stream in enumerate(streams)}
    try:
        while running:
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in sorted(done, key=lambda task: running[task]):
                index = running.pop(task)
                event = task.result()
                if event is not None:
                    yield index, event
                    running[_next(streams[index])] = index
    finally:
        await _end(list(running))


def _next(stream: AsyncIterator[Event]) -> asyncio.Task[Event | None]:
    return asyncio.create_task(_next_or_none(stream))


async def _next_or_none(stream: AsyncIterator[Event]) -> Event | None:
    return await anext(stream, None)


async def _end(tasks: Sequence[asyncio.Future[T]]) -> None:
    """Cancels the tasks that still run and waits for them to clean up; their errors no longer matter."""
    for task in tasks:
        if not task.done():
            task.cancel()
    if tasks:
        await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled():
            task.exception()


async def without_reasoning(events: AsyncIterator[Event]) -> AsyncIterator[Event]:
    async for event in events:
        if not isinstance(event, ReasoningDelta):
            yield event
