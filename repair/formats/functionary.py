"""Functionary 3.2: the recipient on its own line, then its content. `>>>all` is text for the user.

>>>f
{json}
"""

from __future__ import annotations

import re

from repair.named import Named, read_named, render_named
from repair.names import resolve_name
from repair.regions import Region
from repair.tools import ToolSet
from repair.types import Problem, ToolCall

NAME = "functionary"
CALL = ">>>"
OPENERS: tuple[str, ...] = ()
CLOSERS: tuple[str, ...] = ()
REASONING: tuple[tuple[str, str], ...] = ()
NAMED_OPENER = (CALL, "\n")

FORM = Named(opener=CALL, head=re.compile(r"(?P<name>(?!all\n)[\w./-]{1,256})\n\s*"))
_OBJECT = re.compile(r"\s*\{")


def parse(text: str, at: int, tools: ToolSet) -> Region | None:
    """A declared name is a call whatever follows it; another one only before an object."""
    head = FORM.head.match(text, at + len(CALL))
    if head is None:
        return None
    undeclared = isinstance(resolve_name(head.group("name"), tools), Problem)
    return None if undeclared and not _OBJECT.match(text, head.end()) else read_named(text, at, FORM)


def render(calls: tuple[ToolCall, ...]) -> str:
    return "\n".join(render_named(one.name, one.arguments, CALL, "\n") for one in calls)
