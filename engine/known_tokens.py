"""Looks ahead in a grammar: the tokens that must come next, then a guess at those that follow."""

from __future__ import annotations

import re

from llguidance import LLMatcher, LLTokenizer

SPACE = b" "
SPECIAL = re.compile(rb"\xff\[(\d+)\]")  # how llguidance writes a special token among bytes


def known_tokens(
    matcher: LLMatcher, tokenizer: LLTokenizer, most: int, end: int, spaced: bool = True
) -> list[int]:
    """What must come next, then a guess at what follows where that is less than `most` tokens. Raises
    nothing, and leaves the matcher as it was, whatever happens to the copy that looks ahead.

    What must come are the tokens that the tokenizer makes of the text that must come, as far as no text
    behind it could change them: of such tokens, the mask allows the next one alone. The guess is the tokens
    of the rest of that text, with which longer tokens may begin too, and `end` where the text may end.

    spaced: the guess goes on with a space, where one may stand, behind a known comma or colon, or where only
        one text can follow it.
    """
    ahead = matcher.deep_copy()
    forced: list[int] = [] if ahead.is_stopped() else ahead.compute_ff_tokens()
    if len(forced) >= most or (forced and ahead.try_consume_tokens(forced) < len(forced)):
        return forced
    before = tokenizer.decode_bytes(forced[-1:]) if forced else b""
    return forced + Guess(ahead, tokenizer, before, spaced).tokens(most - len(forced), end)


def leaves_space_out(expected: bytes, got: bytes) -> bool:
    """Whether a token differs from the expected one first in a space that is not there."""
    pairs = zip(expected, got, strict=False)
    return next((one == SPACE[0] for one, other in pairs if one != other), False)


class Guess:
    """The guess of known_tokens().

    matcher: the copy, behind what must come; it goes along, maybe in other tokens than the tokenizer makes of
        the same text.
    before: the end of what must come.
    """

    def __init__(self, matcher: LLMatcher, tokenizer: LLTokenizer, before: bytes, spaced: bool) -> None:
        self._matcher = matcher
        self._tokenizer = tokenizer
        self._before = before
        self._spaced = spaced
        self._tokens: list[int] = []
        self._text = b""  # behind these tokens, and not yet cut into tokens

    def tokens(self, most: int, end: int) -> list[int]:
        pieces = 0
        while pieces < most and not self._matcher.is_stopped() and self._go_on():
            pieces += 1
        known = bool(self._before or self._tokens or self._text)
        self._settle()
        ended = self._matcher.is_stopped() or (known and self._matcher.is_accepting())
        return [*self._tokens, end] if ended and not self._matcher.is_error() else self._tokens

    def _go_on(self) -> bool:
        """Takes the next text that must come, or a space; returns whether there was any."""
        text = self._matcher.compute_ff_bytes()
        special = SPECIAL.search(text)
        text = text[: special.start()] if special else text
        tokens = self._cut(text)
        self._text += text
        if special:
            self._settle()
            self._tokens.append(int(special[1]))
            self._before = b""
            tokens.append(int(special[1]))
        if not tokens:
            return self._spaced and self._takes_space()
        return bool(self._matcher.try_consume_tokens(tokens) == len(tokens))

    def _takes_space(self) -> bool:
        """Whether a space may stand here, behind a comma or a colon or before the only text that can come."""
        space = self._cut(SPACE)
        if len(space) != 1 or not self._matcher.try_consume_tokens(space):
            return False
        separates = (self._text or self._before).endswith((b",", b":"))
        if not separates and not self._matcher.compute_ff_bytes():
            self._matcher.rollback(1)
            return False
        self._text += SPACE
        return True

    def _settle(self) -> None:
        """Cuts the text into tokens."""
        self._tokens += self._cut(self._text)
        self._text = b""

    def _cut(self, text: bytes) -> list[int]:
        """The tokenizer's own tokens for a text."""
        return self._tokenizer.tokenize_bytes(text) if text else []
