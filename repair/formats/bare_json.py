"""A call as the whole message: bare JSON, an array of calls, or either in a markdown fence.

    {"name": "f", "parameters": {...}}          Llama 3.x, Gemma 3, small models that lost their markers
    [{"name": "f", "arguments": {...}}]         xLAM, and Mistral without its marker
    {"tool_calls": [...]}                       xLAM 2

It is a call only if it is all there is and its name is declared; JSON data with a `name` is not.
"""

from __future__ import annotations

import re

from repair.lenient import Reading, read_value
from repair.names import resolve_name
from repair.regions import Region, read_json_calls, skip_space
from repair.tools import Tool, ToolSet
from repair.types import Fix, FixKind, Problem, RawCall, ToolCall

NAME = "bare_json"
OPENERS: tuple[str, ...] = ()
CLOSERS: tuple[str, ...] = ()
REASONING = (("<think>", "</think>"),)
FENCE = "```"

_KEYS = frozenset(
    ("name", "function", "tool", "tool_name", "function_name", "arguments", "parameters", "args", "input")
) | {"id", "type", "tool_calls", "tool_call_id", "tool_call"}
_MORE_KEYS = frozenset(("params", "tool_input", "tool_arguments", "kwargs", "call_id", "index"))
_FENCE = re.compile(r"```[ \t]{0,9}(?:json|tool_call|tool_calls|tool_code|xml|)[ \t]{0,9}\r?\n\s{0,40}")
_FENCE_START = re.compile(r"`{1,2}\Z|```[ \t]{0,9}[a-z_]{0,10}[ \t]{0,9}\r?\Z")
_OBJECT = re.compile(r"\[?\s{0,40}\{\s{0,40}(?:[\"'](?P<key>\w{1,20})[\"']|(?P<bare>\w{1,20})\s{0,9}:)")
_OBJECT_START = re.compile(
    r"\[?\s{0,40}(?:\{\s{0,40}(?:[\"'](?:\w{0,20}|\w{1,20}[\"'])|\w{1,20}\s{0,9})?)?\Z"
)
_WRAPPED = re.compile(r"\{\s*\"tool_calls?\"\s*:\s*")
_CLOSERS_LEFT = re.compile(r"[\s}\]]*[}\]]\s*\Z")
_NAME = re.compile(
    r"[\"'](?:name|tool_name|function_name|tool|function)[\"']\s*:\s*[\"']([^\"'\\]{1,256})[\"']"
)


def may_begin(text: str, tools: ToolSet) -> bool | None:
    """Whether a message that begins with `text` may be a bare call; None: too short to tell."""
    if text.startswith("`"):
        fence = _FENCE.match(text)
        if fence is None:
            return None if _FENCE_START.match(text) else False
        text = text[fence.end() :]
        if not text:
            return None
        if text[0] == "<":
            return True
    found = _OBJECT.match(text)
    if found is None:
        return None if _OBJECT_START.match(text) else False
    return (found.group("key") or found.group("bare")) in _KEYS


def parse(text: str, at: int, tools: ToolSet) -> Region | None:
    """The call or calls at `at`, if every one names a declared tool. The caller makes sure that only calls
    follow.
    """
    body, fixes, fence = at, [], _FENCE.match(text, at)
    if fence:
        body = fence.end()
        fixes.append(Fix(FixKind.markdown_fence, "", fence.group(), ""))
    wrapped = _WRAPPED.match(text, body)
    region = read_json_calls(text, at, wrapped.end() if wrapped else body, (), wrapped=bool(wrapped))
    if region is None or not region.calls or not _is_declared(region.calls, tools):
        return None
    end = region.end
    if wrapped:
        end = skip_space(text, end)
        if text[end : end + 1] != "}":
            return None
        end += 1
    if fence:
        end = skip_space(text, end)
        if not text.startswith(FENCE, end):
            return None
        end += len(FENCE)
    tail = _CLOSERS_LEFT.match(text, end)
    if tail and not fence:
        end = len(text)
        fixes.append(Fix(FixKind.extra_closer, "", tail.group().strip(), ""))
    first, *others = region.calls
    first = RawCall(
        first.name, first.body, first.text, first.closed, None, (*fixes, *first.fixes), first.problems
    )
    return Region(at, end, body, (first, *others), region.closed)


def _is_declared(calls: tuple[RawCall, ...], tools: ToolSet) -> bool:
    """Whether every call names a declared tool and has the members of a call, not of a record."""
    for index, call in enumerate(calls):
        if call.problems and index:
            continue  # what is cut off after a declared call is a call, too
        reading = read_value(call.text)
        if isinstance(reading, Reading) and isinstance(reading.value, dict):
            tool = _tool(_name(reading.value) or "", tools)
            inner = reading.value.get("function")
            members = set(inner if isinstance(inner, dict) else reading.value)
            if tool is None or members - _KEYS - _MORE_KEYS - set(tool.keys):
                return False
            continue
        found = _NAME.search(call.text[:400])
        if found is None and index and not call.closed:
            continue
        if found is None or _tool(found.group(1), tools) is None:
            return False
    return True


def _tool(name: str, tools: ToolSet) -> Tool | None:
    resolved = resolve_name(name, tools)
    return None if isinstance(resolved, Problem) else resolved[0]


def _name(value: dict[str, object]) -> str | None:
    inner = value.get("function")
    if isinstance(inner, dict):
        value = inner
    for key in ("name", "tool_name", "function_name", "tool", "function"):
        found = value.get(key)
        if isinstance(found, str):
            return found
    return None


def render(calls: tuple[ToolCall, ...]) -> str:
    parts = [f'{{"name": "{one.name}", "arguments": {one.arguments}}}' for one in calls]
    return parts[0] if len(parts) == 1 else f"[{', '.join(parts)}]"
