"""The one judge of what a client got in a turn: it sees text, calls and finish reason, and no arm."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jsonschema_rs

from corpora.world.base import Call
from corpora.world.score import broken_rule, refuse_constant, same
from proxy.ab.measured import Delivered

# What models write around a call, in the formats of open models. A client that sees one got text for a call.
_MARKERS = re.compile(
    r"</?\|?tool_?calls?\b|<\|?/?function(?:_?call)?[=:>|]|<invoke\b|\[/?TOOL_?CALLS?\]|<\|python_tag\|>"
    r"|<\|tool|<｜(?:DSML｜)?(?:tool|invoke)|<\|channel\|>|<start_function_call>|<\|action_start\|>",
    re.IGNORECASE,
)
_NAMED = re.compile(r"""["'](?:name|tool|function|tool_name)["']\s*:\s*["']([^"']{1,200})["']""")
_ARGUMENTS = re.compile(r"""["'](?:arguments|parameters|args|input)["']\s*:""")
UNREADABLE = "arguments are not JSON"


@dataclass(frozen=True, slots=True)
class DeliveredCall:
    """One call as a client got it. value: of the arguments, None where they are not JSON. flaw: "" for a call
    that its schema allows. complaint: what an agent would answer in place of a result.
    """

    id: str
    name: str
    arguments: str
    value: Any
    flaw: str = ""
    complaint: str = ""


@dataclass(frozen=True, slots=True)
class JudgedTurn:
    """A judged turn. exact: None where it is not known what was due."""

    delivered: Delivered
    flaw: str
    calls: tuple[DeliveredCall, ...]
    exact: bool | None


class TurnJudge:
    """Judges the turns of a conversation. tools: in OpenAI's form; a schema that cannot be compiled allows
    everything.
    """

    def __init__(self, tools: Iterable[Mapping[str, Any]]) -> None:
        self._validators: dict[str, jsonschema_rs.Validator | None] = {}
        for tool in tools:
            function = tool.get("function")
            if isinstance(function, Mapping) and isinstance(function.get("name"), str):
                self._validators[function["name"]] = _compiled(function.get("parameters"))

    def judge(
        self,
        content: str,
        calls: Sequence[Mapping[str, Any]],
        finish: str,
        due: Sequence[Call] | None = None,
    ) -> JudgedTurn:
        """content, calls (in OpenAI's form), finish: what the client got.

        due: the calls that are right, in order, none where text is; None where it is not known.
        """
        judged = tuple(self._call(call) for call in calls)
        delivered, flaw = self._kind(content, judged, finish)
        exact = None
        if due is not None:
            right = delivered is (Delivered.valid if due else Delivered.none)
            exact = right and _equal(judged, due)
        return JudgedTurn(delivered, flaw, judged, exact)

    def _kind(self, content: str, calls: Sequence[DeliveredCall], finish: str) -> tuple[Delivered, str]:
        broken = next((call for call in calls if call.flaw), None)
        if broken is not None:
            kind = Delivered.unreadable if broken.flaw == UNREADABLE else Delivered.invalid
            return kind, broken.flaw
        written = self.call_text(content)
        if calls:
            return Delivered.valid, f"{written} beside calls" if written else ""
        if written and finish != "length":
            return Delivered.call_text, written
        if finish == "length":
            return Delivered.cut, "cut off by the token limit"
        if finish in ("tool_calls", "function_call"):
            return Delivered.lost, f"finish reason {finish} without a call"
        return Delivered.none, ""

    def call_text(self, content: str) -> str:
        """How a text looks like a call: by a marker, or by the name of a tool beside arguments; else ""."""
        if _MARKERS.search(content):
            return "a marker of calls in the text"
        if _ARGUMENTS.search(content) and any(name in self._validators for name in _NAMED.findall(content)):
            return "a call as JSON in the text"
        return ""

    def _call(self, call: Mapping[str, Any]) -> DeliveredCall:
        function = call.get("function") or {}
        id, name = str(call.get("id") or ""), str(function.get("name") or "")
        arguments = function.get("arguments")
        text = arguments if isinstance(arguments, str) else json.dumps(arguments)
        if name not in self._validators:
            return DeliveredCall(id, name, text, None, "unknown tool", f"unknown tool: {name[:80]}")
        if not isinstance(arguments, str):
            return DeliveredCall(id, name, text, None, "arguments are no string", "invalid arguments")
        try:
            value = json.loads(text, parse_constant=refuse_constant)
        except (ValueError, RecursionError):
            return DeliveredCall(id, name, text, None, UNREADABLE, "invalid arguments: not valid JSON")
        if not isinstance(value, dict):
            return DeliveredCall(
                id, name, text, value, "arguments are no object", "invalid arguments: not an object"
            )
        flaw, complaint = _breach(self._validators[name], value)
        return DeliveredCall(id, name, text, value, flaw, complaint)


def _compiled(schema: Any) -> jsonschema_rs.Validator | None:
    try:
        return jsonschema_rs.validator_for(schema or {}, offline=True, validate_formats=False)
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError):
        return None


def _breach(validator: jsonschema_rs.Validator | None, value: Any) -> tuple[str, str]:
    error = None if validator is None else next(validator.iter_errors(value), None)
    if error is None:
        return "", ""
    return broken_rule(error), f"invalid arguments: {error.message[:160]}"


def _equal(got: Sequence[DeliveredCall], due: Sequence[Call]) -> bool:
    return len(got) == len(due) and all(
        call.name == one.name and same(call.value, one.arguments) for call, one in zip(got, due, strict=True)
    )
