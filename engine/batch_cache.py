"""mlx_lm's KV caches of a batch, with fewer copies than the library makes, or none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import BatchKVCache, KVCache, make_prompt_cache

from engine.separate_cache import SeparateCache
from engine.tuning import CPU, Buckets, DeviceTuning

STAGGERED = 8  # layers, after which the amounts begin again
SPARE = 8  # a long buffer has room for an eighth more: else every second turn would copy all of it


def staggered(layer: int, stagger: int) -> int:
    """Tokens of room that this layer's buffer has beyond the first layer's.

    A full buffer is copied to a larger one. If the buffers of all layers were full in the same step, the
    sequences that decode would wait for all copies at once.

    stagger: as in DeviceTuning.
    """
    return stagger * (layer % STAGGERED)


class JoinedCache(BatchKVCache):  # type: ignore[misc]
    """mlx_lm's cache of a batch with fewer copies, each of which is a gap in the streams of the others.

    extend() of mlx_lm pads both sides to one length and then copies both into one; this class writes each
    side into its place. A sequence that joins or stays alone is not copied at all.

    at_once: the copy of a join is made now and not in the next step.
    step: tokens by which a full buffer grows, which copies it.
    room: tokens that a prompt is known to come to.
    sizes: of the buffers; attention then reads whole buffers. None: they grow by `step`, and attention reads
        as many tokens as there are.
    """

    keys: mx.array | None
    values: mx.array | None
    offset: mx.array
    at_once = False
    step: int
    room = 0
    sizes: Buckets | None = None

    @classmethod
    def merge(cls, caches: Any) -> Any:
        """The caches of some sequences as one batch; a single sequence's arrays become the batch's."""
        if len(caches) == 1 and caches[0].size():
            batch = cls([0])
            keys, values, end = caches[0].state
            batch.state = (keys, values, batch.offset + end, batch.left_padding, end)
        elif any(cache.size() for cache in caches):
            batch = super().merge(caches)
        else:
            batch = cls([0] * len(caches))
        batch.at_once, batch.step, batch.sizes = caches[0].at_once, caches[0].step, caches[0].sizes
        batch.room = max(cache.room for cache in caches)
        return batch

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> Any:
        """Adds tokens: keys and values [rows, heads, tokens, width]. Returns all keys and values, these
        included; with `sizes` those of the whole buffer, which make_mask() covers.
        """
        if self.sizes is None:
            self._grow(keys.shape[2])
            return super().update_and_fetch(keys, values)
        size = self._size_for(self.sizes, keys.shape[2])
        if self.keys is None or self.values is None:
            self.keys, self.values = enlarged(keys, 0, size), enlarged(values, 0, size)
        elif self.keys.shape[2] != size:
            self.keys = enlarged(self.keys, self._idx, size)
            self.values = enlarged(self.values, self._idx, size)
        super().update_and_fetch(keys, values)
        return self.keys[...], self.values[...]

    def make_mask(self, N: int, return_array: bool = False, **kwargs: Any) -> mx.array:
        """What each of the next N tokens sees [rows, 1, N, tokens]. Arguments as in mlx_lm."""
        mask: mx.array = super().make_mask(N, return_array, **kwargs)
        if self.sizes is None:
            return mask
        return mx.pad(
            mask, [(0, 0)] * (mask.ndim - 1) + [(0, self._size_for(self.sizes, N) - mask.shape[-1])]
        )

    @property
    def end(self) -> int:
        """The place behind the last token, padding in front included."""
        return int(self._idx)

    def _size_for(self, sizes: Buckets, more: int) -> int:
        """The size of the buffer with so many more tokens."""
        size, need = 0 if self.keys is None else self.keys.shape[2], self._idx + more
        return size if size >= need and size == sizes.up(size) else sizes.up(need)

    def _grow(self, more: int) -> None:
        """Enlarges a full buffer: at once to `room`, and beyond it by a part of what it holds, or by `step`,
        as mlx_lm does. Equal steps would copy all of a long sequence again and again, and leave what they
        freed in pieces behind.
        """
        if self.keys is None or self.values is None:
            return
        if size := grown(self, self._idx + more):
            self.keys = enlarged(self.keys, self._idx, size)
            self.values = enlarged(self.values, self._idx, size)

    def advance(self, tokens: int) -> None:
        """Takes tokens back that trim() has just cut off every row."""
        self.offset = self.offset + tokens
        self._idx += tokens

    def filter(self, batch_indices: Any) -> None:
        """Keeps these rows; keeping all of them copies nothing."""
        if list(batch_indices) != list(range(self.offset.size)):
            super().filter(batch_indices)

    def extract(self, idx: int) -> KVCache:
        """The cache of one row, as a view: it is copied when it is changed. Of a row without others and
        padding it is the whole buffer with its room, in which the sequence can be continued once this batch
        is gone.
        """
        keys, values, _, padding, end = self.state
        start = int(padding[idx].item())
        row = KVCache()
        if start == 0 and len(keys) == 1:
            row.state = (keys[...], values[...], end)
        else:
            row.state = (keys[idx : idx + 1, :, start:end], values[idx : idx + 1, :, start:end], end - start)
        return row

    def extend(self, other: Any) -> None:
        """Appends the rows of another batch. Both end at the same place, as before."""
        if self.empty() or other.empty():
            super().extend(other)
            return
        self.room = max(self.room, other.room)
        keys, values, offset, padding, end = self.state
        more_keys, more_values, more_offset, more_padding, more_end = other.state
        last = max(end, more_end)
        size = last - last % self.step + self.step if self.sizes is None else self.sizes.up(last + 1)
        self.state: Any = (
            joined(((keys, end), (more_keys, more_end)), last, size),
            joined(((values, end), (more_values, more_end)), last, size),
            mx.concatenate([offset, more_offset]),
            mx.concatenate([padding + (last - end), more_padding + (last - more_end)]),
            last,
        )
        if self.at_once:
            mx.eval(self.keys, self.values)


def grown(cache: Any, need: int) -> int:
    """The new size of a buffer that is too small for so many tokens; 0 where mlx_lm is to enlarge it."""
    if need <= cache.keys.shape[2]:
        return 0
    size: int = cache.room if need <= cache.room else need + need // SPARE
    return size if size == cache.room or size - need > cache.step else 0


def enlarged(buffer: mx.array, end: int, size: int) -> mx.array:
    """A buffer [rows, heads, any, width], filled up to `end`, as a buffer of `size` tokens."""
    rows, heads, _, width = buffer.shape
    more = mx.zeros((rows, heads, size - end, width), dtype=buffer.dtype)
    return mx.concatenate([buffer[:, :, :end], more], axis=2)


def joined(pieces: tuple[tuple[mx.array, int], ...], last: int, size: int) -> mx.array:
    """Joins buffers [rows, heads, any, width], each filled up to a place of its own, into one of `size`
    tokens that is filled up to `last`.
    """
    first, _ = pieces[0]
    rows = sum(piece.shape[0] for piece, _ in pieces)
    whole = mx.zeros((rows, first.shape[1], size, first.shape[3]), dtype=first.dtype)
    at = 0
    for piece, end in pieces:
        whole[at : at + piece.shape[0], :, last - end : last] = piece[:, :, :end]
        at += piece.shape[0]
    return whole


class RowCache(KVCache):  # type: ignore[misc]
    """The cache of one sequence that will become part of a batch.

    separate: tokens of a batch's longest sequence from which on each keeps its own buffers; None: never.
    """

    keys: mx.array | None
    values: mx.array | None

    def __init__(
        self,
        layer: KVCache,
        at_once: bool,
        step: int = KVCache.step,
        room: int = 0,
        sizes: Buckets | None = None,
        separate: int | None = None,
    ) -> None:
        super().__init__()
        self.state = layer.state
        self.at_once, self.step, self.room, self.sizes = at_once, step, room, sizes
        self.separate = separate

    @classmethod
    def merge(cls, caches: Any) -> Any:
        """The caches of some sequences as one batch."""
        return JoinedCache.merge(caches) if caches[0].separate is None else LongCache(caches)

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> Any:
        """Adds tokens: keys and values [1, heads, tokens, width]. Returns all."""
        if self.keys is None or self.values is None:
            return super().update_and_fetch(keys, values)
        if size := grown(self, self.offset + keys.shape[2]):
            self.keys = enlarged(self.keys, self.offset, size)
            self.values = enlarged(self.values, self.offset, size)
        return super().update_and_fetch(keys, values)

    def apart(self) -> KVCache:
        """The same tokens as a cache of their own: either is copied when it is changed."""
        row = KVCache()
        if self.keys is not None and self.values is not None:
            row.state = (self.keys[...], self.values[...], self.offset)
        return row


class LongCache:
    """A batch whose sequences share buffers while all are short, and keep their own from the join on after
    which one is long.

    To join buffers copies all of them, and so does to take one out again. To read them one by one costs more
    than that where there is little to read.
    """

    def __init__(self, rows: Sequence[RowCache]) -> None:
        self._long = rows[0].separate or 0
        self.inner = self._gathered(rows)

    def __getattr__(self, name: str) -> Any:
        """All but extend() is that of the caches as they are."""
        if name.startswith("__") or name == "inner":  # which is asked for while it is copied
            raise AttributeError(name)
        return getattr(self.inner, name)

    def extend(self, other: LongCache) -> None:
        """Appends the rows of another batch."""
        ours, theirs = self.inner, other.inner
        short = max(ours.size(), theirs.size()) < self._long
        if short and isinstance(ours, JoinedCache) and isinstance(theirs, JoinedCache):
            ours.extend(theirs)
        else:
            self.inner = self._gathered([*self.rows, *other.rows])

    @property
    def rows(self) -> list[RowCache]:
        """The caches of its sequences, each by itself."""
        inner = self.inner
        if isinstance(inner, SeparateCache):
            return inner.rows
        numbers = range(inner.offset.size)
        layers = [KVCache() if inner.empty() else inner.extract(number) for number in numbers]
        return [RowCache(one, inner.at_once, inner.step, inner.room, None, self._long) for one in layers]

    def _gathered(self, rows: Sequence[RowCache]) -> JoinedCache | SeparateCache:
        if len(rows) > 1 and max(row.offset for row in rows) >= self._long:
            return SeparateCache(rows)
        joined: JoinedCache = JoinedCache.merge(rows)
        return joined


def is_cuttable(cache: Any) -> bool:
    """Whether tokens can be cut off the end of these caches, and taken back."""
    return all(type(layer) in (JoinedCache, LongCache) for layer in cache)


def joinable(
    network: Any, layers: list[Any] | None, prompt: int = 0, tuning: DeviceTuning = CPU
) -> list[Any]:
    """The caches of one sequence, new where there are none; those of plain attention can be joined cheaply.

    prompt: how many tokens its prompt has.

    Where buffers are staggered, every second layer is copied in the step of the join, the others in the next:
    two gaps, half as long. Buffers become full, and are copied to larger ones, in different steps.
    """
    layers = make_prompt_cache(network) if layers is None else layers
    prompt = -(-prompt // KVCache.step) * KVCache.step  # buffers of few sizes leave places for each other
    steps = [KVCache.step + staggered(n, tuning.stagger) for n in range(len(layers))]
    return [
        RowCache(
            layer, tuning.stagger > 0 and n % 2 == 0, step, prompt + step, tuning.caches, tuning.separate
        )
        if type(layer) in (KVCache, RowCache)
        else layer
        for n, (layer, step) in enumerate(zip(layers, steps, strict=True))
    ]
