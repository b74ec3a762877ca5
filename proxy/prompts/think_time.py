"""Think time: while a client runs its tool, the engine computes how its next prompt will begin."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from engine.client import EngineClient
from engine.errors import EngineError
from engine.types import Finished, GenerateRequest, Priority, SamplingParams
from proxy.conversation.events import Event, Finish, FinishReason
from proxy.conversation.events import ToolCallReady as Call
from proxy.conversation.logprobs import TextWithLogprobs
from proxy.conversation.message import Message, PastCall, Role
from proxy.conversation.request import ChatRequest
from repair.types import ReasoningDelta, TextDelta

_log = logging.getLogger(__name__)

# A client that comes back at once should not find the engine busy with what it brings itself.
PAUSE_S = 0.02
# At most so many sessions wait to be computed ahead; beyond that the one that waited longest is dropped.
MOST = 8
_DEADLINE_S = 120.0
_GOES_ON = frozenset({FinishReason.stop, FinishReason.tool_calls})

Render = Callable[[ChatRequest, Message], Awaitable[tuple[int, ...]]]


class Prefiller(Protocol):
    """Computes prompts before they are asked for.

    foresee: a client got a turn to its end.
    warm: conversations will begin with these messages; raises RequestError.
    """

    def foresee(self, request: ChatRequest, reply: Message) -> None: ...

    async def warm(self, request: ChatRequest) -> Finished: ...


def reply_of(request: ChatRequest, events: Sequence[Event]) -> Message | None:
    """The answer as the client got it. None where the next prompt cannot be foreseen: the answer was cut off,
    is one of several, or belongs to no conversation.
    """
    finish = events[-1]
    if request.n > 1 or request.raw or not isinstance(finish, Finish) or finish.reason not in _GOES_ON:
        return None
    text = "".join(one.text for one in events if isinstance(one, TextDelta | TextWithLogprobs))
    reasoning = "".join(one.text for one in events if isinstance(one, ReasoningDelta))
    calls = tuple(PastCall(one.id, one.name, one.arguments) for one in events if isinstance(one, Call))
    return Message.of(Role.assistant, text, reasoning, calls)


def prefill(
    tokens: Sequence[int], session: str = "", deadline_s: float | None = _DEADLINE_S
) -> GenerateRequest:
    """A request that only computes these tokens, when nobody else is to be served. One more token follows
    them: the engine leaves a prompt's last token to the request that decodes from it.
    """
    return GenerateRequest(
        id=secrets.token_hex(12),
        prompt=(*tokens, tokens[-1]),
        sampling=SamplingParams(max_tokens=1),
        session=session,
        priority=Priority.background,
        prefill_only=True,
        deadline_s=deadline_s,
    )


class ThinkTime:
    """Runs one prefill at a time for each session. Belongs to one event loop.

    render: returns the tokens that the session's next prompt begins with.
    """

    def __init__(self, engine: EngineClient, render: Render, enabled: bool = True) -> None:
        self._enabled = enabled
        self._engine = engine
        self._render = render
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._sent: set[str] = set()

    def ended(self, request: ChatRequest, reply: Message) -> None:
        """A turn was delivered to its client."""
        if not self._enabled:
            return
        session = request.session.id
        self.drop(session)
        while len(self._tasks) >= MOST:
            self.drop(next(iter(self._tasks)))
        self._tasks[session] = asyncio.create_task(self._run(request, reply))

    def arrived(self, session: str) -> None:
        """The session's next request has come: what the engine was not given yet is too late."""
        if session not in self._sent:
            self.drop(session)

    def drop(self, session: str) -> None:
        """Stops computing for a session; what has been computed is kept. Unknown sessions are ignored."""
        self._sent.discard(session)
        task = self._tasks.pop(session, None)
        if task is not None:
            task.cancel()

    async def close(self) -> None:
        tasks = list(self._tasks.values())
        for session in list(self._tasks):
            self.drop(session)
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, request: ChatRequest, reply: Message) -> None:
        session = request.session.id
        try:
            await asyncio.sleep(PAUSE_S)
            tokens = await self._render(request, reply)
            self._sent.add(session)
            await run(self._engine, prefill(tokens, session))
        except EngineError as error:
            _log.debug("nothing was computed ahead for session %s: %s", session, error)
        except RuntimeError:  # the server is being closed, and nobody renders any more
            _log.debug("nothing was computed ahead for session %s", session, exc_info=True)
        finally:
            if self._tasks.get(session) is asyncio.current_task():
                del self._tasks[session]
                self._sent.discard(session)


async def run(engine: EngineClient, request: GenerateRequest) -> Finished:
    """The last event of a prefill. Raises EngineError."""
    outputs = engine.generate(request)
    try:
        async for output in outputs:
            if isinstance(output, Finished):
                return output
    finally:
        await outputs.aclose()
    raise AssertionError("a generation ended without its last event")
