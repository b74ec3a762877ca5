"""Cuts the caches of one sequence into segments and joins them again. Runs on the engine thread only.

A layer whose cache is plain keys and values is kept as slices [1, heads, tokens, width]. Any other layer
(rotating, state-space) is kept as its whole state at the end of the segment, which is the only position from
which it can continue.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import mlx.core as mx

from engine.batch_cache import SPARE, staggered
from engine.cache.copying import stream
from engine.tuning import CPU, DeviceTuning

ANSWER_ROOM = 256  # tokens by which a cache of mlx_lm grows


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of tokens [start, end).

    slices: keys and values of each plain layer in turn.
    states: the arrays of the other layers.
    spec: how those arrays lie in the layers' states, one JSON value each.
    whole: whether the states are there, so that a sequence can continue from `end`; without them it only
        leads to a later segment.
    """

    start: int
    end: int
    slices: tuple[mx.array, ...]
    states: tuple[mx.array, ...] = ()
    spec: tuple[Any, ...] = ()
    whole: bool = True

    def thin(self) -> Kept:
        """The same without its states."""
        return replace(self, states=(), spec=(), whole=False)

    @property
    def spare(self) -> int:
        """Bytes that thin() leaves out."""
        return sum(int(array.nbytes) for array in self.states)

    @property
    def arrays(self) -> tuple[mx.array, ...]:
        return self.slices + self.states

    @property
    def nbytes(self) -> int:
        return sum(int(array.nbytes) for array in self.arrays)


@dataclass(frozen=True, slots=True)
class Part:
    """Tokens [start, end) of what is kept, which stays in memory as long as this does."""

    kept: Kept
    start: int
    end: int


class Layout:
    """How the caches of one model are cut.

    make: makes new caches for one sequence.
    plain: which layers can be sliced.
    """

    def __init__(self, make: Callable[[], list[Any]], plain: type, tuning: DeviceTuning = CPU) -> None:
        self._make = make
        self._tuning = tuning
        self._plain = tuple(type(layer) is plain for layer in leaves(make()))

    @property
    def sliceable(self) -> bool:
        """Whether a segment can be used up to any of its tokens."""
        return all(self._plain)

    def cut(self, caches: Sequence[Any], start: int, end: int) -> Kept:
        """Cuts tokens [start, end) out of a sequence of `end` or more tokens. The result is lazy.

        Raises ValueError where the sequence has fewer: a continuation of such a segment would be wrong.
        """
        slices: list[mx.array] = []
        states: list[mx.array] = []
        spec: list[Any] = []
        for layer, plain in zip(leaves(caches), self._plain, strict=True):
            if plain:
                keys, values, size = layer.state
                if size < end:
                    raise ValueError(f"a sequence of {size} tokens cannot be kept up to {end}")
                slices += [mx.contiguous(array[..., start:end, :]) for array in (keys, values)]
            else:
                spec.append(pack(layer.state, states))
        return Kept(start, end, tuple(slices), tuple(states), tuple(spec))

    def join(self, parts: Sequence[Part], more: int = 0) -> list[Any]:
        """The caches of a sequence of all tokens of the parts, which leave no gap. The result is lazy. From
        any thread.

        more: tokens that are going to be added before an answer. The buffers have room for both and need not
            grow, and those of long sequences for some turns more. But they double at most: room has to be
            filled with zeros before the first token is computed.
        """
        end = parts[-1].end
        caches = self._make()
        for index, layer in enumerate(self._plain_of(caches)):
            spare = self._room(index, end, more, end // SPARE)
            keys, values = (joined(parts, 2 * index + offset, spare) for offset in (0, 1))
            layer.state = (keys, values, end)
        self._put_states(caches, parts[-1].kept)
        return caches

    def open(self, like: Kept, end: int, more: int) -> list[Any]:
        """Empty caches, to which append() adds `end` tokens. Lazy. From any thread. more: as in join()."""
        caches = self._make()
        for index, layer in enumerate(self._plain_of(caches)):
            keys, values = (
                empty(like, 2 * index + offset, end + self._room(index, end, more)) for offset in (0, 1)
            )
            layer.state = (keys, values, 0)
        return caches

    def append(self, caches: Sequence[Any], part: Part) -> None:
        """Adds the tokens of a part to the caches that open() made. Lazy. From any thread."""
        for index, layer in enumerate(self._plain_of(caches)):
            with mx.stream(stream(index)):
                layer.update_and_fetch(*(sliced(part, 2 * index + offset) for offset in (0, 1)))
        self._put_states(caches, part.kept)

    def room(self, caches: Sequence[Any]) -> int:
        """Tokens for which the layers that can be sliced have room in these caches; 0 without such layers."""
        sizes = [0 if layer.keys is None else layer.keys.shape[-2] for layer in self._plain_of(caches)]
        return min(sizes, default=0)

    def _plain_of(self, caches: Sequence[Any]) -> Iterator[Any]:
        return (layer for layer, plain in zip(leaves(caches), self._plain, strict=True) if plain)

    def _room(self, index: int, end: int, more: int, least: int = 0) -> int:
        """Tokens of room beyond `end` in the buffers of a plain layer."""
        tuning = self._tuning
        if tuning.caches is not None:  # for the next chunk: each larger size is read as a whole
            return tuning.caches.up(end + tuning.padded(min(more, tuning.prefill_step))) - end
        room = min(max(more + ANSWER_ROOM, least), end) if more else 0
        return room + min(room, staggered(index, tuning.stagger))

    def _put_states(self, caches: Sequence[Any], kept: Kept) -> None:
        """Gives the layers that cannot be sliced the states at the end of a segment, where it has them."""
        if not kept.whole:
            return
        states = list(kept.states)
        others = [layer for layer, plain in zip(leaves(caches), self._plain, strict=True) if not plain]
        for layer, spec in zip(others, kept.spec, strict=True):
            layer.state = unpack(spec, states)


def leaves(layers: Any) -> Iterator[Any]:
    """The caches of all layers; some layers keep several (mlx_lm's CacheList)."""
    for layer in layers:
        inner = getattr(layer, "caches", None)
        if inner is None:
            yield layer
        else:
            yield from leaves(inner)


def joined(parts: Sequence[Part], index: int, room: int) -> mx.array:
    """One array of the whole length and `room` tokens of zeros; never an array that is kept, because caches
    write into theirs.
    """
    with mx.stream(stream(index)):
        arrays = [sliced(part, index) for part in parts]
        if room:
            shape = list(arrays[0].shape)
            shape[-2] = room
            arrays.append(mx.zeros(shape, dtype=arrays[0].dtype))
        return mx.concatenate(arrays, axis=-2)


def empty(like: Kept, index: int, tokens: int) -> mx.array:
    """Zeros for so many tokens, otherwise like one of the arrays that are kept."""
    shape = list(like.slices[index].shape)
    shape[-2] = tokens
    with mx.stream(stream(index)):
        return mx.zeros(shape, dtype=like.slices[index].dtype)


def sliced(part: Part, index: int) -> mx.array:
    """The tokens of a part, of one of the arrays that are kept."""
    start = part.kept.start
    return part.kept.slices[index][..., part.start - start : part.end - start, :]


def pack(value: Any, arrays: list[mx.array]) -> Any:
    """A state as a JSON value. Its arrays are added to `arrays`, and their indices put into the value."""
    if isinstance(value, mx.array):
        arrays.append(mx.contiguous(value))
        return {"array": len(arrays) - 1}
    if isinstance(value, list | tuple):
        return [pack(item, arrays) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a cache state holds a {type(value).__name__}")


def unpack(spec: Any, arrays: Sequence[mx.array]) -> Any:
    """The state that pack() took apart. Arrays are new objects, because caches write into theirs."""
    if isinstance(spec, dict):
        return arrays[spec["array"]][...]
    return [unpack(item, arrays) for item in spec] if isinstance(spec, list) else spec
