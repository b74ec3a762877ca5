"""StreamParser: a model's text, in any pieces, to text, reasoning and call regions.

Text and reasoning are given out once they cannot begin a marker, a call once it is certain; until then
everything from its marker on, held(), is kept. The events depend on the whole text only, not on its pieces.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from repair.broken import read_broken
from repair.dialect import FENCE, FRAME_ENDS, FRAMES, dialect, is_word
from repair.events import Calls, Draft, Event, Place, Reasoning, Text, Unopened, without_lead
from repair.fence import parse_fenced
from repair.formats import Wire
from repair.garbage import Finder
from repair.limits import LIMITS
from repair.placement import Line
from repair.reasoning import left_open, read_marker, skip_opener
from repair.regions import Format, Region, is_blank, skip_space, too_many
from repair.release import ANYTHING, NOTHING, Certainty, Wait, judge_release
from repair.sections import OpenSection, open_section, possible_parts
from repair.tools import ToolSet
from repair.trail import Trail


class StreamParser:
    """One model turn: feed() any pieces, then close() once. Raises KeyError for an unknown format.

    with_calls: look for calls at all.
    drafts: look for calls inside reasoning, too.
    generation_prompt: what the chat template put after the prompt, which may open reasoning or begin a call.
    reasoned: a block of reasoning has begun or was read, so that a closing marker alone is text.
    """

    def __init__(
        self,
        tools: ToolSet,
        format: str | Wire = "auto",
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
        lead = self._dialect.lead(generation_prompt)
        self._carry = lead
        self._lead, self._led = len(lead), not lead  # the prompt's own characters; whether a marker has them
        self._wait: Wait | None = None
        self._resumed: Wait | None = None
        self._trail: Trail | None = None
        self._section: OpenSection | None = None
        self._blank: list[str] = []
        self._started = False
        self.reasoned = self._spoken = False  # a block was read; text has left before any call
        self._fenced = False
        self._span = False
        self._line = Line()
        self._regions = 0
        self._finder = Finder()
        self._thinking = left_open(generation_prompt, self._dialect.reasoning.items())
        self.reasoned = self._fresh = self._thinking != ""
        self._draft: list[str] | None = None
        self._draft_place = Place.line

    def feed(self, text: str) -> list[Event]:
        """The events that are certain now."""
        if self._wait is None:
            self._run(self._carry + text, final=False)
        elif self._wait.add(text):
            self._resumed, self._wait = self._wait, None
            self._run(self._resumed.text(), final=False)
            self._resumed = None
        return self._take()

    def held(self) -> str:
        return self._wait.text() if self._wait else ""

    def close(self) -> list[Event]:
        """All remaining events."""
        text = self._wait.text() if self._wait else self._carry
        self._wait, self._carry = None, ""
        return self.read_all(text)

    def read_all(self, text: str) -> list[Event]:
        """All events of a complete text: as feed() and close(), but nothing is looked at twice."""
        self._finder = Finder()
        self._run(self._carry + text, final=True)
        if self._draft is not None:
            self._emit(Draft("".join(self._draft), self._draft_place))
        if self._blank:
            self._emit(Text("".join(self._blank)))
        return self._take()

    def _take(self) -> list[Event]:
        events, self._events = self._events, []
        return events

    def _emit(self, event: Event) -> None:
        own = without_lead(event, self._lead) if self._lead else event
        if own is not None:
            self._events.append(own)

    def _run(self, text: str, final: bool) -> None:
        at = 0
        if not self._led:
            at = self._dialect.begin(text, self._lead, with_calls=not self._thinking, final=final)
            if at < 0:
                self._carry = text
                return
            self._led, self._lead = True, self._lead - at
        while at < len(text) and self._wait is None:
            if self._trail is not None:
                step = self._behind(text, at, self._trail, final)
            elif self._section is not None:
                step = self._inside(text, at, self._section, final)
            else:
                step = self._reason(text, at, final) if self._thinking else self._content(text, at, final)
            if step < 0:
                break
            self._lead = max(0, self._lead - (step - at))
            at = step
        if self._wait is None:
            self._carry = text[at:]

    def _hold(self, text: str, at: int, wanted: re.Pattern[str]) -> int:
        """Keeps everything from `at` on until something `wanted` arrives, or the end."""
        self._wait = Wait(text[at:], wanted, self._resumed if at == 0 else None)
        self._carry = ""
        return at

    # reasoning

    def _reason(self, text: str, at: int, final: bool) -> int:
        """Consumes reasoning from `at`; returns the index reached, or -1 to wait for more."""
        if self._fresh:
            step = skip_opener(text, at, self._dialect.reasoning, self._thinking, final)
            self._fresh = step < 0
            if step != at:
                return step
        with_calls = self._drafts and self._draft is None
        markers = self._dialect.thinking(self._thinking, with_calls)
        found = markers.search(text, at, final)
        end = found.start() if found else len(text) if final else markers.split_tail(text, at)
        if end > at:
            self._think(text[at:end])
        if found is None:
            return end if end > at else -1
        if found.group() == self._thinking:
            self._thinking = ""
            self._line.clear()
            return found.end()
        if self._line.last != "`":
            self._draft, self._draft_place = [], self._line.place()
        self._think(found.group())
        return found.end()

    def _think(self, text: str) -> None:
        self._line.add(text)
        if self._draft is None:
            self._emit(Reasoning(text))
        else:
            self._draft.append(text)

    # content

    def _content(self, text: str, at: int, final: bool) -> int:
        """Consumes content from `at`; returns the index reached, or -1 to wait for more."""
        if not self._started:
            start = skip_space(text, at)
            if start > at:
                self._blank.append(text[at:start])
                return start
        if self._span:
            return self._code_span(text, at, final)
        found = self._dialect.text.search(text, at, final)
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
                return self._message(text, at) if final else self._hold(text, at, NOTHING)
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
        """Reads the content from `at`, in the whole rest of the text, as nothing but a call."""
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
        """Content has begun: what was held back before it does not belong to a call."""
        self._started = True
        if self._draft is not None:
            self._emit(Reasoning("".join(self._draft)))
            self._draft = None
        if self._blank:
            self._emit(Text("".join(self._blank)))
            self._blank = []

    def _say(self, text: str) -> None:
        self._begin()
        self._line.add(text)
        self._spoken = self._spoken or (self._regions == 0 and not is_blank(text))
        self._emit(Text(text))

    def _marker(self, text: str, at: int, marker: str, final: bool) -> int:
        end = at + len(marker)
        if marker == FENCE:
            self._fenced = not self._fenced
            self._say(marker)
            return end
        quoted = self._fenced or self._line.last == "`"
        if marker in self._dialect.lone:
            return self._reasoning_marker(text, at, marker, quoted, final)
        if marker in self._dialect.dropped and not quoted and (self._framed or marker not in FRAME_ENDS):
            self._framed = self._framed or marker in FRAMES
            self._line.clear()
            return end
        if marker in FRAME_ENDS or (marker in self._dialect.words and is_word(self._line.last)):
            self._say(marker[:1])
            return at + 1
        closer = "" if marker in self._dialect.calls else self._dialect.reasoning.get(marker, "")
        if closer:
            return self._open_reasoning(text, at, end, closer, quoted)
        if quoted:
            self._say(marker)
            self._span = not self._fenced
            return end
        return self._call(text, at, marker) if final else self._open_call(text, at, marker)

    def _reasoning_marker(self, text: str, at: int, marker: str, quoted: bool, final: bool) -> int:
        """Reads a marker with a suffix, or the end of a block that nothing has opened."""
        end, closer = read_marker(text, at, marker, final)
        if end < 0:
            return -1
        if closer:
            return self._open_reasoning(text, at, end, closer, quoted)
        if closer is None or quoted or self.reasoned or (self._spoken and not self._regions):
            self._say(text[at:end])
            return end
        # what stands before it was thought, as far as none of it has left: white space and calls
        if self._started:
            self._emit(Unopened(text[at:end]))
        self.reasoned, self._blank = True, []
        self._line.clear()
        return end

    def _open_reasoning(self, text: str, at: int, end: int, closer: str, quoted: bool) -> int:
        if quoted or not (self._line.fresh or self._line.last in ("", "\n")):
            self._say(text[at:end])
        else:
            self._thinking = closer
            self._line.clear()
            self.reasoned = True
            self._framed = self._framed or closer in FRAME_ENDS
        return end

    def _open_call(self, text: str, at: int, marker: str) -> int:
        """Reads the region that `marker` begins, if it is certain already; else waits for what may end it."""
        placed = self._line.place() is not Place.within
        formats = self._dialect.calls[marker]
        wanted = possible_parts(formats) if self._regions <= LIMITS.calls else NOTHING
        if not wanted.search(text, at + len(marker)):
            return self._hold(text, at, wanted)
        for one in formats:
            first = open_section(text, at, one, self._tools) if placed else None
            if first is not None:
                return self._part(text, first, OpenSection.of(one))
            region = one.parse(text, at, self._tools)
            if region is None:
                continue
            certain = judge_release(text, region, one)
            if certain is Certainty.yes:
                return self._region(text, region, one)
            return self._hold(text, at, ANYTHING if certain is Certainty.soon else wanted)
        return self._hold(text, at, wanted)

    def _call(self, text: str, at: int, marker: str) -> int:
        """Reads the region that `marker` begins, in the whole rest of the text."""
        if self._regions > LIMITS.calls:
            self._say(text[at:])
            return len(text)
        placed = self._line.place() is not Place.within
        formats = self._dialect.calls[marker]
        for one in formats:
            first = open_section(text, at, one, self._tools) if placed else None
            if first is not None:
                return self._part(text, first, OpenSection.of(one))
            region = one.parse(text, at, self._tools)
            if region is not None:
                return self._region(text, region, one)
        broken = read_broken(text, at, marker, formats, self._tools, self._finder)
        if broken is not None:
            return self._region(text, *broken)
        self._say(marker)
        return at + len(marker)

    def _part(self, text: str, region: Region, opened: OpenSection) -> int:
        """Takes one call of a section that continues."""
        self._begin()
        self._regions += 1
        self._emit(self._calls(text, region, opened.format, more=True))
        opened.said.append(text[region.body_start : region.end])
        self._section = opened
        return region.end

    def _inside(self, text: str, at: int, opened: OpenSection, final: bool) -> int:
        """Consumes the next call of an open section, or the rest of the section, or waits for more."""
        if self._regions > LIMITS.calls:
            return self._overflow(text, at) if final else self._hold(text, at, NOTHING)
        first = opened.section.read_first(text, at, self._tools, inside=True)
        if first is not None:
            return self._part(text, first, opened)
        region = opened.section.rest(text, at, self._tools)
        certain = region and judge_release(text, region, opened.format, inside=True) is Certainty.yes
        if not certain and not final:
            return self._hold(text, at, possible_parts((opened.format,)))
        self._section = None
        return self._region(text, region, opened.format, said=opened.said) if region else at

    def _overflow(self, text: str, at: int) -> int:
        """Takes the rest of a turn with too many calls, as an invalid call."""
        self._section = None
        self._emit(Calls(too_many(text, at), text[at:]))
        return len(text)

    def _region(
        self, text: str, region: Region, format: Format, bare: bool = False, said: Sequence[str] = ()
    ) -> int:
        """Takes a region. said: what its section has said before, if the region is the rest of one."""
        if self._line.place() is Place.within:
            self._say(text[region.start : region.end])
            return region.end
        self._begin()
        self._regions += 1
        self._emit(self._calls(text, region, format, bare))
        self._line.clear()
        if not any(call.problems for call in region.calls):
            closers = self._dialect.closers if bare else format.CLOSERS
            marked = said or region.start != region.body_start
            content = "".join((*said, text[region.body_start : region.end])) if marked else ""
            self._trail = Trail.behind(content, region.fragile, format.CLOSERS, closers)
        return region.end

    def _calls(
        self, text: str, region: Region, form: Format, bare: bool = False, more: bool = False
    ) -> Calls:
        raw = text[region.start : region.end]
        return Calls(region, raw, bare, more, self._line.place(), form.NAME in self._dialect.own)

    def _behind(self, text: str, at: int, trail: Trail, final: bool) -> int:
        """Consumes what is left over after a region, or waits for more."""
        junk = trail.read(text, at, final)
        if junk is None:
            return self._hold(text, at, ANYTHING)
        if not junk.raw:
            self._trail = None
            return at
        self._emit(junk)
        return at + len(junk.raw)


_SPAN_END = re.compile(r"`|\n\n")
