"""Picks one of several equal servers for a session, so that its turns find their prefix in one cache.

Rendezvous hashing: each replica gets a number from the session's id and its own, and the highest wins. When a
replica is removed, only its own sessions move; when one is added, only the sessions that it wins.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence


def rank(session: str, replicas: Sequence[str]) -> tuple[str, ...]:
    """The replicas in the order in which the session prefers them. Depends on nothing else."""
    return tuple(sorted(replicas, key=lambda replica: (_draw(session, replica), replica), reverse=True))


def _draw(session: str, replica: str) -> bytes:
    key = hashlib.sha256(session.encode("utf-8", "replace")).digest()
    return hashlib.blake2b(replica.encode("utf-8", "replace"), key=key, digest_size=8).digest()


class Standings:
    """Which replicas failed lately. clock: returns monotonic seconds."""

    def __init__(self, cooldown_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._cooldown_s = cooldown_s
        self._clock = clock
        self._down_until: dict[str, float] = {}

    def order(self, session: str, replicas: Sequence[str]) -> tuple[str, ...]:
        """The replicas to ask, best first; those that failed lately come last, for the case that no other is
        left.
        """
        ranked = rank(session, replicas)
        now = self._clock()
        down = {one for one in ranked if self._down_until.get(one, 0.0) > now}
        return tuple(one for one in ranked if one not in down) + tuple(one for one in ranked if one in down)

    def failed(self, replica: str) -> None:
        self._down_until[replica] = self._clock() + self._cooldown_s

    def served(self, replica: str) -> None:
        self._down_until.pop(replica, None)
