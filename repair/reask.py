"""Writes the correction message: the problems of a refused attempt, as the model gets to see them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from repair.tools import Tool, ToolSet
from repair.types import Problem

_GENERAL = "Send the call again with exactly the arguments you meant, as valid JSON that fits the schema."
#: what to do, by the rule of a problem; any other rule is told _GENERAL
HINTS = {
    "truncated": "The call was cut off. Send it again, complete and shorter if needed.",
    "unknown_tool": "Call only declared tools, by their exact names.",
    "broken_markers": "If you meant a call, send it in the right form; if you meant none, answer in words.",
    "misplaced_call": "If you meant a call, send it alone; if you only showed one, answer in words.",
    "undecodable": "Write the call again; U+FFFD itself is \\ufffd in JSON.",
    "announced_call": "If you meant to go on, call the tool now; if you are done, give the answer.",
    "unasked_call": "No tool can be called now. Answer in words alone, with what you know.",
    "grammar": "Send the call again with a text that follows the grammar in the tool's description.",
    "missing_name": "Name the tool in the call.",
    "call_required": "Answer with a tool call.",
    "untyped": "Write the value so that its type is plain.",
    "loop": "Do something else: another call, other arguments, or an answer with what you know.",
    "repetition": "Do not repeat yourself: send the call that is due, or answer in a few words.",
    "parallel": "Send exactly one call.",
    "block": _GENERAL,
    "call_count": "Send only the calls that were not executed.",
}
#: how a correction begins, with or without the name of a tool
BEGINNINGS = ("The tool call was not executed", "The call of ")
#: the result of a right call whose neighbours were wrong
WAITS = "This call is right. It waits until the others are right too; do not send it again."
# A schema up to this length is shown whole; of a longer one only the part with a problem, up to that length.
_WHOLE_CHARS = 2000
_PART_CHARS = 800
_MESSAGE_CHARS = 1500
_SENTENCE_END = re.compile(r"[.:;!?\n]+")
_MARKUP = " \t\r-*_#>`'\""
_LEAST_WORDS = 4  # of a sentence by which it is known again


def correction(
    problems: Sequence[Problem], tools: ToolSet, tool_name: str | None = None, kept: Sequence[str] = ()
) -> str:
    """The correction as plain text: each problem with its place, rule and value, the schema that matters,
    then what to do.

    tool_name: the tool whose schema is shown.
    kept: tools whose calls in the same turn were right.
    """
    nameless, named = BEGINNINGS
    lines = [f"{named}{tool_name} was not executed:" if tool_name else f"{nameless}:"]
    for problem in problems:
        place = f"at {problem.path} " if problem.path else ""
        lines.append(f"- {place}({problem.rule}): {_short(problem.message)}")
    tool = tools.get(tool_name) if tool_name else None
    if tool is not None:
        lines += _schemas(problems, tool)
    rules = dict.fromkeys(problem.rule for problem in problems)
    hints = [HINTS[rule] for rule in rules if rule in HINTS]
    lines += hints or [_GENERAL]
    if kept:
        lines.append(f"Right and kept, not to be sent again: {', '.join(kept)}.")
    return "\n".join(lines)


def says_back(text: str, told: str) -> bool:
    """Whether an answer begins with a sentence that the model was told. Small models say a correction back,
    which answers nothing.
    """
    first = next(_sentences(text), "")
    return len(first.split()) >= _LEAST_WORDS and first in _sentences(told)


def _sentences(text: str) -> Iterator[str]:
    stripped = (piece.strip(_MARKUP).casefold() for piece in _SENTENCE_END.split(text))
    return (piece for piece in stripped if piece)


def _short(message: str) -> str:
    half = _MESSAGE_CHARS // 2
    return message if len(message) <= _MESSAGE_CHARS else f"{message[:half]} ... {message[-half:]}"


def _schemas(problems: Sequence[Problem], tool: Tool) -> list[str]:
    """The whole schema where it is short, else the part at each place that has a problem."""
    whole = json.dumps(tool.definition.parameters, ensure_ascii=False)
    if len(whole) <= _WHOLE_CHARS:
        return [f"The parameters of {tool.name} are: {whole}"]
    lines = []
    for path in dict.fromkeys(problem.path for problem in problems):
        part = schema_at(tool.definition.parameters, path)
        shown = json.dumps(part, ensure_ascii=False)
        if len(shown) > _PART_CHARS:
            shown = json.dumps(_outline(part), ensure_ascii=False)[:_WHOLE_CHARS]
        lines.append(f"The schema at {path or 'the top'} is: {shown}")
    return lines


def schema_at(schema: Mapping[str, Any], path: str) -> Mapping[str, Any]:
    """The part of a schema that judges the value at a JSON pointer; where there is none, the nearest part
    above.
    """
    part = _follow(schema, schema)
    for token in path.split("/")[1:]:
        key = token.replace("~1", "/").replace("~0", "~")
        below = _below(part, key)
        if below is None:
            break
        part = _follow(schema, below)
    return part


def _below(part: Mapping[str, Any], key: str) -> Mapping[str, Any] | None:
    properties = part.get("properties")
    candidates = [properties.get(key) if isinstance(properties, Mapping) else None]
    candidates += [part.get("items") if key.isdigit() else None, part.get("additionalProperties")]
    return next((one for one in candidates if isinstance(one, Mapping)), None)


def _follow(root: Mapping[str, Any], part: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follows local references, a few levels deep: a circle of them says nothing."""
    for _ in range(8):
        target = part.get("$ref")
        if not isinstance(target, str) or not target.startswith("#/"):
            break
        found: Any = root
        for token in target[2:].split("/"):
            key = token.replace("~1", "/").replace("~0", "~")
            found = found.get(key) if isinstance(found, Mapping) else None
        if not isinstance(found, Mapping):
            break
        part = found
    return part


def _outline(part: Mapping[str, Any]) -> dict[str, Any]:
    """An outline of a long schema: its keywords without descriptions, its properties by their types."""
    kept = {key: part[key] for key in ("type", "enum", "required", "additionalProperties") if key in part}
    properties = part.get("properties")
    if isinstance(properties, Mapping):
        kept["properties"] = {
            name: {key: one[key] for key in ("type", "enum") if key in one}
            if isinstance(one, Mapping)
            else {}
            for name, one in properties.items()
        }
    return kept
