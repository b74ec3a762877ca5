"""What the prefix cache has noted for one request, from its arrival to its end."""

from __future__ import annotations

from dataclasses import dataclass

from engine.cache.radix import Tokens
from engine.cache.sessions import COLD, Reason
from engine.cache.taken import Taken, Waiting
from engine.types import GenerateRequest


@dataclass(slots=True, eq=False)
class Prefix:
    """How much of a request's prompt is known.

    taken: what it started from, once it has its place.
    reason: why that was not more.
    """

    request: GenerateRequest
    waiting: Waiting
    taken: Taken | None = None
    reason: Reason = COLD

    @property
    def tokens(self) -> Tokens:
        """All of its prompt."""
        return self.waiting.tokens
