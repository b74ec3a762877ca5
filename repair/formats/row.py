"""A wire format as a row of literals: what one model family writes around names and arguments.

Literals hold placeholders: {name} for the tool, {key} for a parameter, {id} and {index} for those of the
call, {string} for whether a value is text (`true`, `false`), {type} for its JSON type.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from repair.reasoning import Pair

SHAPES = ("objects", "named", "tags", "pairs", "python")
_PLACEHOLDER = re.compile(r"\{(name|key|id|index|string|type)\}")
_QUOTED_PLACEHOLDER = re.compile(r"(\"?\{(?:name|key|id|index|string|type)\}\"?)")
_ATTRIBUTE = re.compile(r"\s+(\w+)=\Z")
#: what a placeholder may stand for, as a pattern
_VALUES = {
    "name": r"(?P<name>[^<>\n\"'{}]{1,256}?)",
    "key": r"(?P<key>[^<>\n\"']{1,256}?)",
    "id": r"[\w.:-]{0,64}",
    "index": r"\d{0,4}",
    "string": r"(?P<typed>true|false)",
    "type": r"(?P<typed>\w{1,16})",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One wire format.

    shape: one of SHAPES.
    section, section_end: around all calls of a turn; "" where each call stands alone.
    call: from the beginning of a call to its arguments.
    optional: the part of `call` that not all models write.
    call_end: after the arguments.
    joint: between two calls.
    listed: the calls are items of an array.
    name_key, arguments_key: members of an `objects` call; without a name_key the name is the object's only
        key.
    parameter, parameter_end: before and after a value of `tags` and `pairs`.
    reasoning: pairs of markers besides the known ones.
    dropped: markers that are not content.
    start: what the generation prompt ends with, where that is the beginning of `call` or `section`.
    also: other spellings of what opens the first call.
    """

    name: str
    shape: str
    section: str = ""
    section_end: str = ""
    call: str = ""
    call_end: str = ""
    joint: str = ""
    listed: bool = False
    name_key: str = "name"
    arguments_key: str = "arguments"
    parameter: str = ""
    parameter_end: str = ""
    reasoning: tuple[Pair, ...] = ()
    dropped: tuple[str, ...] = ()
    start: str = ""
    also: tuple[str, ...] = ()
    optional: str = ""


def literal_head(text: str) -> str:
    """A literal up to its first placeholder, without the white space around that part."""
    return _PLACEHOLDER.split(text, maxsplit=1)[0].strip().removesuffix('"')


def literal_parts(text: str) -> tuple[str, ...]:
    """What stands around the placeholders of a literal, without the white space around each part."""
    return tuple(one.strip() for one in _PLACEHOLDER.split(text)[::2] if one.strip())


def literal_tail(text: str) -> str:
    """A literal from behind its last placeholder, without the white space around that part; "" where it has
    none.
    """
    _, *parts = _PLACEHOLDER.split(text)
    return parts[-1].strip() if parts else ""


def pattern(text: str) -> str:
    """A regular expression for a literal with placeholders.

    Any white space may stand where the literal has a line break, where two tags meet, and beside a
    placeholder. Quotes around a placeholder may be other ones or none, and an attribute that tells a value's
    type may be missing.
    """
    parts = _QUOTED_PLACEHOLDER.split(text.strip())
    result = ""
    for at in range(0, len(parts), 2):
        before, name = parts[at], parts[at + 1].strip('"')[1:-1] if at + 1 < len(parts) else ""
        attribute = _ATTRIBUTE.search(before) if name in ("string", "type") else None
        own = before[: attribute.start()] if attribute else before
        result += _loose(own, at > 0, bool(name) and not attribute)
        if not name:
            break
        quote = "[\"']?" if parts[at + 1].startswith('"') else ""
        known = "(?P=name)" if name == "name" and "(?P<name>" in result else _VALUES[name]
        value = f"{quote}{known}{quote}"
        result += rf"(?:\s+{attribute.group(1)}={value})?" if attribute else value
    return result


def _loose(text: str, before: bool, after: bool) -> str:
    """before, after: a placeholder stands there."""
    pieces = [r"\s*<".join(map(re.escape, one.split("<"))) for one in re.split(r"\s*\n\s*", text.strip())]
    inner = re.sub(r"(?:\\s\*)+", r"\\s*", r"\s*".join(pieces))
    lead = r"\s*" if before and text[:1].isspace() else ""
    tail = r"\s*" if after and text[-1:].isspace() else ""
    return lead + inner.removeprefix(r"\s*") + tail if inner else lead or tail


def fill(text: str, **values: str) -> str:
    """A literal with its placeholders filled in."""
    return _PLACEHOLDER.sub(lambda found: values.get(found.group(1), ""), text)
