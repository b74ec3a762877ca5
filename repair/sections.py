"""Lets the calls of an open section leave one by one, each as soon as the next one has begun.

As long as a call may be the last of its section, what follows may still change it: what is wrong with the
section's end, or with a marker that should begin another call, counts for the last call that was read. Once
another call has begun after it, it is no longer the last.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from repair.formats import (
    command,
    deepseek,
    deepseek_v31,
    dsml,
    kimi,
    lfm2,
    llama4,
    minimax,
    step3,
)
from repair.formats.shapes import RowFormat, has_own_keys
from repair.named import Named, read_first_named, read_named
from repair.pythonic import read_first_python
from repair.regions import Format, Region, match_literal, read_first_item, read_json_calls
from repair.release import is_read, possible_ends
from repair.tagged import Tagged, read_first_tagged, read_tagged
from repair.tools import ToolSet
from repair.types import Body

_Reader = Callable[[str, int, ToolSet, bool], Region | None]


@dataclass(frozen=True, slots=True)
class Section:
    """How a format's calls stand in one envelope.

    openers: of the envelope.
    begun: matches, in at most 80 characters, what every further call begins with.
    first: reads the first call after an index, if another one follows; it ends where that begins.
    rest: reads everything that is left, with the section's end.

    Both are told whether a call of the section was read before.
    """

    openers: tuple[str, ...]
    begun: str
    first: _Reader
    rest: Callable[[str, int, ToolSet], Region | None]

    def read_first(self, text: str, at: int, tools: ToolSet, inside: bool) -> Region | None:
        """The first call after an index if it is certain whatever follows: read from left to right without a
        change, and not the last one.
        """
        region = self.first(text, at, tools, inside)
        if region is None or not region.closed:
            return None
        sound = not any(one.fixes or one.problems for one in region.calls)
        return region if sound and all(is_read(one) for one in region.calls) else None


@dataclass(slots=True)
class OpenSection:
    """A section of which some calls have left. said: its content so far, in pieces."""

    format: Format
    section: Section
    said: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, form: Format) -> OpenSection:
        """The open section of a format that has sections."""
        section = section_of(form)
        assert section is not None
        return cls(form, section)


def _named(form: Named) -> Section:
    return Section(
        form.sections[:1],
        form.begun,
        lambda text, at, tools, inside: read_first_named(text, at, form),
        lambda text, at, tools: read_named(text, at, form, inside=True),
    )


def _row(form: RowFormat) -> Section | None:
    """How the calls of a row stand in its section; None where it has none, or where nothing ends it."""
    row = form.row
    if not row.section.strip() or not row.section_end.strip():
        return None
    if isinstance(form.form, Named):
        return _named(form.form)
    if isinstance(form.form, Tagged):
        return _tagged(form.form, form.begun)
    if row.shape == "objects" and row.listed and not row.call.strip() and not has_own_keys(row):
        return _listed(form, Body.call if row.name_key else Body.keyed)
    return None


def _tagged(form: Tagged, begun: str) -> Section:
    return Section(
        (form.openers[0], *form.aliases),
        begun,
        lambda text, at, tools, inside: read_first_tagged(text, at, form, tools),
        lambda text, at, tools: read_tagged(text, at, form, tools, inside=True),
    )


def _listed(form: Format, kind: Body = Body.call) -> Section:
    return Section(
        form.OPENERS,
        _ITEM_BEGUN,
        lambda text, at, tools, inside: read_first_item(text, at, form.CLOSERS, form.OPENERS, kind, inside),
        lambda text, at, tools: read_json_calls(text, at, at, form.CLOSERS, form.OPENERS, kind, listed=True),
    )


def _python(form: Format) -> Section:
    return Section(
        form.OPENERS,
        r"\)\s{0,9},\s{0,9}[A-Za-z_][\w.-]{0,50}\s{0,3}\(",
        lambda text, at, tools, inside: read_first_python(text, at, inside),
        lambda text, at, tools: lfm2.parse_python(text, at, at, form.CLOSERS, tools, inside=True),
    )


# the arguments are the last member of an item as models write it; where they are not, the call leaves with a
# later one
_ITEM_BEGUN = r"\}\s{0,20}\}\s{0,9},\s{0,40}\{"
_ATTRIBUTE = r"[\"']?[^<>\n\"']{1,50}[\"']?\s{0,3}>"

_SECTIONS: dict[str, Section] = {
    **{one.NAME: _named(one.FORM) for one in (kimi, deepseek, deepseek_v31)},
    **{one.NAME: _tagged(one.FORM, re.escape(one.INVOKE) + _ATTRIBUTE) for one in (minimax, dsml)},
    step3.NAME: Section(
        (step3.SECTION,),
        re.escape(step3.INVOKE) + _ATTRIBUTE,
        lambda text, at, tools, inside: step3.parse_first(text, at, tools),
        lambda text, at, tools: step3.parse_section(text, at, at, tools),
    ),
    command.NAME: Section(
        (command.OPEN,),
        _ITEM_BEGUN,
        lambda text, at, tools, inside: read_first_item(
            text, at, (command.CLOSE,), (command.OPEN,), Body.call, inside
        ),
        lambda text, at, tools: command.parse_list(text, at, at, inside=True),
    ),
    **{one.NAME: _python(one) for one in (lfm2, llama4)},
}


# a row's readers are made when a text needs them
_row_section = functools.lru_cache(maxsize=256)(_row)


def section_of(form: Format) -> Section | None:
    """How the calls of a format stand in one envelope; None where each call has its own."""
    return _row_section(form) if isinstance(form, RowFormat) else _SECTIONS.get(form.NAME)


def open_section(text: str, at: int, form: Format, tools: ToolSet) -> Region | None:
    """The first call of the section that opens at `at`, with the opening marker, if the call is certain."""
    section = section_of(form)
    opener = match_literal(text, at, section.openers) if section else None
    if section is None or opener is None:
        return None
    region = section.read_first(text, at + len(opener), tools, inside=False)
    return None if region is None else Region(at, region.end, region.start, region.calls)


@functools.lru_cache(maxsize=256)
def possible_parts(formats: tuple[Format, ...]) -> re.Pattern[str]:
    """Patterns without which nothing that begins with a marker of `formats` becomes certain."""
    begun = [section.begun for one in formats if (section := section_of(one))]
    return re.compile("|".join((possible_ends(formats).pattern, *begun)))
