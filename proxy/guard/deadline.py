"""The time limit of a request: the shortest of what the server, the body and a header allow."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from proxy.conversation.errors import BadRequest, RequestTimeout

T = TypeVar("T")

TIMEOUT_HEADER = "x-fortieth-timeout"


@dataclass(frozen=True, slots=True)
class Deadline:
    """When a request's time is up.

    at: on the event loop's clock; None is never.
    limit_s: the limit that was set, in seconds.
    """

    at: float | None = None
    limit_s: float = 0.0

    @classmethod
    def of(cls, *limits_s: float | None) -> Deadline:
        """A deadline from now on, by the shortest of the limits that are set."""
        known = [limit for limit in limits_s if limit is not None]
        if not known:
            return cls()
        return cls(asyncio.get_running_loop().time() + min(known), min(known))

    async def keep(self, work: Awaitable[T]) -> T:
        """The result of the work. Raises RequestTimeout when the time is up."""
        if self.at is None:
            return await work
        try:
            async with asyncio.timeout_at(self.at):
                return await work
        except TimeoutError:
            raise RequestTimeout(self.limit_s) from None


def read_timeout(headers: Mapping[str, str]) -> float | None:
    """The time limit of the client's header, in seconds. headers: names in lower case. Raises BadRequest."""
    text = headers.get(TIMEOUT_HEADER)
    if text is None:
        return None
    try:
        timeout = float(text)
    except ValueError:
        timeout = math.nan
    if not 0 < timeout < math.inf:
        raise BadRequest(
            f"{TIMEOUT_HEADER} must be a number of seconds above 0, got {text[:40]!r}", param=TIMEOUT_HEADER
        )
    return timeout
