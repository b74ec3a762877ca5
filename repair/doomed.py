"""Recognises a call that, as far as it is written, can no longer become one of a declared tool.

Models that run away do so inside a call: in a name of thousands of tokens, or in keys that no tool has. A
little more text is awaited before the call is given up, so that what ends by itself keeps its own text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Protocol

from repair.ladder import WRAPPERS
from repair.names import resolve_name
from repair.tools import Tool, ToolSet
from repair.types import Problem

# Characters after the point at which the call was lost; then it is given up.
PATIENCE = 256
_FIRST_LOOK = 300
# No name or key that a model invents in earnest is longer.
_LONGEST = 200
# The name after a marker, as it is written in JSON, or in a tag.
_NAMED = re.compile(
    r"""\s*<[^{"]{0,80}?\{\s*"name"\s*:\s*"(?P<json>(?:[^"\\]|\\[\s\S])*)(?P<json_end>"?)"""
    r"""|\s*<[^{"]{0,80}?<?(?:function=|invoke\ name="|function\ name=")(?P<tag>[^">]*)(?P<tag_end>[">]?)"""
)
_ARGUMENTS = re.compile(r"""\s*,\s*"(?:arguments|parameters)"\s*:\s*(?=\{)""")
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]]', re.DOTALL)


class Holding(Protocol):
    @property
    def held(self) -> str:
        """The call that is being written, from its marker on."""
        ...


class DoomedCalls:
    """Watches the calls of one turn, in its text and beside it. problem: that of the lost call; None while
    none is lost.
    """

    def __init__(self, tools: ToolSet) -> None:
        self._tools = tools
        self._since = 0
        self._next = _FIRST_LOOK
        self._last = 0
        self.problem: Problem | None = None

    def look_at_call(self, name: str, arguments: str) -> None:
        """Looks at a call that comes as structure, as far as it is written."""
        self.problem = self.problem or find_doomed_call(name, arguments, self._tools)

    def look(self, more: int, turn: Holding) -> None:
        """Looks at the text's call. more: characters that were added. The whole is looked at again when it
        has grown by half, so that the cost is linear.
        """
        self._since += more
        if self._since < self._next or self.problem is not None:
            return
        held = turn.held
        if len(held) < self._last:  # another call
            self._next = _FIRST_LOOK
        self._last = len(held)
        self.problem = find_doomed(held, self._tools) if len(held) >= _FIRST_LOOK else None
        self._next = self._since + max(_FIRST_LOOK - len(held), len(held) // 2, 64)


def find_doomed(held: str, tools: ToolSet) -> Problem | None:
    """The problem of a call that is lost. held: the call from its marker on."""
    named = _NAMED.match(held)
    if named is None:
        return None
    kind = "json" if named.group("json") is not None else "tag"
    if not named.group(f"{kind}_end"):
        return _find_endless(held[named.start(kind) :], tools)
    name = named.group(kind)
    if "\\" in name:  # escapes are the parser's to read
        return None
    arguments = _ARGUMENTS.match(held, named.end()) if kind == "json" else None
    return _find_lost(name, held, named.end(), arguments.end() if arguments else None, tools)


def find_doomed_call(name: str, arguments: str, tools: ToolSet) -> Problem | None:
    """The problem of a lost call that comes as structure, as far as it is written. Its name has ended where
    arguments have begun.
    """
    if not arguments:
        return _find_endless(name, tools)
    begun = arguments.lstrip().startswith("{")
    return _find_lost(name, arguments, 0, 0 if begun else None, tools)


def _find_endless(name: str, tools: ToolSet) -> Problem | None:
    """The problem of a name that has not ended, and is longer than any declared one with a server's name
    before it and a marker after it.
    """
    if len(name) <= max(_LONGEST, *map(len, tools.names)) + PATIENCE:
        return None
    told = (
        f"no declared tool has a name that begins with {name[:60]!r} and goes on for {len(name)} characters"
    )
    return Problem("", "unknown_tool", told)


def _find_lost(name: str, text: str, end: int, arguments: int | None, tools: ToolSet) -> Problem | None:
    """The problem of a finished name or of its arguments. end: of the name, in `text`. arguments: where their
    object begins, if that is known.
    """
    resolved = resolve_name(name, tools)
    if isinstance(resolved, Problem):
        return resolved if len(text) - end > PATIENCE and resolved.rule == "unknown_tool" else None
    return find_doomed_key(text, arguments, resolved[0]) if arguments is not None else None


def find_doomed_key(text: str, start: int, tool: Tool) -> Problem | None:
    """The problem of the arguments that begin at `start`: a top-level key that a closed schema does not have,
    or one without an end.
    """
    closed = tool.schema.closed_keys and not tool.schema.root.get("patternProperties")
    for key, end in _top_keys(text, start):
        known = key in tool.keys or key in WRAPPERS
        if closed and not known and len(text) - end > PATIENCE:
            return Problem("", "additionalProperties", f"{tool.name} has no argument {key[:60]!r}")
    return None


def _top_keys(text: str, start: int) -> Iterator[tuple[str, int]]:
    """The top-level keys of the object that begins at `start`, and where each ends, as far as written."""
    depth = 0
    for found in _TOKEN.finditer(text, start):
        token = found.group()
        if token in "{[":
            depth += 1
        elif token in "}]":
            depth -= 1
            if depth == 0:
                return
        elif depth == 1 and text[found.end() : found.end() + 8].lstrip().startswith(":"):
            yield token[1:-1], found.end()
