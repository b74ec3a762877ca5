"""Judges one assistant turn: which calls were due, what the model emitted, and what was wrong with it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import jsonschema_rs

from corpora.world.base import Call

_CALL_MARKER = re.compile(r"</?tool_call>")
#: text that was meant to be a call, with or without its markers
_ATTEMPT = re.compile(r"""</?\|?tool_?call|"arguments"\s*:|\{\s*"name"\s*:\s*\"""", re.IGNORECASE)


def is_call_text(content: str) -> bool:
    """Whether a text looks like a call that was meant to be made."""
    return bool(_ATTEMPT.search(content))


class Kind(StrEnum):
    """What became of one assistant turn. The first two are right."""

    exact = "exact"  # the calls that were due, and no others
    spoken = "spoken"  # text, and no call was due
    wrong = "wrong"  # schema-valid calls that are not the ones due
    invalid = "invalid"  # a call that its schema, or the list of tools, does not allow
    malformed = "malformed"  # a call that cannot be read
    silent = "silent"  # text where a call was due
    needless = "needless"  # a schema-valid call where none was due
    refused = "refused"  # a guard handed over the text of a call that it would not let through


RIGHT = (Kind.exact, Kind.spoken)
VALID = (Kind.exact, Kind.wrong)


@dataclass(frozen=True, slots=True)
class Emitted:
    """One call as the server handed it over. value: its arguments, None where they are no JSON."""

    id: str
    name: str
    arguments: str
    value: Any
    flaw: str  # "" for a schema-valid call


@dataclass(frozen=True, slots=True)
class Judgement:
    """A judged turn. flaw: what is wrong, in the words of one of a few classes; "" where nothing is."""

    kind: Kind
    flaw: str
    calls: tuple[Emitted, ...]


class Judge:
    """Knows the tools of a conversation. Schemas are compiled once."""

    def __init__(self, tools: Iterable[Mapping[str, Any]]) -> None:
        self._validators = {
            one["function"]["name"]: jsonschema_rs.validator_for(one["function"].get("parameters") or {})
            for one in tools
        }

    def judge(self, expected: Sequence[Call], message: Mapping[str, Any], finish: str) -> Judgement:
        """Judge an assistant message in OpenAI form against the calls that are due (none: text is due)."""
        calls = tuple(self._emitted(one) for one in message.get("tool_calls") or ())
        content = str(message.get("content") or "")
        if is_call_text(content) or any(call.flaw == BROKEN_JSON for call in calls):
            return Judgement(Kind.malformed, _malformation(content, finish), calls)
        flaw = next((call.flaw for call in calls if call.flaw), "")
        if flaw:
            return Judgement(Kind.invalid, flaw, calls)
        if not calls:
            return Judgement(Kind.silent, "no call", calls) if expected else Judgement(Kind.spoken, "", calls)
        if not expected:
            return Judgement(Kind.needless, "needless call", calls)
        difference = _difference(calls, expected)
        return Judgement(Kind.wrong if difference else Kind.exact, difference, calls)

    def _emitted(self, call: Mapping[str, Any]) -> Emitted:
        function = call["function"]
        name, arguments = str(function["name"]), str(function["arguments"])
        value, flaw = None, BROKEN_JSON
        try:
            value = json.loads(arguments, parse_constant=refuse_constant)
            flaw = self._flaw(name, value)
        except (ValueError, RecursionError):  # nested without end
            pass
        return Emitted(str(call.get("id", "")), name, arguments, value, flaw)

    def _flaw(self, name: str, value: Any) -> str:
        if name not in self._validators:
            return "unknown tool"
        if not isinstance(value, dict):
            return "arguments are no object"
        error = next(self._validators[name].iter_errors(value), None)
        return "" if error is None else broken_rule(error)

    def complaint(self, call: Emitted) -> str:
        """What an agent framework would answer to a call that it cannot run."""
        if call.name not in self._validators:
            return f"unknown tool: {call.name[:80]}"
        if call.flaw == BROKEN_JSON:
            return "invalid arguments: not valid JSON"
        if not isinstance(call.value, dict):
            return "invalid arguments: not an object"
        error = next(self._validators[call.name].iter_errors(call.value))
        return f"invalid arguments: {error.message[:160]}"


BROKEN_JSON = "broken JSON"
_RULES = {
    "required": "missing argument",
    "additionalProperties": "undeclared argument",
    "type": "wrong type",
    "enum": "not in the enum",
    "const": "not in the enum",
    "pattern": "breaks the pattern",
    "format": "breaks the format",
    "minimum": "out of bounds",
    "maximum": "out of bounds",
    "exclusiveMinimum": "out of bounds",
    "exclusiveMaximum": "out of bounds",
    "multipleOf": "out of bounds",
    "minLength": "out of bounds",
    "maxLength": "out of bounds",
    "minItems": "out of bounds",
    "maxItems": "out of bounds",
    "uniqueItems": "repeated items",
}


def broken_rule(error: jsonschema_rs.ValidationError) -> str:
    """What of a schema a value breaks, in words that count alike errors together."""
    rule = next((str(part) for part in reversed(error.schema_path) if isinstance(part, str)), "schema")
    return _RULES.get(rule, f"breaks {rule}")


class _RepeatedKey(ValueError):
    pass


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _RepeatedKey
    return found


def refuse_constant(constant: str) -> Any:
    """For json.loads: NaN and the infinities, which JSON does not have. Raises ValueError."""
    raise ValueError(f"{constant} is not JSON")


def same(got: Any, wanted: Any) -> bool:
    """Whether two values are equal as JSON: 1 and true differ, 3 and 3.0 do not; key order means nothing."""
    if isinstance(got, bool) or isinstance(wanted, bool):
        return got is wanted
    if isinstance(got, Mapping) and isinstance(wanted, Mapping):
        return got.keys() == wanted.keys() and all(same(got[key], wanted[key]) for key in wanted)
    if isinstance(got, list | tuple) and isinstance(wanted, list | tuple):
        return len(got) == len(wanted) and all(map(same, got, wanted))
    return bool(got == wanted)


def _difference(got: Sequence[Emitted], expected: Sequence[Call]) -> str:
    """ "" where the calls are the expected ones, in order; else the first difference."""
    if len(got) != len(expected):
        return "too few calls" if len(got) < len(expected) else "too many calls"
    for call, due in zip(got, expected, strict=True):
        if call.name != due.name:
            return "wrong tool"
        if call.value.keys() < due.arguments.keys():
            return "an optional argument left out"
        if call.value.keys() > due.arguments.keys():
            return "an argument nobody asked for"
        if call.value.keys() != due.arguments.keys():
            return "wrong arguments"
        if not same(call.value, due.arguments):
            return "wrong value"
    return ""


def _malformation(content: str, finish: str) -> str:
    """The class of a call that cannot be read; text of a call was seen, or its arguments are no JSON."""
    if finish == "length":
        return "cut off by the token limit"
    markers: list[str] = _CALL_MARKER.findall(content)
    opened, closed = markers.count("<tool_call>"), markers.count("</tool_call>")
    if not markers:
        return "a call without markers" if _ATTEMPT.search(content) else BROKEN_JSON
    if opened != closed:
        return "closing marker lost" if opened > closed else "opening marker lost"
    bodies = re.findall(r"<tool_call>(.*?)</tool_call>", content, re.DOTALL)
    try:
        values = [json.loads(body, object_pairs_hook=_without_repeats) for body in bodies]
    except _RepeatedKey:
        return "a key given twice"
    except (ValueError, RecursionError):
        return BROKEN_JSON
    named = all(isinstance(value, dict) and isinstance(value.get("name"), str) for value in values)
    return "markers out of place" if values and named else "no call object"
