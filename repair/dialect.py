"""The markers to look for in one model's text, compiled from its formats."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

from repair.formats import DROPPED, FRAME_ENDS, MESSAGES, NAMED_OPENERS, formats_for
from repair.regions import Format
from repair.tools import ToolSet

FENCE = "```"


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


@dataclass(frozen=True)
class Dialect:
    """calls: opening marker -> formats to try, in order. words: those of them that begin with a name.
    reasoning: opening -> closing marker. dropped: frame markers. messages: formats whose call is the
    whole message. framed: the frame's end markers count from the start. closers: of all its formats.
    """

    calls: dict[str, tuple[Format, ...]]
    words: frozenset[str]
    reasoning: dict[str, str]
    dropped: frozenset[str]
    messages: tuple[Format, ...]
    framed: bool
    text: Markers
    closers: tuple[str, ...] = ()

    def thinking(self, closer: str, with_calls: bool) -> Markers:
        """Markers inside a reasoning block that `closer` ends."""
        return _thinking(tuple(self.calls) if with_calls else (), closer)

    def may_begin(self, text: str, tools: ToolSet) -> bool | None:
        """Whether a message that begins with `text` may be nothing but a call; None: too short to tell."""
        answers = [MESSAGES[one.NAME](text, tools) for one in self.messages]
        return True if True in answers else None if None in answers else False


def compile_markers(literals: tuple[str, ...]) -> Markers:
    ordered = sorted(set(literals), key=lambda one: (-len(one), one))
    pattern = re.compile("|".join(re.escape(one) for one in ordered) or r"(?!)")
    held = frozenset(one[:size] for one in ordered for size in range(1, len(one)))
    return Markers(pattern, held, max((len(one) for one in ordered), default=1))


@functools.lru_cache(maxsize=256)
def _thinking(calls: tuple[str, ...], closer: str) -> Markers:
    return compile_markers((*calls, closer))


@functools.lru_cache(maxsize=256)
def dialect(name: str, names: tuple[str, ...]) -> Dialect:
    """The dialect of format `name` for tools of these `names`; without any, only reasoning counts.

    Raises KeyError for an unknown format.
    """
    formats = formats_for(name)
    calls: dict[str, tuple[Format, ...]] = {}
    reasoning: dict[str, str] = {}
    dropped: set[str] = set()
    words: set[str] = set()
    for one in formats:
        reasoning.update(one.REASONING)
        dropped.update(DROPPED.get(one.NAME, ()))
        before, after = NAMED_OPENERS.get(one.NAME, ("", ""))
        named = [f"{before}{tool}{after}" for tool in names if after]
        if named and name == one.NAME and before and not before[0].isalpha():
            named = [before]  # of this family it is a marker, whatever name follows
        words.update(named if not before or before[0].isalpha() else ())
        for opener in (*one.OPENERS, *named) if names else ():
            calls[opener] = (*calls.get(opener, ()), one)
    messages = tuple(one for one in formats if one.NAME in MESSAGES) if names else ()
    literals = (*calls, *reasoning, *dropped, *((FENCE,) if names else ()))
    framed = name in DROPPED
    return Dialect(
        calls,
        frozenset(words),
        reasoning,
        frozenset(dropped),
        messages,
        framed,
        compile_markers(literals),
        tuple(closer for one in formats for closer in one.CLOSERS),
    )


__all__ = ["FENCE", "FRAME_ENDS", "Dialect", "Markers", "dialect"]
