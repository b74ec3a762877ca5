"""Checks a finished text against a grammar, byte by byte and without a model.

It is for texts that no grammar held while they were written. Grammars are llguidance's Lark, as those of
engine.constraints are.
"""

from __future__ import annotations

import functools
import json
import time
from dataclasses import dataclass
from typing import Any

from llguidance import LLMatcher, LLTokenizer

_KEPT = 64  # compiled grammars; an agent sends the same tools turn after turn
_ALLOWANCE_S = 0.5  # of computing for one text: a longer one would hold up everybody
_SLICE_S = 0.001  # the longest time between two looks at the clock, about
_BYTES = 256
_QUOTED = 40  # characters of the text that a reason repeats
_LISTED = 12  # bytes that a reason lists as possible
_LONGEST_DEFINITION = 100_000


class UnusableGrammar(ValueError):
    """Why a grammar cannot be compiled; str() is fit for the user who sent it."""


@dataclass(frozen=True, slots=True)
class TextGrammar:
    """What a whole text must match. lark: the grammar, which compiles."""

    lark: str

    @classmethod
    def of(cls, syntax: str, definition: str) -> TextGrammar:
        """syntax: `lark` or `regex`, of which a regex is one in Rust's syntax. Raises UnusableGrammar."""
        if len(definition) > _LONGEST_DEFINITION:
            raise UnusableGrammar(f"at most {_LONGEST_DEFINITION} characters are read, got {len(definition)}")
        lark = definition if syntax == "lark" else _as_lark(definition)
        _matcher(lark)
        return cls(lark)

    def refusal(self, text: str) -> str:
        """Why the text does not match, with the place and what could have stood there; "" where it does. A
        text that cannot be held against the grammar within half a second of computing does not match.
        """
        data = text.encode("utf-8", "surrogatepass")
        matcher = _matcher(self.lark).deep_copy()
        began = now = time.thread_time()
        read, size = 0, 8
        while read < len(data):
            part = data[read : read + size]
            taken = matcher.try_consume_tokens(list(part))
            read += taken
            before, now = now, time.thread_time()
            if matcher.is_error() or now - began > _ALLOWANCE_S:
                return f"its grammar is too ambiguous to be followed further than {_place(data, read)}"
            if taken < len(part):
                rest = json.dumps(data[read:].decode("utf-8", "replace")[:_QUOTED], ensure_ascii=False)
                return f"{rest} stands {_place(data, read)}, where {_due(matcher) or 'something else is due'}"
            size = min(32, size * 2) if now - before < _SLICE_S else max(1, size // 2)
        if matcher.is_accepting():
            return ""
        due = _due(matcher)
        return f"the text ends too early{': ' if due else ''}{due}"


def _as_lark(regex: str) -> str:
    made: dict[str, Any] = json.loads(LLMatcher.grammar_from_regex(regex))
    lark: str = made["grammars"][0]["lark_grammar"]
    return lark


@functools.cache
def _by_bytes() -> LLTokenizer:
    """One token for each byte, numbered as it."""
    return LLTokenizer("byte")


@functools.lru_cache(maxsize=_KEPT)
def _matcher(lark: str) -> LLMatcher:
    """At the beginning of the text; to be copied. Raises UnusableGrammar."""
    matcher = LLMatcher(_by_bytes(), LLMatcher.grammar_from_lark(lark), log_level=0)
    if matcher.is_error():
        raise UnusableGrammar(" ".join(matcher.get_error().split())[:400])
    probe = matcher.deep_copy()
    if not any(probe.compute_bitmask()) or probe.is_error():
        raise UnusableGrammar("no text matches it")
    return matcher


def _place(data: bytes, read: int) -> str:
    before = data[:read].decode("utf-8", "replace")
    line = before.count("\n") + 1
    return f"in line {line}, at character {len(before) - (before.rfind(chr(10)) + 1) + 1}"


def _due(matcher: LLMatcher) -> str:
    """What could stand here, told to the model that wrote something else; "" where it is too much to tell."""
    forced = matcher.compute_ff_bytes().decode("utf-8", "replace")
    if forced:
        return f"{json.dumps(forced, ensure_ascii=False)} is due"
    mask = matcher.compute_bitmask()
    allowed = [byte for byte in range(_BYTES) if mask[byte >> 3] >> (byte & 7) & 1]
    if not allowed:
        return "the text must end"
    shown = [json.dumps(chr(byte)) for byte in allowed if byte < 0x7F]
    return f"one of {', '.join(shown)} is due" if 0 < len(shown) <= _LISTED else ""
