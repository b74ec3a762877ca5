"""Decides whether a turn without a readable call was meant to hold one, so that the model is asked again.

Such a turn is re-asked, never executed; a wrong guess costs one more attempt.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from repair.beginnings import begins_call, opens_section
from repair.dialect import dialect
from repair.endings import ends_in_call
from repair.events import Event, thoughts_behind
from repair.formats import AUTO, FORMATS, Wire, remains_of
from repair.regions import is_blank
from repair.strict import decode_strict
from repair.tools import ToolSet
from repair.types import Problem, ToolCall

_CALLED = re.compile(r"(?<![\w./-])(?P<name>[\w./-]{1,80})(?:\[ARGS\]|\()?\s{0,3}(?=\{\s{0,10}\")")
_OBJECT = re.compile(
    r"\{\s{0,20}\"name\"\s{0,9}:\s{0,9}\"(?P<name>[^\"\\]{1,80})\"\s{0,9},\s{0,20}\"(?:arguments|parameters)\""
)
_CODE = re.compile(r"```(?:(?!```).)*```|`[^`\n]*`", re.DOTALL)
_RESIDUE = re.compile(
    "|".join(
        (
            *map(re.escape, sorted(remains_of(FORMATS.values()))),
            r"^[ \t\ufeff]{0,3}>>>[\w./-]{1,64}\n\s{0,20}[{\[\"]",
            # a name with bytes in it that are not UTF-8, before its arguments
            r"\ufffd[\w./-]{0,64}(?:\[ARGS\]|\()?\s{0,3}[{\[]",
        )
    ),
    re.MULTILINE,
)
_BROKEN_WORD = re.compile(r"\[?\w{5,9}\s{0,3}t\w{2,6}(?::\s{0,3}[\w./-]{1,64}\(|=\")")


def find_attempt(
    text: str, tools: ToolSet, json_asked: bool = False, format: str | Wire = AUTO
) -> Problem | None:
    """The problem of a turn whose content is a broken call; None where it is not.

    It is one if it begins with the markup of a call, with a marker alone on its line whatever follows, or if
    it ends in the shape of one.
    json_asked: the answer was to be JSON.
    """
    own = dialect(format, tools.names)
    if tools and opens_section(text, own.calls):
        return Problem("", "broken_markers", "the text opens a section of tool calls and holds none")
    if ends_in_call(text, tools, json_asked):
        return Problem("", "broken_markers", "the text ends like a tool call, but cannot be read as one")
    if begins_call(text, tools, json_asked):
        return Problem("", "broken_markers", "the text begins like a tool call, but cannot be read as one")
    return None


def find_residue(
    text: str, calls: list[ToolCall], tools: ToolSet, format: str | Wire = AUTO, events: Sequence[Event] = ()
) -> Problem | None:
    """The problem of a turn whose text, beside its calls, holds the rest of another call; None where it does
    not.

    Executing only the other calls would do half of what was meant. Code in the text is quoted, and is not
    counted.

    format: of the turn, which may be one that only this server has.
    events: of the turn. An end of a call in the reasoning behind a call may be that call's, of which a value
        holds what begins reasoning.
    """
    thoughts = thoughts_behind(events)
    if is_blank(text) and is_blank(thoughts):
        return None
    plain = _CODE.sub("", text) if "`" in text else text
    own = dialect(format, tools.names).remains
    left = next((one for one in own if one in plain or one in thoughts), None)
    found = (
        (re.search(re.escape(left), plain + thoughts) if left else None)
        or _RESIDUE.search(plain)
        or _find_broken_word(plain)
        or _find_untold(plain, calls, tools)
        or _find_object(plain, tools)
    )
    if found is None:
        return None
    message = f"beside the calls stands what may be left of another one: {found.group()[:60]!r}"
    return Problem("", "broken_markers", message)


def _find_broken_word(text: str) -> re.Match[str] | None:
    """A marker of words (`tool_call` and the like) that lost its brackets. It may begin anywhere, so it is
    looked for only before one of its ends.
    """
    return _BROKEN_WORD.search(text) if '="' in text or "(" in text else None


def _find_object(text: str, tools: ToolSet) -> re.Match[str] | None:
    """An object that is a call of a declared tool, with or without a broken marker before it."""
    return next((found for found in _OBJECT.finditer(text) if found.group("name") in tools.names), None)


def _find_untold(text: str, calls: list[ToolCall], tools: ToolSet) -> re.Match[str] | None:
    """A declared name right before an object that is not the arguments of an accepted call."""
    if "{" not in text:
        return None
    for found in _CALLED.finditer(text):
        if not any(found.group("name").endswith(name) for name in tools.names):
            continue
        try:
            told, _ = decode_strict(text, found.end())
        except ValueError:
            return found
        if told not in [json.loads(call.arguments) for call in calls]:
            return found
    return None


def count_repeats(preceding: list[tuple[str, str]], call: tuple[str, str]) -> int:
    """How many of the last calls in a row equal `call`; each is a name and canonical arguments."""
    count = 0
    for earlier in reversed(preceding):
        if earlier != call:
            break
        count += 1
    return count
