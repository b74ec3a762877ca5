"""GLM 4.5 to 5: the name, then keys and values in tags of their own (from 4.7 on without line breaks).

<tool_call>f
<arg_key>k</arg_key>
<arg_value>v</arg_value>
</tool_call>
"""

from __future__ import annotations

import re

from repair.markup import Grammar, Parameters, read_parameters
from repair.names import resolve_name
from repair.regions import Region, close_region
from repair.tools import Tool, ToolSet
from repair.types import Body, Fix, FixKind, Problem, RawCall, ToolCall
from repair.values import plain_parameters

NAME = "glm"
OPEN = "<tool_call>"
CLOSE = "</tool_call>"
KEY, KEY_END = "<arg_key>", "</arg_key>"
VALUE, VALUE_END = "<arg_value>", "</arg_value>"
OPENERS = (OPEN,)
CLOSERS = (CLOSE, VALUE_END)
REASONING = (("<think>", "</think>"),)

_HEAD = re.compile(
    r"\s*(?P<name>[^<>{}\[\]\n\"]{0,256}?)\s*(?P<next><arg_key>|</arg_key>|<tool_call>(?=[^<>\n]*</arg_key>)|</tool_call>)"
)
_GRAMMAR = Grammar(
    open=re.compile(r"(?:<arg_key>|<tool_call>)\s*(?P<key>[^<>\n]{1,256}?)\s*(?:</arg_key>\s*)+<arg_value>"),
    close=VALUE_END,
    ends=(CLOSE,),
    newline=False,
)


def parse(text: str, at: int, tools: ToolSet) -> Region | None:
    body = at + len(OPEN)
    head = _HEAD.match(text, body)
    if head is None:
        return None
    name, following, fixes = head.group("name").strip(), head.group("next"), list[Fix]()
    if following == CLOSE and not _is_known(name, tools):
        return None
    start = head.start("next")
    if following == KEY_END:
        split = _unfuse(name, tools)
        if split is None:
            return None
        fixes.append(Fix(FixKind.corrupted_marker, "", name, f"{split[0]}{KEY}{split[1]}"))
        name, key = split
        tool = tools.get(name)
        found = _read_fused(text, head.end() - len(KEY_END), key, tool)
    else:
        if following == OPEN:
            fixes.append(Fix(FixKind.corrupted_marker, "", OPEN, KEY))
        resolved = resolve_name(name, tools)
        tool = None if isinstance(resolved, Problem) else resolved[0]
        found = read_parameters(text, start, tool, _GRAMMAR)
    return _region(text, at, body, name, fixes, found)


def _region(text: str, at: int, body: int, name: str, fixes: list[Fix], found: Parameters) -> Region:
    problems: tuple[Problem, ...] = (found.problem,) if found.problem else ()
    end, closed = found.end, found.closed
    if not problems and not text.startswith(CLOSE, end - len(CLOSE)) and end < len(text):
        end, closed, problem = close_region(text, end, (CLOSE,), fixes)
        problems = problem.problems if problem else ()
    fixes += found.fixes
    if "</arg_key></arg_key>" in text[body:end].replace("\n", ""):
        fixes.append(Fix(FixKind.extra_closer, "", KEY_END, ""))
    call = RawCall(name, Body.tree, text[body:end], closed, found.tree, tuple(fixes), problems)
    return Region(at, end, body, (call,), closed, fragile=CLOSERS)


def _is_known(name: str, tools: ToolSet) -> bool:
    return not isinstance(resolve_name(name, tools), Problem)


def _unfuse(fused: str, tools: ToolSet) -> tuple[str, str] | None:
    """A declared name and one of its keys that together are `fused`, if there is only one such pair."""
    pairs = [
        (name, fused[len(name) :].strip())
        for name in tools.names
        if fused.startswith(name) and fused[len(name) :].strip() in (_tool(tools, name).keys)
    ]
    return pairs[0] if len(pairs) == 1 else None


def _tool(tools: ToolSet, name: str) -> Tool:
    tool = tools.get(name)
    assert tool is not None
    return tool


def _read_fused(text: str, at: int, key: str, tool: Tool | None) -> Parameters:
    """The parameters of a call whose first opening tag of a key is lost."""
    value = re.compile(r"(?:</arg_key>\s*)+<arg_value>").match(text, at)
    if value is None:
        return Parameters(at).refuse("syntax", f"no value follows the key {key!r}", len(text))
    end = text.find(VALUE_END, value.end())
    if end < 0:
        return Parameters(at).refuse("truncated", f"the value of {key!r} does not end", len(text))
    rest = read_parameters(text, end + len(VALUE_END), tool, _GRAMMAR)
    if key in rest.tree:
        return rest.refuse("duplicate_parameter", f"{key!r} is given twice", rest.end)
    first = read_parameters(
        f"{KEY}{key}{KEY_END}{VALUE}{text[value.end() : end]}{VALUE_END}{CLOSE}", 0, tool, _GRAMMAR
    )
    rest.tree = {**first.tree, **rest.tree}
    rest.problem = rest.problem or first.problem
    return rest


def render(calls: tuple[ToolCall, ...]) -> str:
    parts = []
    for call in calls:
        pairs = "".join(
            f"\n{KEY}{key}{KEY_END}\n{VALUE}{text}{VALUE_END}"
            for key, text in plain_parameters(call.arguments)
        )
        parts.append(f"{OPEN}{call.name}{pairs}\n{CLOSE}")
    return "\n".join(parts)
