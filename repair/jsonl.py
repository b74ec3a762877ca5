"""The guard without a server: one JSON line in, one object out; the core of `fortieth repair`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from repair.attempts import count_repeats
from repair.ladder import repair_call
from repair.limits import LIMITS
from repair.names import resolve_name
from repair.tools import SchemaError, ToolSet
from repair.turn import Outcome, Turn, TurnPolicy
from repair.types import (
    Accepted,
    Body,
    Fix,
    Problem,
    RawCall,
    ReasoningDelta,
    Rejected,
    TextDelta,
    ToolCall,
    ToolDefinition,
    Verdict,
)


class LineError(ValueError):
    """A line that cannot be judged at all; the message names the field."""


def repair_line(line: str) -> tuple[dict[str, Any], bool]:
    """Judges one request as JSON text; returns the answer, and whether the line was usable. Never raises.

    In: `raw_output`, `tools` (OpenAI form), optionally `id`, `format`, `channel` (content, arguments, name,
        tool_calls), `tool_name`, `tool_choice`, `parallel_tool_calls`, `finish_reason`, `chunks`,
        `generation_prompt`, `preceding_calls`.

    Out: `id`, `verdict`, `content`, `reasoning`, `tool_calls`, `fixes`, `problems`; or `error` alone beside
        the `id`.
    """
    identity: dict[str, Any] = {}
    try:
        request = json.loads(line)
        if not isinstance(request, dict):
            raise LineError(f"a line must be an object, got {type(request).__name__}")
        if "id" in request:
            identity = {"id": request["id"]}
        return {**identity, **repair_request(request)}, True
    except RecursionError:
        return {**identity, "error": "the line is nested too deeply"}, False
    except json.JSONDecodeError as error:
        return {**identity, "error": f"the line is not JSON: {error}"}, False
    except ValueError as error:
        return {**identity, "error": str(error)}, False


def repair_request(request: Mapping[str, Any]) -> dict[str, Any]:
    """The answer to one decoded request. Raises LineError and SchemaError."""
    tools = read_tools(request.get("tools", []))
    channel = _string(request, "channel", "content")
    finish = _string(request, "finish_reason", None)
    raw = request.get("raw_output")
    if channel == "tool_calls" and isinstance(raw, list | dict):
        raw = json.dumps(raw)
    if not isinstance(raw, str):
        raise LineError(f"raw_output must be a string, got {type(raw).__name__}")
    policy = _policy(request)
    answer = _answer_channel(request, channel, raw, tools, policy, finish)
    return _refuse_loop(answer, raw, request.get("preceding_calls"))


def _answer_channel(
    request: Mapping[str, Any], channel: str, raw: str, tools: ToolSet, policy: TurnPolicy, finish: str | None
) -> dict[str, Any]:
    match channel:
        case "content":
            return _content(request, raw, tools, policy, finish)
        case "arguments":
            name = _string(request, "tool_name", None)
            if name is None:
                raise LineError("channel arguments needs tool_name")
            return _report(raw, [repair_arguments(name, raw, tools, finish)])
        case "name":
            return _name(raw, tools)
        case "tool_calls":
            return _report(raw, _upstream_calls(raw, tools, finish))
    raise LineError(f"channel must be content, arguments, name or tool_calls, got {channel!r}")


def _refuse_loop(answer: dict[str, Any], raw: str, preceding: Any) -> dict[str, Any]:
    """The answer, refused where it repeats the same call again and again. preceding: the calls of the turns
    before.
    """
    if preceding is None:
        return answer
    if not isinstance(preceding, list) or not all(isinstance(one, dict) for one in preceding):
        raise LineError("preceding_calls must be a list of objects")
    earlier = [_canonical(one) for one in preceding]
    for call in answer["tool_calls"]:
        count = count_repeats(earlier, _canonical(call))
        if count >= LIMITS.repeats:
            problem = Problem("", "loop", f"the same call was made {count} times in a row")
            return _object(Verdict.reask, raw, answer["reasoning"], (), (), (problem,))
    return answer


def _canonical(call: Mapping[str, Any]) -> tuple[str, str]:
    return str(call.get("name")), json.dumps(call.get("arguments"), sort_keys=True)


def repair_arguments(
    tool_name: str, arguments: str, tools: ToolSet, finish_reason: str | None = None
) -> Accepted | Rejected:
    """One call of an OpenAI-shaped upstream: its name, and the JSON text of its arguments.

    `finish_reason` "length" refuses arguments that are not complete in themselves; without it, so does the
    text alone.
    """
    if finish_reason == "length" and not arguments.strip():
        return Rejected((Problem("", "truncated", "the output limit was reached before the arguments"),))
    return repair_call(RawCall(tool_name, Body.arguments, arguments, closed=False), tools)


def read_tools(value: Any) -> ToolSet:
    """Tools in OpenAI's form, wrapped in {"type": "function"} or not. Raises LineError, SchemaError."""
    if not isinstance(value, list):
        raise LineError(f"tools must be a list, got {type(value).__name__}")
    definitions = []
    for index, item in enumerate(value):
        function = item.get("function", item) if isinstance(item, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise LineError(f"tools[{index}] must hold a function with a name")
        parameters = function.get("parameters") or {}
        if not isinstance(parameters, dict):
            raise LineError(f"tools[{index}]: parameters must be an object")
        definitions.append(
            ToolDefinition(function["name"], str(function.get("description") or ""), parameters)
        )
    return ToolSet.compile(definitions)


def _string(request: Mapping[str, Any], key: str, default: str | None) -> Any:
    value = request.get(key)
    if value is None:
        return default
    if not isinstance(value, str):
        raise LineError(f"{key} must be a string, got {type(value).__name__}")
    return value


def _policy(request: Mapping[str, Any]) -> TurnPolicy:
    choice = request.get("tool_choice") or "auto"
    parallel = request.get("parallel_tool_calls") is not False
    if isinstance(choice, dict):
        function = choice.get("function", choice)
        name = function.get("name") if isinstance(function, dict) else None
        if not isinstance(name, str):
            raise LineError("tool_choice names no function")
        return TurnPolicy("named", name, parallel)
    if choice not in ("auto", "none", "required"):
        raise LineError(f"tool_choice must be auto, none, required or a function, got {choice!r}")
    return TurnPolicy(choice, None, parallel)


def _content(
    request: Mapping[str, Any], raw: str, tools: ToolSet, policy: TurnPolicy, finish: str | None
) -> dict[str, Any]:
    chunks = request.get("chunks") or [raw]
    if not isinstance(chunks, list) or not all(isinstance(one, str) for one in chunks):
        raise LineError("chunks must be a list of strings")
    prompt = _string(request, "generation_prompt", "")
    try:
        turn = Turn(tools, _string(request, "format", "auto"), policy, prompt)
    except KeyError as error:
        raise LineError(f"format {error} is not known") from error
    deltas = [delta for chunk in chunks for delta in turn.feed(chunk)]
    outcome = turn.close(finish)
    return _answer(outcome, [*deltas, *outcome.events])


def _answer(outcome: Outcome, deltas: list[TextDelta | ReasoningDelta]) -> dict[str, Any]:
    text = "".join(one.text for one in deltas if isinstance(one, TextDelta))
    reasoning = "".join(one.text for one in deltas if isinstance(one, ReasoningDelta))
    return _object(outcome.verdict, text, reasoning, outcome.calls, outcome.fixes, outcome.problems)


def _object(
    verdict: Verdict,
    content: str,
    reasoning: str,
    calls: tuple[ToolCall, ...],
    fixes: tuple[Fix, ...],
    problems: tuple[Problem, ...],
) -> dict[str, Any]:
    return {
        "verdict": verdict.value,
        "content": content,
        "reasoning": reasoning,
        "tool_calls": [{"name": one.name, "arguments": json.loads(one.arguments)} for one in calls],
        "fixes": [
            {"kind": fix.kind.value, "path": fix.path, "before": fix.before, "after": fix.after}
            for fix in fixes
        ],
        "problems": [{"path": one.path, "rule": one.rule, "message": one.message} for one in problems],
    }


def _report(raw: str, outcomes: list[Accepted | Rejected]) -> dict[str, Any]:
    """The answer for the calls of one turn: all are accepted, or none is."""
    problems = tuple(one for outcome in outcomes if isinstance(outcome, Rejected) for one in outcome.problems)
    if problems:
        return _object(Verdict.reask, raw, "", (), (), problems)
    accepted = [outcome for outcome in outcomes if isinstance(outcome, Accepted)]
    fixes = tuple(fix for one in accepted for fix in one.fixes)
    verdict = Verdict.none if not accepted else Verdict.repaired if fixes else Verdict.clean
    return _object(verdict, "", "", tuple(one.call for one in accepted), fixes, ())


def _name(raw: str, tools: ToolSet) -> dict[str, Any]:
    resolved = resolve_name(raw, tools)
    if isinstance(resolved, Problem):
        return _object(Verdict.reask, raw, "", (), (), (resolved,))
    tool, fixes = resolved
    verdict = Verdict.repaired if fixes else Verdict.clean
    return _object(verdict, "", "", (ToolCall(tool.name, "{}"),), fixes, ())


def _upstream_calls(raw: str, tools: ToolSet, finish: str | None) -> list[Accepted | Rejected]:
    """The calls of an OpenAI `tool_calls` array; also of bare `{"name", "arguments"}` objects, one or
    several.
    """
    try:
        value = json.loads(raw)
    except ValueError:
        return [Rejected((Problem("", "syntax", "tool_calls is not JSON"),))]
    items = value if isinstance(value, list) else [value]
    return [_upstream_call(item, tools, finish) for item in items]


def _upstream_call(item: Any, tools: ToolSet, finish: str | None) -> Accepted | Rejected:
    function = item.get("function", item) if isinstance(item, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(function, dict) or not isinstance(name, str):
        return Rejected((Problem("", "missing_name", "the call names no tool"),))
    arguments = function.get("arguments")
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return repair_arguments(name, text, tools, finish)


__all__ = ["LineError", "SchemaError", "read_tools", "repair_arguments", "repair_line", "repair_request"]
