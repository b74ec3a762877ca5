"""Whether the model answers. The upstream is asked at most once a second, however often clients ask."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from proxy.conversation.errors import RequestError
from proxy.upstreams.base import Upstream


@dataclass(frozen=True, slots=True)
class Health:
    """The result of a check. reason: why ok is false. checked_at: by the clock of the check."""

    ok: bool
    reason: str
    checked_at: float


class HealthCheck:
    """Shares one running check among all who wait for it, and keeps its result for max_age_s seconds."""

    def __init__(
        self, upstream: Upstream, max_age_s: float = 1.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._upstream = upstream
        self._max_age_s = max_age_s
        self._clock = clock
        self._last: Health | None = None
        self._running: asyncio.Task[Health] | None = None

    async def ask(self) -> Health:
        last = self._last
        if last is not None and self._clock() - last.checked_at < self._max_age_s:
            return last
        if self._running is None:
            self._running = asyncio.create_task(self._check())
        # A caller that goes away must not cancel the check of the others.
        return await asyncio.shield(self._running)

    async def _check(self) -> Health:
        try:
            await self._upstream.check()
        except RequestError as error:
            self._last = Health(False, error.message, self._clock())
        else:
            self._last = Health(True, "", self._clock())
        finally:
            self._running = None
        return self._last
