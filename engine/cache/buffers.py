"""Keeps the buffers of a request that has ended, so that the next turn writes into them and not into a copy.

They are kept beside the segments, which alone are found, shared and written to disk, at the segment that ends
where the request did. Whatever begins with exactly its tokens may take them over; everybody else gets a copy
of the segments, as without them. Engine thread only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mlx.core as mx

from engine.cache.layers import Layout
from engine.cache.radix import Radix, Segment, Tokens
from engine.cache.ram import RamTier


class TurnBuffers:
    """The caches of requests that have ended, as they were, in the RAM of the prefix cache."""

    def __init__(self, layout: Layout, radix: Radix, ram: RamTier) -> None:
        self._layout = layout
        self._radix = radix
        self._ram = ram

    def keep(self, tokens: Tokens, caches: Sequence[Any]) -> None:
        """Keeps the caches of a request that has ended, of exactly these tokens, where they may be worth it:
        nobody else may write into them, they have room for more, and RAM has room for them.
        """
        segment = self._ending(tokens)
        if segment is None or self._layout.room(caches) <= len(tokens):
            return
        if self._ram.hold_buffers(segment, list(caches), sum(int(layer.nbytes) for layer in caches)):
            # until they are computed they hold what they are computed from: the buffers of a whole batch
            mx.async_eval([layer.state for layer in caches])  # type: ignore[no-untyped-call]

    def take(self, tokens: Tokens, prompt: int) -> list[Any] | None:
        """The caches of exactly these tokens, which are kept no more, for a prompt of so many tokens; None
        where there are none with room for it.
        """
        segment = self._ending(tokens)
        caches: list[Any] | None = self._ram.take_buffers(segment) if segment is not None else None
        return caches if caches is not None and self._layout.room(caches) > prompt else None

    def _ending(self, tokens: Tokens) -> Segment | None:
        """The segment that ends with the last of these tokens."""
        match = self._radix.match(tokens, len(tokens))
        last = match.pieces[-1].segment if match.usable == len(tokens) > 0 else None
        return last if last is not None and last.end == len(tokens) else None
