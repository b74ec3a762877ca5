"""Encodes long texts piece by piece, to the same tokens: within a budget, and to be stopped at any time.

A tokenizer that gets a text of megabytes works for seconds, cannot be stopped, and takes hundreds of bytes of
memory for each byte of the text. A long text is therefore cut where two tokens meet anyway, and each piece is
encoded with what stands before it, because some tokenizers treat the beginning of a text differently. Only
where thousands of characters have no place between words (a run of one sign) may other tokens stand for the
same text.
"""

from __future__ import annotations

import itertools
import threading
from array import array
from collections.abc import Callable, Iterator

from engine.errors import ContextOverflow, Unwanted

# Characters. Shorter texts are encoded at once.
PIECE = 32_768
# A text in which no two tokens meet at a place of those that are tried is cut after so many pieces all the
# same.
_MOST_PIECES = 16
# Characters on both sides of a place that are encoded to see whether two tokens meet there.
_AROUND = 64
# How far before the end of a piece a place is looked for, and how many are tried of each kind.
_WINDOW = 4096
_TRIED = 16

Encode = Callable[[str], tuple[int, ...]]


class Budget:
    """How many tokens a prompt may have, and whether it is still wanted. stop() may be called by any thread.

    most: tokens; the prompt is not encoded further once it has more. None: as many as it has.
    limit: for the error: the tokens that prompt and answer may have together.
    """

    def __init__(self, most: int | None = None, limit: int = 0) -> None:
        self._most = most
        self._limit = limit
        self._expected = 0
        self._spent = 0
        self._read = 0
        self._stopped = threading.Event()

    def stop(self) -> None:
        self._stopped.set()

    def check(self) -> None:
        """Raises Unwanted."""
        if self._stopped.is_set():
            raise Unwanted("the prompt is no longer wanted")

    def expect(self, characters: int) -> None:
        """Says how long the whole prompt is, by which its tokens are estimated where they are not all
        counted.
        """
        self._expected = characters

    def spend(self, tokens: int, characters: int) -> None:
        """Counts tokens, and the characters of the prompt that they stand for. Raises Unwanted and
        ContextOverflow.
        """
        self.check()
        self._spent += tokens
        self._read += characters
        if self._most is not None and self._spent > self._most:
            estimate = self._spent * self._expected // max(1, self._read)
            raise ContextOverflow(
                max(self._spent, estimate), self._limit, estimated=self._read < self._expected
            )


def encode_long(
    encode: Encode, text: str, budget: Budget | None = None, piece: int = PIECE
) -> tuple[int, ...]:
    """The tokens of a text. encode: encodes a short one. piece: characters that are encoded at a time.

    Raises Unwanted and ContextOverflow.
    """
    budget = budget or Budget()
    if len(text) <= piece:
        tokens = encode(text)
        budget.spend(len(tokens), len(text))
        return tokens
    found = array("i")
    begun = 0
    for end in _ends(encode, text, piece):
        tokens = _behind_what_precedes(encode, text[max(0, begun - _AROUND) : begun], text[begun:end])
        found.extend(tokens)
        budget.spend(len(tokens), end - begun)
        begun = end
    return tuple(found)


def _behind_what_precedes(encode: Encode, before: str, piece: str) -> tuple[int, ...]:
    known = encode(before) if before else ()
    both = encode(before + piece)
    return both[len(known) :] if both[: len(known)] == known else encode(piece)


def _ends(encode: Encode, text: str, piece: int) -> Iterator[int]:
    """The places at which the text is cut, and its end."""
    begun = 0
    while len(text) - begun > piece:
        wanted = range(begun + piece, min(len(text), begun + _MOST_PIECES * piece), piece)
        ends = (end for far in wanted for end in _places(text, far, begun) if _meet(encode, text, end))
        begun = next(ends, wanted[-1])
        yield begun
    yield len(text)


def _places(text: str, far: int, begun: int) -> Iterator[int]:
    """Places at or before `far` where tokens are likely to meet, the likeliest first: behind a line's end,
    before a space, anywhere.
    """
    least = max(begun, far - _WINDOW)
    yield from itertools.islice(_behind(text, "\n", least, far), _TRIED)
    yield from itertools.islice((at - 1 for at in _behind(text, " ", least, far)), _TRIED)
    yield from (at for at in range(far, max(begun, far - _TRIED), -1))


def _behind(text: str, sign: str, least: int, far: int) -> Iterator[int]:
    """Places behind the sign and before something that is no white space, from the last one on."""
    at = text.rfind(sign, least, far)
    while at > least:
        if not text[at + 1 : at + 2].isspace():
            yield at + 1
        at = text.rfind(sign, least, at)


def _meet(encode: Encode, text: str, at: int) -> bool:
    """Whether one token ends and another begins here."""
    before = encode(text[max(0, at - _AROUND) : at])
    both = encode(text[max(0, at - _AROUND) : at + _AROUND])
    return both[: len(before)] == before
