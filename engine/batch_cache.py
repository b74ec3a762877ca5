"""The caches of a batch, as a step of the engine wants them: few copies, and not all in one step."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import BatchKVCache, KVCache, make_prompt_cache

from engine.tuning import CPU

STAGGERED = 8  # layers, until it starts again


def staggered(layer: int, stagger: int) -> int:
    """Tokens of room that this layer's buffer has beyond those of the first: a full buffer is copied to a
    larger one, and if all were full at once, those who decode would wait for all the copies in one step.
    stagger: as in DeviceTuning.
    """
    return stagger * (layer % STAGGERED)


class JoinedCache(BatchKVCache):  # type: ignore[misc]
    """mlx_lm's cache of a batch, with fewer copies: each is a gap in the streams of the others.

    extend() of mlx_lm pads both sides to one length and then copies both into one; this writes each in its
    place. at_once: that copy is made now and not in the next step. A sequence that comes or stays alone is
    not copied at all. step: tokens by which a full buffer grows, which copies it; up to `room` tokens, which
    a prompt is known to come to, it grows by half or more.
    """

    keys: mx.array | None
    values: mx.array | None
    at_once = False
    step: int
    room = 0

    @classmethod
    def merge(cls, caches: Any) -> Any:
        """The caches of some sequences as one batch; a single one's arrays become the batch's."""
        if len(caches) == 1 and caches[0].size():
            batch = cls([0])
            keys, values, end = caches[0].state
            batch.state = (keys, values, batch.offset + end, batch.left_padding, end)
        elif any(cache.size() for cache in caches):
            batch = super().merge(caches)
        else:
            batch = cls([0] * len(caches))
        batch.at_once, batch.step = caches[0].at_once, caches[0].step
        batch.room = max(cache.room for cache in caches)
        return batch

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> Any:
        """Add tokens: keys and values [rows, heads, tokens, width]; all of both, these included."""
        self._grow(keys.shape[2])
        return super().update_and_fetch(keys, values)

    def _grow(self, more: int) -> None:
        """Make room on the way to `room`; beyond it mlx_lm does, by `step`. By half, and at once to `room`
        where that is at most double: what a long prompt copies then grows with its length, where steps of one
        size let it grow with its square, and no copy is made shortly before the last.
        """
        if self.keys is None or self.values is None:
            return
        size, need = self.keys.shape[2], self._idx + more
        if size < need <= self.room:
            size = self.room if self.room <= 2 * size else max(need, size + size // 2)
            self.keys = enlarged(self.keys, self._idx, size)
            self.values = enlarged(self.values, self._idx, size)

    def filter(self, batch_indices: Any) -> None:
        """Keep these rows; keeping all of them copies nothing."""
        if list(batch_indices) != list(range(self.offset.size)):
            super().filter(batch_indices)

    def extract(self, idx: int) -> KVCache:
        """The cache of one row, as a view: what is taken from it is copied then."""
        keys, values, _, padding, end = self.state
        start = int(padding[idx].item())
        row = KVCache()
        row.state = (keys[idx : idx + 1, :, start:end], values[idx : idx + 1, :, start:end], end - start)
        return row

    def extend(self, other: Any) -> None:
        """Take the rows of another batch in, behind these. Both end at the same place, as before."""
        if self.empty() or other.empty():
            super().extend(other)
            return
        self.room = max(self.room, other.room)
        keys, values, offset, padding, end = self.state
        more_keys, more_values, more_offset, more_padding, more_end = other.state
        last = max(end, more_end)
        self.state: Any = (
            joined(((keys, end), (more_keys, more_end)), last, self.step),
            joined(((values, end), (more_values, more_end)), last, self.step),
            mx.concatenate([offset, more_offset]),
            mx.concatenate([padding + (last - end), more_padding + (last - more_end)]),
            last,
        )
        if self.at_once:
            mx.eval(self.keys, self.values)


def enlarged(buffer: mx.array, end: int, size: int) -> mx.array:
    """A buffer [rows, heads, any, width], filled up to `end`, as one of `size` tokens."""
    rows, heads, _, width = buffer.shape
    more = mx.zeros((rows, heads, size - end, width), dtype=buffer.dtype)
    return mx.concatenate([buffer[:, :, :end], more], axis=2)


def joined(pieces: tuple[tuple[mx.array, int], ...], last: int, step: int) -> mx.array:
    """Buffers [rows, heads, size, width], filled up to a place each, as one that is filled up to `last`."""
    first, _ = pieces[0]
    rows = sum(piece.shape[0] for piece, _ in pieces)
    whole = mx.zeros((rows, first.shape[1], last - last % step + step, first.shape[3]), dtype=first.dtype)
    at = 0
    for piece, end in pieces:
        whole[at : at + piece.shape[0], :, last - end : last] = piece[:, :, :end]
        at += piece.shape[0]
    return whole


class RowCache(KVCache):  # type: ignore[misc]
    """The cache of one sequence that will be part of a JoinedCache."""

    def __init__(self, layer: KVCache, at_once: bool, step: int = KVCache.step, room: int = 0) -> None:
        super().__init__()
        self.state = layer.state
        self.at_once, self.step, self.room = at_once, step, room

    @classmethod
    def merge(cls, caches: Any) -> Any:
        """The caches of some sequences as one batch."""
        return JoinedCache.merge(caches)


def joinable(
    network: Any, layers: list[Any] | None, prompt: int = 0, stagger: int = CPU.stagger
) -> list[Any]:
    """The caches of one sequence, new where there are none; those of plain attention join cheaply.

    prompt: tokens that its prompt comes to. Every second one is copied in the step of the join, the others in
    the next: two gaps, half as long. Their buffers are full, and copied to larger ones, in different steps.
    """
    layers = make_prompt_cache(network) if layers is None else layers
    steps = [KVCache.step + staggered(n, stagger) for n in range(len(layers))]
    return [
        RowCache(layer, n % 2 == 0, step, prompt + step) if type(layer) is KVCache else layer
        for n, (layer, step) in enumerate(zip(layers, steps, strict=True))
    ]
