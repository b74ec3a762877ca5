"""The bodies of requests on their way in: read and decoded so that long ones hold nobody up.

A body of megabytes comes in hundreds of pieces, and decoding it keeps the interpreter to itself for a while.
Of long bodies one is read further in each turn of the event loop, and one is decoded at a time, in a thread.
What all of them take together is bounded, and goes back to the system soon after.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from fastapi import Request

from engine.heap import give_back
from proxy.conversation.errors import BodyTooLarge, BodyTooSlow, Overloaded
from proxy.http.bodies import content_encodings, decompress
from repair.schema import forget_longest

T = TypeVar("T")

# A body of more bytes takes so long to read and to decode that other requests should not wait meanwhile.
_AT_ONCE = 256 * 1024
# So many bodies of the longest kind may be read or wait to be decoded at the same time.
_LONGEST_AT_ONCE = 8
_RETRY_AFTER_S = 1.0
# Seconds after a long body at which what it took is given back.
_REST_S = 0.75


def give_all_back() -> None:
    """Returns to the system what the work on long bodies has left. Takes some milliseconds."""
    forget_longest()
    give_back()


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """max_bytes: of a body as it is sent and of what it becomes. silence_s: how long nothing of it may come.
    total_s: how long it may take in all.
    """

    max_bytes: int
    silence_s: float
    total_s: float

    @property
    def together(self) -> int:
        """Bytes of all bodies that are read or wait to be decoded."""
        return _LONGEST_AT_ONCE * self.max_bytes


@dataclass(slots=True, eq=False)
class _Incoming:
    """A body as far as it is held. dropped: it had to make room for others, and is held no longer."""

    parts: list[bytes] = field(default_factory=list)
    size: int = 0
    dropped: bool = False

    def drop(self) -> None:
        self.parts.clear()
        self.size, self.dropped = 0, True


class Bodies:
    """Reads and decodes the bodies of one app's requests."""

    def __init__(self, limits: BodyLimits, give_back: Callable[[], object] = give_all_back) -> None:
        self._limits = limits
        self._give_back = give_back
        self._rest: asyncio.TimerHandle | None = None
        self._came_since = False
        self._reading: set[_Incoming] = set()
        self._waiting_bytes = 0
        self._turn = asyncio.Lock()
        self._decoding = asyncio.Lock()

    async def decode(self, request: Request, work: Callable[[bytes], T]) -> tuple[T, bytes]:
        """What `work` makes of the body out of its content encodings, and that body.

        Raises what `work` raises, BodyTooLarge, BodyTooSlow, UnsupportedEncoding, BadBody for what cannot be
        decompressed, and Overloaded where other bodies need the memory.
        """
        sent = await self._read(request)
        encodings = content_encodings(request.headers.getlist("content-encoding"))
        limit = self._limits.max_bytes
        if len(sent) <= _AT_ONCE:
            try:
                body = decompress(sent, encodings, min(limit, _AT_ONCE))
            except BodyTooLarge:  # few bytes may become many
                if limit <= _AT_ONCE:
                    raise
            else:
                return work(body), body

        def decoded() -> tuple[T, bytes]:
            body = decompress(sent, encodings, limit)
            return work(body), body

        self._waiting_bytes += len(sent)
        try:
            async with self._decoding:
                return await asyncio.to_thread(decoded)
        finally:
            self._waiting_bytes -= len(sent)
            self._give_back_later()

    def _give_back_later(self) -> None:
        """Once in a while, until no long body has come since."""
        self._came_since = True
        if self._rest is None:
            self._rest = asyncio.get_running_loop().call_later(_REST_S, self._give_back_now)

    def _give_back_now(self) -> None:
        loop = asyncio.get_running_loop()
        loop.run_in_executor(None, self._give_back)
        self._rest = loop.call_later(_REST_S, self._give_back_now) if self._came_since else None
        self._came_since = False

    async def _read(self, request: Request) -> bytes:
        """Raises BodyTooSlow, and BodyTooLarge and Overloaded, but reads on for a while first: clients only
        listen once they have sent all.
        """
        limits = self._limits
        clock = asyncio.get_running_loop().time
        begun = clock()
        incoming = _Incoming()
        came = 0
        self._reading.add(incoming)
        try:
            async with asyncio.timeout(limits.silence_s) as patience:
                async for part in request.stream():
                    came += len(part)
                    self._hold(incoming, part, came)
                    if came > 4 * limits.max_bytes:
                        break
                    patience.reschedule(min(clock() + limits.silence_s, begun + limits.total_s))
                    if came > _AT_ONCE:  # the client waits until more is read
                        async with self._turn:
                            await asyncio.sleep(0)
        except TimeoutError:
            took = clock() - begun
            raise BodyTooSlow(f"of the body only {came} bytes came within {took:.1f} s") from None
        finally:
            self._reading.remove(incoming)
        if came > limits.max_bytes:
            raise BodyTooLarge(f"the body must have at most {limits.max_bytes} bytes, got {came} or more")
        if incoming.dropped:
            told = f"the bodies of all requests may have {limits.together} bytes together: try again"
            raise Overloaded(told, retry_after_s=_RETRY_AFTER_S)
        return b"".join(incoming.parts)

    def _hold(self, incoming: _Incoming, part: bytes, came: int) -> None:
        """Keeps a part. Where all bodies together become too long, the longest that is still being read makes
        room: a client that sends little is not refused for one that sends much.
        """
        if came > self._limits.max_bytes:
            incoming.drop()
        if incoming.dropped:
            return
        incoming.parts.append(part)
        incoming.size += len(part)
        if came > _AT_ONCE and self._held() > self._limits.together:
            max(self._reading, key=lambda one: one.size).drop()

    def _held(self) -> int:
        return self._waiting_bytes + sum(one.size for one in self._reading)
