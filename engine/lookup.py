"""Expects what followed the last tokens where they stood before, in the prompt or in the answer itself.

An agent's model copies: the lines that it changes, the path that it read, the words of a result, the
beginning of its own last call. Where the last tokens stood before, what came next there is a draft for
engine.drafting (prompt lookup decoding: Saxena 2023; Yang et al. 2023, arXiv:2304.04487). A wrong draft costs
time, so after one a longer repetition is asked for, and drafts grow with what comes true.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle, islice

import numpy as np

from engine.drafting import MOST_DRAFTED

LEAST_REPEATED = 4  # tokens that have to repeat before anything is expected
MOST_REPEATED = 64  # the same after many wrong drafts
FIRST_DRAFT = 4  # tokens of the first draft of a repetition
MOST_ROWS = 2  # of a batch: of more, one nearly always repeats nothing
COMPARED = 256  # earlier places that are compared, the latest ones


class Lookup:
    """A drafter for one sequence. It has to be told each token that is reported, with note().

    prompt: its tokens.
    """

    def __init__(self, prompt: Sequence[int]) -> None:
        self._prompt = prompt
        self._seen = np.empty(0, dtype=np.int64)  # the first `_length` are there; made when first looked into
        self._length = 0
        self._fresh: list[int] = []  # reported, and not there yet
        self._reported = 0
        self._next: int | None = None  # the place of the token that is expected next
        self._looked_at = 0  # the number of reported tokens when it was last looked for
        self._least = LEAST_REPEATED
        self._width = FIRST_DRAFT
        self._drafted = 0  # tokens of the last draft that have not been reported yet
        self._right = 0  # those that have, and came true

    def note(self, token: int) -> None:
        """Tells the token that is reported."""
        self._fresh.append(token)
        self._reported += 1
        if self._next is None:
            return
        self._file()
        expected = int(self._seen[self._next]) == token
        self._next = self._next + 1 if expected else None
        if self._drafted:
            self._drafted -= 1
            self._right += expected
            if not (expected and self._drafted):
                self._learn(expected)

    def worth_asking(self, rows: int) -> bool:
        """As in engine.drafting.Drafter."""
        if rows > MOST_ROWS or not self._reported:
            return False
        if self._next is None and self._looked_at < self._reported:
            self._looked_at = self._reported
            self._file()
            self._next = self._find()
        return self._next is not None

    def draft(self, drawn: int | None, most: int) -> Sequence[int]:
        """As in engine.drafting.Drafter."""
        place = self._next
        if drawn is None or place is None or int(self._seen[place]) != drawn:
            return []
        width = min(most, self._width)
        behind = [*map(int, self._seen[place + 1 : place + 1 + width][: self._length - place - 1]), drawn]
        self._drafted, self._right = 1 + width, 0  # the one that was drawn is reported first
        return [*islice(cycle(behind), width)]  # what repeats itself may do so more than once

    def _learn(self, whole: bool) -> None:
        """From what became of a draft. whole: all of it came true."""
        self._drafted = 0
        self._width = min(2 * self._width, MOST_DRAFTED) if whole else FIRST_DRAFT
        paid = self._right > FIRST_DRAFT
        self._least = LEAST_REPEATED if paid else min(2 * self._least, MOST_REPEATED)

    def _file(self) -> None:
        """Puts the tokens of the prompt and those that were reported where they can be looked into."""
        fresh = self._fresh if self._length else [*self._prompt, *self._fresh]
        end = self._length + len(fresh)
        if end > len(self._seen):
            room = np.empty(end - self._length + end // 2 + 256, dtype=np.int64)
            self._seen = np.concatenate([self._seen[: self._length], room])
        self._seen[self._length : end] = fresh
        self._length, self._fresh = end, []

    def _find(self) -> int | None:
        """The place behind the latest of the longest repetitions of the last tokens; None where they are
        shorter than is asked for.
        """
        seen, end = self._seen[: self._length], self._length - 1
        places = np.flatnonzero(seen[:end] == seen[end])[-COMPARED:]
        repeated = 1 if len(places) else 0
        while len(places) and repeated < MOST_REPEATED:
            longer = places[places >= repeated]
            longer = longer[seen[longer - repeated] == seen[end - repeated]]
            if not len(longer):
                break
            places, repeated = longer, repeated + 1
        return int(places[-1]) + 1 if repeated >= self._least else None
