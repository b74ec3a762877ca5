"""The caches of a batch, each sequence's in buffers of its own.

Nothing is padded, and nothing is copied when a sequence joins the batch or leaves it. Attention gets the
buffers one by one: for attention that computes row by row anyway (engine/cpu/attention.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx


@dataclass(frozen=True, slots=True)
class Rows:
    """What stands for the keys, or the values, of a batch.

    arrays: of each row [1, heads, tokens, width].
    added: how many of the tokens that were computed now are each row's own; the others are padding.
    """

    arrays: tuple[mx.array, ...]
    added: tuple[int, ...]


class SeparateCache:
    """One layer of a batch, for mlx_lm's generators. rows: of engine.batch_cache.RowCache."""

    def __init__(self, rows: Iterable[Any]) -> None:
        self.rows = list(rows)
        self._due: list[int] | None = None  # tokens of each row in a prompt that is padded on the right

    @property
    def offset(self) -> mx.array:
        """Tokens of each row: the position of its next one."""
        return mx.array([row.offset for row in self.rows])

    def prepare(self, *, lengths: Sequence[int], right_padding: Sequence[int]) -> None:
        """The tokens that come next are so many of each row, and padding behind them."""
        self._due = list(lengths)

    def finalize(self) -> None:
        """The padded tokens have come."""
        self._due = None

    def make_mask(self, N: int, return_array: bool = False, window_size: int | None = None) -> str | None:
        """What each of the next N tokens sees. Raises NotImplementedError where it is not all before it."""
        if return_array or window_size is not None:
            raise NotImplementedError("separate caches have no mask of numbers")
        return "causal" if N > 1 else None

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[Rows, Rows]:
        """Adds tokens: keys and values [rows, heads, tokens, width]. Returns all, these included."""
        width = keys.shape[2]
        added = (width,) * len(self.rows)
        if self._due is not None:
            added = tuple(min(width, due) for due in self._due)
            self._due = [due - size for due, size in zip(self._due, added, strict=True)]
        found = [
            row.update_and_fetch(keys[n : n + 1, :, :size], values[n : n + 1, :, :size])
            for n, (row, size) in enumerate(zip(self.rows, added, strict=True))
        ]
        all_keys, all_values = zip(*found, strict=True)
        return Rows(all_keys, added), Rows(all_values, added)

    def extract(self, index: int) -> Any:
        """The cache of one row; what is written into it afterwards is not seen in the batch."""
        return self.rows[index].apart()

    def filter(self, batch_indices: Any) -> None:
        """Keeps these rows."""
        self.rows = [self.rows[index] for index in batch_indices]

    def trim(self, tokens: int) -> None:
        """Cuts so many tokens off every row."""
        for row in self.rows:
            row.trim(tokens)

    def advance(self, tokens: int) -> None:
        """Takes tokens back that trim() has just cut off."""
        for row in self.rows:
            row.offset += tokens

    @property
    def state(self) -> list[Any]:
        """The buffers of all rows."""
        return [row.state[:2] for row in self.rows if not row.empty()]

    def size(self) -> int:
        """Tokens of the longest row."""
        return max((row.offset for row in self.rows), default=0)

    def empty(self) -> bool:
        return all(row.empty() for row in self.rows)

    @property
    def nbytes(self) -> int:
        return sum(row.nbytes for row in self.rows)
