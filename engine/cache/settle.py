"""Evaluates the lazy arrays of new cache entries, a few between steps of the model. Engine thread only."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import mlx.core as mx

from engine.cache.layers import Kept
from engine.cache.radix import Segment


@dataclass(slots=True)
class Settling:
    """A segment whose arrays are still to be computed."""

    segment: Segment
    kept: Kept
    left: list[mx.array] = field(default_factory=list)


class Settler:
    """Computes arrays of segments. done: gets a segment when all of it has been computed."""

    def __init__(self, done: Callable[[Segment, Kept], None]) -> None:
        self._done = done
        self._waiting: deque[Settling] = deque()

    def add(self, segment: Segment, kept: Kept) -> None:
        """Adds arrays, which are lazy, to be computed and handed over."""
        self._waiting.append(Settling(segment, kept, list(kept.arrays)))

    def has(self, segment: Segment) -> bool:
        return any(settling.segment is segment for settling in self._waiting)

    def run(self, most: int | None = None) -> bool:
        """Computes `most` bytes, or all; returns whether anything is left."""
        done = 0
        while self._waiting and (most is None or done < most):
            first = self._waiting[0]
            while first.left and (most is None or done < most):
                array = first.left.pop()
                mx.eval(array)
                done += int(array.nbytes)
            if not first.left:
                self._waiting.popleft()
                self._done(first.segment, first.kept)
        return bool(self._waiting)

    def clear(self) -> list[Segment]:
        """Forgets everything; returns the segments that were waiting."""
        segments = [settling.segment for settling in self._waiting]
        self._waiting.clear()
        return segments
