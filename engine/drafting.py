"""Computes tokens that are expected to come next together with the token that is due, in one forward pass.

A drafter says which tokens it expects. The network that mlx_lm's generator is given here runs them behind the
token that is due and keeps the logits of all. The generator asks for one token at a time, as it always does:
while the tokens that it picks are the expected ones, their logits are there, and no pass is made. So every
token is picked by the same sampler from the same logits, under the same grammar and penalties and with the
same random number as without a drafter. A draft that turns out wrong costs time and changes nothing
(speculative decoding with exact verification: Leviathan et al. 2023, arXiv:2211.17192).

The caches end where the generator believes that they end: what was computed beyond is cut off at once, and
taken back token by token.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import mlx.core as mx

from engine.batch_cache import JoinedCache
from engine.sampling import SampledRow, last_token

MOST_DRAFTED = 32  # expected tokens of one pass: others wait for it, and its logits are kept


class Drafter(Protocol):
    """Says what comes next in one sequence."""

    def draft(self, drawn: int | None, most: int) -> Sequence[int]:
        """The tokens that are expected to follow, which may be wrong; none where nothing is expected. It is
        called inside the model step and raises nothing.

        drawn: the token picked last; None before the first.
        most: tokens beyond these are not used.
        """


Row = tuple[SampledRow, Drafter | None]
Rows = tuple[Row, ...]


@dataclass(slots=True)
class Ahead:
    """What one pass computed beyond the token that was due.

    drafts: the expected tokens of each row, equally many.
    logits: [rows, 1 + expected tokens, vocab]; those at place n follow the n-th expected token.
    taken: places that the generator has got.
    """

    rows: Rows
    drafts: list[list[int]]
    logits: mx.array
    taken: int = 1

    def goes_on(self) -> bool:
        """Whether every row has picked the expected token."""
        read: dict[int, Any] = {}
        place = self.taken - 1
        return place < len(self.drafts[0]) and all(
            row.drawn is not None and last_token(row.drawn, read) == draft[place]
            for (row, _), draft in zip(self.rows, self.drafts, strict=True)
        )


class DraftedNetwork:
    """A network for a BatchGenerator, which calls it for the rows that decode, then for those that begin to,
    then for prompts. The rows of the first two have to be announced by expect().
    """

    def __init__(self, network: Any) -> None:
        self._network = network
        self._expected: deque[Rows] = deque()
        self._ahead: Ahead | None = None

    def expect(self, *batches: Rows) -> None:
        """Announces the rows of the coming calls, in order; other calls are passed on as they are. Two
        batches become one in this step, so that nothing is computed ahead for either.
        """
        self._expected = deque(batches if len(batches) == 1 else ())
        if self._ahead is not None and (len(batches) != 1 or self._ahead.rows != batches[0]):
            self._ahead = None

    def knows(self, rows: Rows) -> bool:
        """Whether the next call for these rows needs no pass."""
        return self._ahead is not None and self._ahead.rows == rows and self._ahead.goes_on()

    def __call__(self, inputs: mx.array, cache: Any = None) -> mx.array:
        """inputs: token ids [rows, tokens]. Returns logits [rows, tokens, vocab]."""
        rows = self._expected.popleft() if self._expected else ()
        ahead = self._ahead
        if rows and ahead is not None and ahead.goes_on():
            ahead.taken += 1
            for layer in cache:
                layer.advance(1)
            return ahead.logits[:, ahead.taken - 1 : ahead.taken]
        drafts = expected_tokens(rows) if rows and is_cuttable(cache) else []
        if not drafts:
            self._ahead = None if rows else ahead
            logits: mx.array = self._network(inputs, cache=cache)
            return logits
        return self._compute(rows, drafts, inputs, cache)

    def _compute(self, rows: Rows, drafts: list[list[int]], inputs: mx.array, cache: Any) -> mx.array:
        all_tokens = mx.concatenate([inputs, mx.array(drafts, dtype=inputs.dtype)], axis=1)
        logits: mx.array = self._network(all_tokens, cache=cache)
        for layer in cache:
            layer.trim(len(drafts[0]))
        self._ahead = Ahead(rows, drafts, logits)
        return logits[:, :1]


def is_cuttable(cache: Any) -> bool:
    """Whether tokens can be cut off the end of these caches, and taken back."""
    return all(type(layer) is JoinedCache for layer in cache)


def expected_tokens(rows: Rows) -> list[list[int]]:
    """The tokens expected of each row, as many as of the row with the fewest: a batch goes on in step. Empty
    where a row expects none.
    """
    read: dict[int, Any] = {}
    drafts: list[list[int]] = []
    if any(drafter is None for _, drafter in rows):
        return []
    for row, drafter in rows:
        assert drafter is not None, "looked at above"
        draft = drafter.draft(None if row.drawn is None else last_token(row.drawn, read), MOST_DRAFTED)
        if not draft:
            return []
        drafts.append(list(draft[:MOST_DRAFTED]))
    width = min(len(draft) for draft in drafts)
    return [draft[:width] for draft in drafts]
