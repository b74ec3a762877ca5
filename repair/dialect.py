"""The markers to look for in one model's text, compiled from its formats."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

from repair.formats import formats_for
from repair.regions import Format

FENCE = "```"


@dataclass(frozen=True)
class Dialect:
    """calls: opening marker -> formats to try, in order. reasoning: opening -> closing marker."""

    calls: dict[str, tuple[Format, ...]]
    reasoning: dict[str, str]
    text: Markers
    bare: bool

    def thinking(self, closer: str, with_calls: bool) -> Markers:
        return _thinking(tuple(self.calls) if with_calls else (), closer)


@dataclass(frozen=True)
class Markers:
    """Literals to search for. held: every proper beginning of one of them."""

    pattern: re.Pattern[str]
    held: frozenset[str]
    longest: int

    def split_tail(self, text: str, at: int) -> int:
        """Where the longest tail of text[at:] starts that may be the beginning of a marker."""
        for start in range(max(at, len(text) - self.longest + 1), len(text)):
            if text[start:] in self.held:
                return start
        return len(text)


def compile_markers(literals: tuple[str, ...]) -> Markers:
    ordered = sorted(set(literals), key=lambda one: (-len(one), one))
    pattern = re.compile("|".join(re.escape(one) for one in ordered) or r"(?!)")
    held = frozenset(one[:size] for one in ordered for size in range(1, len(one)))
    return Markers(pattern, held, max((len(one) for one in ordered), default=1))


@functools.lru_cache(maxsize=256)
def _thinking(calls: tuple[str, ...], closer: str) -> Markers:
    return compile_markers((*calls, closer))


@functools.lru_cache(maxsize=64)
def dialect(name: str, with_calls: bool) -> Dialect:
    """The dialect of format `name`; without calls only reasoning is looked for. Raises KeyError."""
    formats = formats_for(name)
    calls: dict[str, tuple[Format, ...]] = {}
    reasoning: dict[str, str] = {}
    for one in formats:
        reasoning.update(one.REASONING)
        for opener in one.OPENERS if with_calls else ():
            calls[opener] = (*calls.get(opener, ()), one)
    literals = (*calls, *reasoning, *((FENCE,) if with_calls else ()))
    return Dialect(calls, reasoning, compile_markers(literals), with_calls)
