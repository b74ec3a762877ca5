"""Resolves a name in the text to a declared tool: never by choosing between two, never by similarity."""

from __future__ import annotations

import re

from repair.tools import Tool, ToolSet
from repair.types import Fix, FixKind, Problem

_PREFIX = re.compile(r"functions[./:]")
# what precedes a tool's name where several servers offer tools, or where a name was taken for a call's id
_SERVER = re.compile(r"(?:tool|tools|function|[A-Za-z][\w-]{0,63}?)(?:__|[.:/])(?=\w)")
_JOINTS = ("__", ".", ":", "/")
_NUMBERED = re.compile(r"functions?_(?P<name>.+)_\d{1,4}\Z")
_SUFFIX = re.compile(r"(?:<[|\uff5c].*|:\d+)\Z", re.DOTALL)


def resolve_name(name: str, tools: ToolSet) -> tuple[Tool, tuple[Fix, ...]] | Problem:
    """The declared tool that a name means.

    It is the exact name, else the one tool that is left when a `functions.` prefix, a glued marker or call
    index, and case are ignored.
    """
    exact = tools.get(name)
    if exact is not None:
        return exact, ()
    bare = name.strip()
    for strip in (_keep, _without_suffix, _without_prefix, _without_both):
        kinds, folded = strip(bare)
        exact = tools.get(folded)
        if exact is not None:
            return exact, tuple(Fix(kind, "", name, exact.name) for kind in kinds)
    for strip in (_keep, _without_suffix, _without_prefix, _without_both):
        kinds, folded = strip(bare)
        matches = tools.folded(folded)
        if len(matches) > 1:
            known = ", ".join(matches)
            return Problem("", "ambiguous_tool", f"{name!r} could mean any of {known}")
        if matches:
            tool = tools.get(matches[0])
            assert tool is not None
            return tool, tuple(Fix(kind, "", name, tool.name) for kind in (*kinds, FixKind.name_case))
    return _without_server(bare, tools) or _unknown(name, tools)


def _without_server(name: str, tools: ToolSet) -> tuple[Tool, tuple[Fix, ...]] | None:
    """`server__f`, `server.f`, `tool:f`, `functions_f_0`, where exactly one tool has the remaining name."""
    numbered = _NUMBERED.match(name)
    ends = [numbered.group("name")] if numbered else []
    ends += [name[found.end() :] for found in (_SERVER.match(name),) if found]
    found = {tool.name: tool for end in ends if (tool := tools.get(end)) is not None}
    if len(found) != 1:
        return None
    ((known, tool),) = found.items()
    if any(one.endswith(tuple(f"{mark}{known}" for mark in _JOINTS)) for one in tools.names):
        return None  # another server's tool has it, too
    return tool, (Fix(FixKind.name_prefix, "", name, known),)


def _keep(name: str) -> tuple[tuple[FixKind, ...], str]:
    return (), name


def _without_suffix(name: str) -> tuple[tuple[FixKind, ...], str]:
    return (FixKind.name_suffix,), _SUFFIX.sub("", name).strip()


def _without_prefix(name: str) -> tuple[tuple[FixKind, ...], str]:
    return (FixKind.name_prefix,), _PREFIX.sub("", name, count=1) if _PREFIX.match(name) else name


def _without_both(name: str) -> tuple[tuple[FixKind, ...], str]:
    return (FixKind.name_prefix, FixKind.name_suffix), _without_prefix(_without_suffix(name)[1])[1]


def _unknown(name: str, tools: ToolSet) -> Problem:
    if not name.strip():
        return Problem("", "missing_name", "the call names no tool")
    known = ", ".join(tools.names[:50])
    return Problem("", "unknown_tool", f"there is no tool {name[:80]!r}; the tools are: {known}")
