"""One request as the prefix cache knows it."""

from __future__ import annotations

from dataclasses import dataclass

from engine.cache.radix import Tokens
from engine.cache.sessions import COLD, Reason
from engine.cache.taken import Taken, Waiting
from engine.types import GenerateRequest


@dataclass(slots=True, eq=False)
class Prefix:
    """What of a request's prompt is known already. taken, reason: what it started from and why that was not
    more, once it has its place.
    """

    request: GenerateRequest
    waiting: Waiting
    taken: Taken | None = None
    reason: Reason = COLD

    @property
    def tokens(self) -> Tokens:
        """All of its prompt."""
        return self.waiting.tokens
