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
from itertools import islice
from typing import Any, Protocol

import mlx.core as mx

from engine.batch_cache import is_cuttable
from engine.sampling import SampledRow, UnexpectedRows, last_token

MOST_DRAFTED = 32  # expected tokens of a row in one pass: others wait for it
MOST_COMPUTED = 128  # tokens of all rows in one pass: the logits of each are kept


class Drafter(Protocol):
    """Says what comes next in one sequence. It is made with what else it has to know."""

    def worth_asking(self, rows: int) -> bool:
        """Whether draft() may have something, as far as that can be said before the token picked last is
        read. A batch is asked only where it is so for all its rows: the device waits while a token is read
        and looked at, and one row that expects nothing is enough to make that useless.

        rows: of the batch.
        """
        ...

    def draft(self, drawn: int | None, most: int) -> Sequence[int]:
        """The tokens that are expected to follow, which may be wrong; none where nothing is expected. It is
        called inside the model step, once for each pass and so not for each token, and raises nothing.

        drawn: the token picked last; None before the first.
        most: tokens beyond these are not used.
        """


class Drafters:
    """Several drafters for one sequence: each is asked where those before it expect nothing."""

    def __init__(self, drafters: Sequence[Drafter]) -> None:
        self._drafters = drafters

    def worth_asking(self, rows: int) -> bool:
        """As in Drafter."""
        return any(one.worth_asking(rows) for one in self._drafters)

    def draft(self, drawn: int | None, most: int) -> Sequence[int]:
        """As in Drafter."""
        drafts = (one.draft(drawn, most) for one in self._drafters)
        return next((draft for draft in drafts if draft), ())


class Drafted(Protocol):
    """A sequence that decodes, as this module sees it.

    row: how it is sampled.
    drafter: says what comes next, where that can be known.
    """

    row: SampledRow
    drafter: Drafter | None

    @property
    def may_follow(self) -> int:
        """Tokens that it may still get behind the one that its next pass picks."""


@dataclass(slots=True)
class Ahead:
    """What one pass computed beyond the token that was due.

    drafts: the expected tokens of each row, equally many.
    logits: [rows, 1 + expected tokens, vocab]; those at place n follow the n-th expected token.
    taken: places that the generator has got.
    """

    rows: Sequence[Drafted]
    drafts: list[list[int]]
    logits: mx.array
    taken: int = 1

    def goes_on(self) -> bool:
        """Whether every row has picked the expected token."""
        read: dict[int, Any] = {}
        place = self.taken - 1
        return place < len(self.drafts[0]) and all(
            one.row.drawn is not None and last_token(one.row.drawn, read) == draft[place]
            for one, draft in zip(self.rows, self.drafts, strict=True)
        )


class DraftedNetwork:
    """A network for a BatchGenerator, which calls it for the rows that decode, then for those that begin to,
    then for prompts. The rows of the first two have to be announced by expect().
    """

    def __init__(self, network: Any) -> None:
        self._network = network
        self._expected: deque[Sequence[Drafted]] = deque()
        self._ahead: Ahead | None = None

    def expect(self, *batches: Sequence[Drafted]) -> None:
        """Announces the rows of the coming calls, in order; other calls are passed on as they are. Two
        batches become one in this step, so that nothing is computed ahead for either.
        """
        self._expected = deque(batches if len(batches) == 1 else ())
        if self._ahead is not None and (len(batches) != 1 or self._ahead.rows != batches[0]):
            self._ahead = None

    def knows(self, rows: Sequence[Drafted]) -> bool:
        """Whether the next call for these rows needs no pass."""
        return self._ahead is not None and self._ahead.rows == rows and self._ahead.goes_on()

    def __call__(self, inputs: mx.array, cache: Any = None) -> mx.array:
        """inputs: token ids [rows, tokens]. Returns logits [rows, tokens, vocab].

        Raises UnexpectedRows where a call is for other rows than announced.
        """
        if not self._expected:
            return self._compute(inputs, cache)
        rows = self._expected.popleft()
        if inputs.shape != (len(rows), 1):
            raise UnexpectedRows(f"expected one token of each of {len(rows)} rows, got {inputs.shape}")
        ahead, self._ahead = self._ahead, None
        if ahead is not None and ahead.goes_on():
            self._ahead = ahead
            ahead.taken += 1
            for layer in cache:
                layer.advance(1)
            return ahead.logits[:, ahead.taken - 1 : ahead.taken]
        drafts = expected_tokens(rows, cache)
        if not drafts:
            return self._compute(inputs, cache)
        logits = self._compute(mx.concatenate([inputs, mx.array(drafts, dtype=inputs.dtype)], axis=1), cache)
        for layer in cache:
            layer.trim(len(drafts[0]))
        self._ahead = Ahead(rows, drafts, logits)
        return logits[:, :1]

    def _compute(self, inputs: mx.array, cache: Any) -> mx.array:
        logits: mx.array = self._network(inputs, cache=cache)
        return logits


def expected_tokens(rows: Sequence[Drafted], cache: Any) -> list[list[int]]:
    """The tokens expected of each row, as many as of the row with the fewest: a batch goes on in step. Empty
    where a row expects none, or where its caches cannot be cut.
    """
    drafters = [one.drafter for one in rows if one.drafter is not None]
    if len(drafters) < len(rows) or not is_cuttable(cache):
        return []
    if not all(drafter.worth_asking(len(rows)) for drafter in drafters):
        return []
    width = min(MOST_DRAFTED, MOST_COMPUTED // len(rows) - 1, *(one.may_follow for one in rows))
    read: dict[int, Any] = {}
    drafts: list[list[int]] = []
    for one, drafter in zip(rows, drafters, strict=True):
        if width <= 0:
            return []
        drawn = None if one.row.drawn is None else last_token(one.row.drawn, read)
        drafts.append([*islice(drafter.draft(drawn, width), width)])
        width = len(drafts[-1])
    return [draft[:width] for draft in drafts]
