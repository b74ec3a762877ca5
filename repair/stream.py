"""StreamParser: a model's text, in any pieces, to text, reasoning and call regions.

Text and reasoning leave as soon as they cannot be the beginning of a marker. From the first marker of a
call on everything is kept until close(), because what a region is depends on what follows it; so the
events are a function of the whole text, whatever the pieces.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from repair.dialect import FENCE, FRAME_ENDS, dialect
from repair.fence import parse_fenced
from repair.limits import LIMITS
from repair.regions import SPECIAL_TOKENS, Format, Region, match_literal, problem_call, skip_space
from repair.tools import ToolSet
from repair.types import Fix, FixKind


@dataclass(frozen=True, slots=True)
class Text:
    """Content, verbatim."""

    text: str


@dataclass(frozen=True, slots=True)
class Reasoning:
    """Thinking, without its markers."""

    text: str


@dataclass(frozen=True, slots=True)
class Calls:
    """A call region. raw: all its bytes. bare: nothing but its JSON marks it as a call."""

    region: Region
    raw: str
    bare: bool = False


@dataclass(frozen=True, slots=True)
class Junk:
    """Bytes that mean nothing beside an accepted call (a stray closing marker, an echo)."""

    raw: str
    fix: Fix


@dataclass(frozen=True, slots=True)
class Draft:
    """The end of the reasoning from the first call in it on, when no answer follows."""

    text: str


Event = Text | Reasoning | Calls | Junk | Draft


class StreamParser:
    """One model turn. feed() any pieces, then close() once.

    with_calls: look for calls at all. drafts: also inside reasoning. generation_prompt: what the chat
    template put after the prompt; an opening reasoning marker in it counts. Raises KeyError for an
    unknown format.
    """

    def __init__(
        self,
        tools: ToolSet,
        format: str = "auto",
        *,
        with_calls: bool = True,
        drafts: bool = True,
        generation_prompt: str = "",
    ) -> None:
        self._tools = tools
        self._dialect = dialect(format, tools.names if with_calls else ())
        self._framed = self._dialect.framed
        self._drafts = drafts and with_calls
        self._events: list[Event] = []
        self._carry = ""
        self._held: list[str] | None = None
        self._blank: list[str] = []
        self._started = False
        self._fenced = False
        self._span = False
        self._boundary = True
        self._last = ""
        self._regions = 0
        self._finder = _Finder()
        self._thinking = self._open_reasoning(generation_prompt)
        self._fresh = self._thinking != ""
        self._draft: list[str] | None = None

    def _open_reasoning(self, prompt: str) -> str:
        """The closing marker of the block that the prompt leaves open, or ""."""
        for opener, closer in self._dialect.reasoning.items():
            at = prompt.rfind(opener)
            if at >= 0 and closer not in prompt[at:]:
                return closer
        return ""

    @property
    def holding(self) -> bool:
        """Whether a call may have begun, so that everything waits for close()."""
        return self._held is not None

    def feed(self, text: str) -> list[Event]:
        """Events that are certain now."""
        if self._held is not None:
            self._held.append(text)
            return []
        self._run(self._carry + text, final=False)
        return self._take()

    def close(self) -> list[Event]:
        """All remaining events."""
        text = self._carry + "".join(self._held or ())
        self._held, self._carry = None, ""
        self._finder = _Finder()
        self._run(text, final=True)
        if self._draft is not None:
            self._emit(Draft("".join(self._draft)))
        if self._blank:
            self._emit(Text("".join(self._blank)))
        return self._take()

    def _take(self) -> list[Event]:
        events, self._events = self._events, []
        return events

    def _emit(self, event: Event) -> None:
        self._events.append(event)

    def _run(self, text: str, final: bool) -> None:
        at = 0
        while at < len(text) and self._held is None:
            step = self._reason(text, at, final) if self._thinking else self._content(text, at, final)
            if step < 0:
                break
            at = step
        if self._held is None:
            self._carry = text[at:]

    def _hold(self, text: str, at: int) -> int:
        self._held = [text[at:]]
        self._carry = ""
        return at

    # reasoning

    def _reason(self, text: str, at: int, final: bool) -> int:
        """Consume reasoning from `at`; the index reached, or -1 to wait for more."""
        if self._fresh:
            step = self._skip_opener(text, at, final)
            if step != at:
                return step
        with_calls = self._drafts and self._draft is None
        markers = self._dialect.thinking(self._thinking, with_calls)
        found = markers.pattern.search(text, at)
        end = found.start() if found else len(text) if final else markers.split_tail(text, at)
        if end > at:
            self._think(text[at:end])
        if found is None:
            return end if end > at else -1
        if found.group() == self._thinking:
            self._thinking = ""
            self._boundary, self._last = True, ""
            return found.end()
        if self._last == "`":
            self._think(found.group())
        else:
            self._draft = []
            self._think(found.group())
        return found.end()

    def _skip_opener(self, text: str, at: int, final: bool) -> int:
        """A block that the prompt opened is sometimes opened again by the model."""
        start = skip_space(text, at)
        openers = [one for one, closer in self._dialect.reasoning.items() if closer == self._thinking]
        rest = text[start : start + 40]
        if not final and any(one.startswith(rest) and one != rest for one in openers) and len(text) - at < 64:
            return -1
        self._fresh = False
        found = match_literal(text, start, tuple(openers))
        return start + len(found) if found else at

    def _think(self, text: str) -> None:
        self._last = text[-1]
        if self._draft is None:
            self._emit(Reasoning(text))
        else:
            self._draft.append(text)

    # content

    def _content(self, text: str, at: int, final: bool) -> int:
        """Consume content from `at`; the index reached, or -1 to wait for more."""
        if not self._started:
            start = skip_space(text, at)
            if start > at:
                self._blank.append(text[at:start])
                return start
        if self._span:
            return self._code_span(text, at, final)
        found = self._dialect.text.pattern.search(text, at)
        end = found.start() if found else len(text) if final else self._dialect.text.split_tail(text, at)
        if found is None and end == at:
            return -1
        if (
            not self._started
            and self._dialect.messages
            and (found is None or end > at or found.group() == FENCE)
        ):
            decided = self._dialect.may_begin(text[at : at + 600], self._tools)
            if decided is None and not final:
                return -1
            if decided is not False:
                return self._message(text, at) if final else self._hold(text, at)
            self._begin()
        if end > at:
            self._say(text[at:end])
            return end
        return self._marker(text, at, found.group(), final) if found else -1

    def _code_span(self, text: str, at: int, final: bool) -> int:
        """Inside backticks, up to the next one or the end of the paragraph, no marker counts."""
        found = _SPAN_END.search(text, at)
        end = found.end() if found else len(text) if final or not text.endswith("\n") else len(text) - 1
        if end == at:
            return -1
        self._say(text[at:end])
        self._span = found is None
        return end

    def _message(self, text: str, at: int) -> int:
        """The content from `at` as nothing but a call, in the whole rest of the text."""
        self._begin()
        for one in self._dialect.messages:
            region = one.parse(text, at, self._tools)
            if region is not None:
                return self._region(text, region, one, bare=True)
        region = parse_fenced(text, at, self._dialect, self._tools)
        if region is not None:
            return self._region(text, region, self._dialect.messages[0], bare=True)
        fence = text.startswith(FENCE, at)
        self._fenced = self._fenced or fence
        size = len(FENCE) if fence else 1
        self._say(text[at : at + size])
        return at + size

    def _begin(self) -> None:
        """Content has begun: what was held back before it is not a call's surroundings alone."""
        self._started = True
        if self._draft is not None:
            self._emit(Reasoning("".join(self._draft)))
            self._draft = None
        if self._blank:
            self._emit(Text("".join(self._blank)))
            self._blank = []

    def _say(self, text: str) -> None:
        self._begin()
        self._last = text[-1]
        self._boundary = self._boundary and not text.strip()
        self._emit(Text(text))

    def _marker(self, text: str, at: int, marker: str, final: bool) -> int:
        end = at + len(marker)
        if marker == FENCE:
            self._fenced = not self._fenced
            self._say(marker)
            return end
        quoted = self._fenced or self._last == "`"
        if marker in self._dialect.dropped and not quoted and (self._framed or marker not in FRAME_ENDS):
            self._framed = True
            self._boundary, self._last = True, ""
            return end
        if marker in FRAME_ENDS or (marker in self._dialect.words and _is_word(self._last)):
            self._say(marker[:1])
            return at + 1
        if marker in self._dialect.reasoning and marker not in self._dialect.calls:
            if quoted or not (self._boundary or self._last in ("", "\n")):
                self._say(marker)
            else:
                self._thinking = self._dialect.reasoning[marker]
                self._framed = self._framed or self._thinking in FRAME_ENDS
            return end
        if quoted:
            self._say(marker)
            self._span = not self._fenced
            return end
        if not final:
            return self._hold(text, at)
        return self._call(text, at, marker)

    def _call(self, text: str, at: int, marker: str) -> int:
        """The region that `marker` begins, in the whole rest of the text."""
        if self._regions > LIMITS.calls:
            self._say(text[at:])
            return len(text)
        formats = self._dialect.calls[marker]
        for one in formats:
            region = one.parse(text, at, self._tools)
            if region is not None:
                return self._region(text, region, one)
        closers = tuple(closer for one in formats for closer in one.CLOSERS)
        garbage = _garbage(text, at, marker, closers, self._finder)
        if garbage is not None:
            return self._region(text, garbage, formats[0])
        self._say(marker)
        return at + len(marker)

    def _region(self, text: str, region: Region, format: Format, bare: bool = False) -> int:
        self._begin()
        self._regions += 1
        self._emit(Calls(region, text[region.start : region.end], bare))
        self._boundary, self._last = True, ""
        if any(call.problems for call in region.calls):
            return region.end
        at = self._echo(text, region, format.CLOSERS)
        closers = self._dialect.closers if bare else format.CLOSERS
        while True:
            after = skip_space(text, at)
            stray = match_literal(text, after, (*closers, *SPECIAL_TOKENS))
            if stray is None or any(one in stray for one in region.fragile[1:]):
                return at
            end = after + len(stray)
            self._emit(Junk(text[at:end], Fix(FixKind.extra_closer, "", stray, "")))
            at = end

    def _echo(self, text: str, region: Region, closers: tuple[str, ...]) -> int:
        """Step over the region's own content standing once more behind it."""
        content = text[region.body_start : region.end]
        closer = next((one for one in closers if content.endswith(one)), "")
        inner = content[: len(content) - len(closer)].strip()
        start = skip_space(text, region.end)
        if region.start == region.body_start or len(inner) < 8 or not text.startswith(inner, start):
            return region.end
        end = start + len(inner)
        self._emit(Junk(text[region.end : end], Fix(FixKind.echo, "", inner[:80], "")))
        return end


def _is_word(char: str) -> bool:
    return char.isalnum() or (char in ("_", "-", ".") and char != "")


_SPAN_END = re.compile(r"`|\n\n")


class _Finder:
    """str.find from growing positions in one text, each part of which is searched once per literal."""

    def __init__(self) -> None:
        self._found: dict[str, int] = {}

    def find(self, text: str, literal: str, at: int) -> int:
        known = self._found.get(literal)
        if known is None or 0 <= known < at:
            known = self._found[literal] = text.find(literal, at)
        return known


def _garbage(text: str, at: int, marker: str, closers: tuple[str, ...], finder: _Finder) -> Region | None:
    """An envelope, closed before the next one opens, that holds nothing of a call."""
    body = at + len(marker)
    ends = [(pos, one) for one in closers if (pos := finder.find(text, one, body)) >= 0]
    if not ends:
        return None
    pos, closer = min(ends)
    if 0 <= finder.find(text, marker, body) < pos:
        return None
    inner = text[body:pos]
    call = problem_call(inner, "no_call", f"there is no call in the envelope: {inner.strip()[:60]!r}")
    return Region(at, pos + len(closer), body, (call,))
