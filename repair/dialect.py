"""The markers of calls and reasoning to look for in one model's text, compiled from its formats."""

from __future__ import annotations

import functools
import re
from bisect import bisect_right
from dataclasses import dataclass

from repair.formats import (
    AUTO,
    FRAME_ENDS,
    FRAMED,
    FRAMES,
    MESSAGES,
    NAMED_OPENERS,
    Wire,
    dropped,
    formats_for,
    remains_of,
    start,
)
from repair.reasoning import KNOWN, SUFFIXED, SUFFIXED_END, closes_alone
from repair.regions import Format
from repair.tools import ToolSet

FENCE = "```"
_SHORTEST_LEAD = 4


@dataclass(frozen=True)
class Markers:
    """Literals to search for, in order. first: matches a character that begins one."""

    literals: tuple[str, ...]
    pattern: re.Pattern[str]
    longest: int
    first: re.Pattern[str]

    def begins(self, text: str) -> bool:
        """Whether `text` is the beginning of a literal that is longer."""
        after = bisect_right(self.literals, text)
        return after < len(self.literals) and self.literals[after].startswith(text)

    def search(self, text: str, at: int, final: bool) -> re.Match[str] | None:
        """The first marker after `at`; None also where it may be the beginning or a part of a longer one."""
        found = self.pattern.search(text, at)
        if found is None or final or len(text) - found.start() >= self.longest:
            return found
        return None if self.split_tail(text, at) <= found.start() else found

    def split_tail(self, text: str, at: int) -> int:
        """Where the longest tail of text[at:] starts that may be the beginning of a marker."""
        for found in self.first.finditer(text, max(at, len(text) - self.longest + 1)):
            if self.begins(text[found.start() :]):
                return found.start()
        return len(text)


@dataclass(frozen=True)
class Dialect:
    """The markers of one model's formats.

    calls: opening marker -> formats to try, in order.
    words: those opening markers that begin with a name.
    reasoning: opening -> closing marker.
    lone: closing markers that count without their opening, and the beginnings of suffixed ones.
    dropped: frame markers.
    messages: formats whose call is the whole message.
    framed: whether the frame's end markers count from the start.
    closers: closing markers of all its formats.
    remains: literals that stand in a call only, behind its opening marker; in text they are left of one.
    starts: what prompts of its formats end with, which are beginnings of markers.
    own: names of the formats that the model is known to write; empty where its format is not known.
    """

    calls: dict[str, tuple[Format, ...]]
    words: frozenset[str]
    reasoning: dict[str, str]
    lone: frozenset[str]
    dropped: frozenset[str]
    messages: tuple[Format, ...]
    framed: bool
    text: Markers
    closers: tuple[str, ...] = ()
    remains: tuple[str, ...] = ()
    starts: tuple[str, ...] = ()
    own: frozenset[str] = frozenset()

    def lead(self, prompt: str) -> str:
        """The end of a generation prompt that is a call's opening marker or begins one: the model's text
        continues it.

        Without a prompt, the start that the formats' own prompts have.
        """
        if not prompt:
            return self.starts[0] if self.starts else ""
        ended = prompt.rstrip()
        whole = max((one for one in self.calls if ended.endswith(one)), key=len, default="")
        if whole:
            return prompt[len(ended) - len(whole) :]
        tails = (
            prompt[-size:] for size in range(min(len(prompt), self.text.longest), _SHORTEST_LEAD - 1, -1)
        )
        return next((one for one in tails if self.text.begins(one) and not one[0].isalnum()), "")

    def begin(self, text: str, lead: int, *, with_calls: bool, final: bool) -> int:
        """Where a turn begins in `text`, whose first `lead` characters end its prompt.

        0 if an opening marker of a call lies across them, else the index after them; -1 where more text
        decides.
        """
        found = self.text.pattern.match(text) if with_calls else None
        if found and found.group() != FENCE and found.end() >= len(text[:lead].rstrip()):
            return 0
        return -1 if with_calls and not final and self.text.begins(text) else lead

    def thinking(self, closer: str, with_calls: bool) -> Markers:
        """The markers inside a reasoning block that `closer` ends."""
        return _thinking(tuple(self.calls) if with_calls else (), closer)

    def may_begin(self, text: str, tools: ToolSet) -> bool | None:
        """Whether a message that begins with `text` may be nothing but a call; None: too short to tell."""
        answers = [MESSAGES[one.NAME](text, tools) for one in self.messages]
        return True if True in answers else None if None in answers else False


def is_word(char: str) -> bool:
    """Whether a name may continue after this character."""
    return char.isalnum() or (char in ("_", "-", ".") and char != "")


def compile_markers(literals: tuple[str, ...]) -> Markers:
    ordered = sorted(set(literals), key=lambda one: (-len(one), one))
    pattern = re.compile("|".join(re.escape(one) for one in ordered) or r"(?!)")
    firsts = "".join(sorted({re.escape(one[0]) for one in ordered}))
    first = re.compile(f"[{firsts}]" if firsts else r"(?!)")
    longest = max((len(one) for one in ordered), default=1)
    return Markers(tuple(sorted(ordered)), pattern, longest, first)


@functools.lru_cache(maxsize=256)
def _thinking(calls: tuple[str, ...], closer: str) -> Markers:
    return compile_markers((*calls, closer))


@functools.lru_cache(maxsize=256)
def dialect(name: str | Wire, names: tuple[str, ...]) -> Dialect:
    """The dialect of format `name` for tools of these `names`; without any, only reasoning counts.

    Raises KeyError for an unknown format.
    """
    formats = formats_for(name)
    calls: dict[str, tuple[Format, ...]] = {}
    reasoning: dict[str, str] = dict(KNOWN) | dict(name.reasoning if isinstance(name, Wire) else ())
    frame: set[str] = set()
    words: set[str] = set()
    for one in formats:
        reasoning.update(one.REASONING)
        frame.update(dropped(one))
        before, after = NAMED_OPENERS.get(one.NAME, ("", ""))
        named = [f"{before}{tool}{after}" for tool in names if after]
        if named and str(name) == one.NAME and before and not before[0].isalpha():
            named = [before]  # of this family it is a marker, whatever name follows
        words.update(named if not before or before[0].isalpha() else ())
        for opener in (*one.OPENERS, *named) if names else ():
            calls[opener] = (*calls.get(opener, ()), one)
    messages = tuple(one for one in formats if one.NAME in MESSAGES) if names else ()
    lone = frozenset((SUFFIXED, SUFFIXED_END, *filter(closes_alone, reasoning.values())))
    starts = tuple(dict.fromkeys(filter(None, map(start, formats)))) if names else ()
    literals = (*calls, *reasoning, *lone, *frame, *((FENCE,) if names else ()))
    framed = str(name) in FRAMED
    return Dialect(
        calls,
        frozenset(words),
        reasoning,
        lone,
        frozenset(frame),
        messages,
        framed,
        compile_markers(literals),
        tuple(closer for one in formats for closer in one.CLOSERS),
        remains_of(formats),
        starts,
        frozenset(one.NAME for one in formats) if name != AUTO else frozenset(),
    )


__all__ = ["FENCE", "FRAMES", "FRAME_ENDS", "Dialect", "Markers", "dialect", "is_word"]
