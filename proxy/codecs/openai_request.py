"""Decodes the body of a Chat Completions request (https://platform.openai.com/docs/api-reference/chat).

Agents treat a 400 as the end of their run. So a field is refused only if its type is wrong, its value is out
of range, or ignoring it would change what the answer means; all else is accepted and logged at debug.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from proxy.codecs.as_sent import further_fields
from proxy.codecs.base import Decoded
from proxy.codecs.fields import Fields, check_range, describe, parse_object, refuse
from proxy.codecs.hints import POLLING, polling_tools
from proxy.codecs.limits import MAX_INT, check_choice, stop_strings, usable_schema
from proxy.codecs.openai_messages import decode_messages
from proxy.codecs.thinking import decode_thinking
from proxy.conversation.errors import BadRequest
from proxy.conversation.request import ChatRequest, Sampling, ToolChoice, ToolMode
from proxy.conversation.session_id import from_body
from repair.types import ToolDefinition

_log = logging.getLogger(__name__)

_READ = frozenset(
    "model messages tools functions tool_choice function_call parallel_tool_calls stream stream_options "
    "max_tokens max_completion_tokens temperature top_p top_k min_p seed stop logit_bias presence_penalty "
    "frequency_penalty repetition_penalty ignore_eos n logprobs top_logprobs response_format "
    "chat_template_kwargs enable_thinking reasoning_effort prompt_cache_key user metadata".split()
)
# Tells an upstream that keeps prefixes where one ends.
_MARK = "cache_control"
_OF_FUNCTION = frozenset({"name", "description", "parameters", "strict", POLLING})
_OF_TOOL = _OF_FUNCTION | {"type", "function"}
# Types of tools whose calls are no calls of functions.
_CALLED_OTHERWISE = ("custom", "builtin_function")
_MAX_CHOICES = 16
MAX_TOP_LOGPROBS = 20
_MAX_TIMEOUT_S = 7 * 24 * 3600


@dataclass(frozen=True, slots=True)
class ChatShape:
    """What only Chat Completions has. include_usage: a stream ends with a chunk of token counts.
    legacy_functions: the client knows `function_call` only. tool_paths: where in the request each tool
    stands, by its name, for messages about it.
    """

    include_usage: bool = False
    legacy_functions: bool = False
    tool_paths: Mapping[str, str] = field(default_factory=dict)


def decode_request(data: bytes) -> Decoded:
    """Its shape is a ChatShape. Raises BadRequest naming the field."""
    body = Fields(parse_object(data))
    for path in body.unknown(_READ):
        _log.debug("%s: unknown field, for an upstream alone", path)
    messages = decode_messages(body)
    tools = decode_tools(body)
    thinking = decode_thinking(body)
    answer = decode_answer_format(body.object("response_format"))
    shape = ChatShape(
        include_usage=body.object("stream_options").boolean("include_usage"),
        legacy_functions=tools.legacy,
        tool_paths=tools.paths,
    )
    request = ChatRequest(
        model=body.string("model"),
        messages=messages,
        tools=tuple(tools.definitions.values()),
        tool_extra=tools.extra,
        hosted_tools=tools.hosted,
        tool_choice=tools.choice,
        # the older fields have room for one call only
        parallel_tool_calls=body.boolean("parallel_tool_calls", True) and not tools.legacy,
        sampling=decode_sampling(body, ("max_completion_tokens", "max_tokens"), _logprobs(body)),
        stream=body.boolean("stream"),
        n=body.integer("n", 1, _MAX_CHOICES) or 1,
        json_answer=answer.json,
        answer_schema=answer.schema,
        answer_extra=answer.extra,
        template_options=thinking.options,
        thinking_budget=thinking.budget,
        include_reasoning=thinking.shown,
        timeout_s=decode_timeout(body),
        polling=polling_tools(body.values),
        session=from_body(body.values),
        warnings=tools.left_out,
        limit_name=_limit_name(body),
        further=_further(body, answer),
    )
    return Decoded(request, shape)


def _limit_name(body: Fields) -> str:
    newer = body.values.get("max_completion_tokens")
    return "max_tokens" if newer in (None, -1) else "max_completion_tokens"


def _further(body: Fields, answer: AnswerFormat) -> dict[str, Any]:
    """As further_fields(), with what is read here in parts."""
    further = further_fields(body, "chat", _READ)
    options = {
        key: value for key, value in body.object("stream_options").values.items() if key != "include_usage"
    }
    if options:
        further["stream_options"] = options
    if body.values.get("parallel_tool_calls"):
        further["parallel_tool_calls"] = True
    if answer.unknown:
        further["response_format"] = body.values["response_format"]
    return further


def decode_timeout(body: Fields) -> float | None:
    """In seconds. Raises BadRequest."""
    timeout = body.number("timeout_s", 0, _MAX_TIMEOUT_S)
    if timeout == 0:
        raise BadRequest("timeout_s must be above 0, got 0", param="timeout_s")
    return timeout


def _logprobs(body: Fields) -> int | None:
    """How many likely tokens to report; older clients send the number in `logprobs` itself."""
    top = body.integer("top_logprobs", 0, MAX_TOP_LOGPROBS)
    if isinstance(body.values.get("logprobs"), int) and not isinstance(body.values["logprobs"], bool):
        return body.integer("logprobs", 0, MAX_TOP_LOGPROBS)
    if not body.boolean("logprobs"):
        if top:
            raise BadRequest(f"top_logprobs needs logprobs: true, got {top} without it", param="top_logprobs")
        return None
    return top or 0


@dataclass(frozen=True, slots=True)
class AnswerFormat:
    """What the text of an answer is to be.

    json: one JSON value.
    schema, extra: as answer_schema and answer_extra of the request.
    unknown: it is of a type that is not known here.
    """

    json: bool = False
    schema: Mapping[str, Any] | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    unknown: bool = False


def decode_answer_format(wanted: Fields) -> AnswerFormat:
    """wanted: the field that says what the answer is to be, in which the schema stands one level higher in
    Responses than in Chat Completions; each API's clients send both. Raises BadRequest.
    """
    match wanted.string("type", "text"):
        case "text":
            return AnswerFormat()
        case "json_object":
            return AnswerFormat(json=True)
        case "json_schema":
            inner = wanted.object("json_schema") if "json_schema" in wanted.values else wanted
            extra = {name: inner.values[name] for name in _of_schema(inner) if inner.values[name] is not None}
            return AnswerFormat(True, usable_schema(inner), extra)
        case kind:
            _log.debug("%s: unknown type %r, for an upstream alone", wanted.at("type"), kind)
            return AnswerFormat(unknown=True)


def _of_schema(inner: Fields) -> list[str]:
    return [name for name in inner.values if name not in ("type", "schema")]


def decode_sampling(body: Fields, limits: Sequence[str], logprobs: int | None) -> Sampling:
    """limits: names of the fields that may hold the most tokens to generate, of which the first set counts.
    logprobs: as in Sampling. Raises BadRequest.
    """
    top_k = body.integer("top_k", -1, MAX_INT)
    return Sampling(
        max_tokens=_max_tokens(body, limits),
        temperature=body.number("temperature", 0, 2),
        top_p=body.number("top_p", 0, 1),
        top_k=0 if top_k == -1 else top_k,
        min_p=body.number("min_p", 0, 1),
        seed=body.integer("seed", -MAX_INT - 1, 2 * MAX_INT + 1),
        stop=_stop(body),
        logit_bias=_logit_bias(body),
        presence_penalty=body.number("presence_penalty", -2, 2),
        frequency_penalty=body.number("frequency_penalty", -2, 2),
        repetition_penalty=_repetition_penalty(body),
        ignore_eos=body.boolean("ignore_eos"),
        logprobs=logprobs,
    )


def _max_tokens(body: Fields, keys: Sequence[str]) -> int | None:
    """-1 means "no limit" to several local servers, and their clients send it."""
    for key in keys:
        if body.values.get(key) == -1:
            continue
        limit = body.integer(key, 1, MAX_INT)
        if limit is not None:
            return limit
    return None


def _repetition_penalty(body: Fields) -> float | None:
    penalty = body.number("repetition_penalty", 0, 10)
    if penalty == 0:
        raise BadRequest("repetition_penalty must be above 0, got 0", param="repetition_penalty")
    return penalty


def _stop(body: Fields) -> tuple[str, ...]:
    value = body.values.get("stop")
    match value:
        case None:
            return ()
        case str() | list():
            return stop_strings("stop", [value] if isinstance(value, str) else value)
        case _:
            refuse("stop", "a string or an array of strings", value)


def _logit_bias(body: Fields) -> dict[int, float]:
    bias: dict[int, float] = {}
    for key, value in body.object("logit_bias").values.items():
        path = f"logit_bias.{key}"
        if not (key.isascii() and key.isdigit()) or len(key) > 18:
            raise BadRequest(
                f"logit_bias: expected token ids as keys, got {describe(key)}", param="logit_bias"
            )
        if isinstance(value, bool) or not isinstance(value, int | float):
            refuse(path, "a number", value)
        bias[int(key)] = check_range(path, value, -100, 100)
    return bias


@dataclass(frozen=True, slots=True)
class ChatTools:
    """The tools of a request by name, where each was declared and what stood beside it, and the choice among
    them.

    legacy: they came as `functions`, which are called one at a time and by `function_call`.
    hosted: as in ChatRequest.
    left_out: why others are not there.
    """

    definitions: dict[str, ToolDefinition]
    paths: dict[str, str]
    extra: dict[str, dict[str, Any]]
    choice: ToolChoice
    legacy: bool
    hosted: tuple[Mapping[str, Any], ...] = ()
    left_out: tuple[str, ...] = ()


def decode_tools(body: Fields) -> ChatTools:
    """Raises BadRequest naming the field."""
    definitions: dict[str, ToolDefinition] = {}
    paths: dict[str, str] = {}
    extra: dict[str, dict[str, Any]] = {}
    for fields, declared in _declarations(body):
        tool = _function(fields)
        # The first of two tools of one name counts: it is the only one that the model will be shown.
        if definitions.setdefault(tool.name, tool) is tool:
            paths[tool.name] = fields.path
            if beside := _beside(declared, fields):
                extra[tool.name] = beside
        else:
            _log.debug("%s: tool %r is declared twice, the first counts", fields.path, tool.name)
    choice, allowed = _tool_choice(body)
    if allowed is not None:
        definitions = {name: tool for name, tool in definitions.items() if name in allowed}
    check_choice(choice, definitions)
    legacy = bool(body.array("functions")) and not body.array("tools")
    return ChatTools(definitions, paths, extra, choice, legacy, *_other_tools(body))


def _other_tools(body: Fields) -> tuple[tuple[Mapping[str, Any], ...], tuple[str, ...]]:
    """The tools that run at a provider, and why others are left out, by their type."""
    others = [one for one in body.array("tools") if one.get("type", "function") not in (None, "function")]
    hosted = tuple(one for one in others if one["type"] not in _CALLED_OTHERWISE)
    kinds = dict.fromkeys(one["type"] for one in others if one["type"] in _CALLED_OTHERWISE)
    return hosted, tuple(f"tools of type {kind} are not served here: left out" for kind in kinds)


def _beside(declared: Fields, function: Fields) -> dict[str, Any]:
    """What a declaration says beside the tool: the mark in its function counts as its own."""
    told = {} if declared is function else _others(declared, _OF_TOOL)
    inner = _others(function, _OF_TOOL if declared is function else _OF_FUNCTION)
    if mark := inner.pop(_MARK, None):
        told.setdefault(_MARK, mark)
    if function.values.get("strict") is False:
        inner["strict"] = False
    return {**told, "function": inner} if inner else told


def _others(fields: Fields, known: frozenset[str]) -> dict[str, Any]:
    return {key: value for key, value in fields.values.items() if value is not None and key not in known}


def _declarations(body: Fields) -> Iterator[tuple[Fields, Fields]]:
    """The objects that hold name and parameters of each function, in order, and what each stands in."""
    for i, item in enumerate(body.array("tools")):
        declared = Fields.of(item, f"tools[{i}]")
        function = _function_of(declared)
        if function is not None:
            yield function, declared
    for i, item in enumerate(body.array("functions")):
        function = Fields.of(item, f"functions[{i}]")
        yield function, function


def _function_of(fields: Fields) -> Fields | None:
    kind = fields.string("type", "function")
    if kind != "function":
        _log.debug("%s: tool type %r is not served, for an upstream alone", fields.path, kind)
        return None
    if fields.values.get("function") is None and "name" in fields.values:
        return fields  # the flat form of the Responses API
    if "function" not in fields.values:
        raise BadRequest(
            f"{fields.at('function')}: expected an object, got nothing", param=fields.at("function")
        )
    return Fields.of(fields.values["function"], fields.at("function"))


def _function(fields: Fields) -> ToolDefinition:
    name = fields.required_string("name")
    return ToolDefinition(
        name=name,
        description=fields.string("description"),
        parameters=fields.object("parameters").values or {"type": "object", "properties": {}},
        strict=fields.boolean("strict"),
    )


def _tool_choice(body: Fields) -> tuple[ToolChoice, frozenset[str] | None]:
    """The choice, and the names it is limited to where it has type `allowed_tools`."""
    key = "tool_choice" if body.values.get("tool_choice") is not None else "function_call"
    value = body.values.get(key)
    match value:
        case None:
            return ToolChoice(), None
        case str():
            return ToolChoice(tool_mode(key, value)), None
        case dict():
            return _choice_object(Fields(value, key))
        case _:
            refuse(key, "a string or an object", value)


def tool_mode(path: str, value: str) -> ToolMode:
    """path: of the value. Raises BadRequest."""
    mode = {
        "auto": ToolMode.auto,
        "none": ToolMode.none,
        "required": ToolMode.required,
        "any": ToolMode.required,
    }
    if value not in mode:
        raise BadRequest(f"{path} must be auto, none, required or a tool, got {describe(value)}", param=path)
    return mode[value]


def _choice_object(fields: Fields) -> tuple[ToolChoice, frozenset[str] | None]:
    kind = fields.string("type", "function")
    if kind == "allowed_tools":
        inner = fields.object("allowed_tools") if "allowed_tools" in fields.values else fields
        entries = [Fields.of(t, f"{inner.at('tools')}[{i}]") for i, t in enumerate(inner.array("tools"))]
        names = frozenset(_choice_name(entry) for entry in entries)
        return ToolChoice(tool_mode(inner.at("mode"), inner.string("mode", "auto"))), names
    if kind in ("auto", "none", "required", "any"):
        return ToolChoice(tool_mode(fields.at("type"), kind)), None
    return ToolChoice(ToolMode.named, _choice_name(fields)), None


def _choice_name(fields: Fields) -> str:
    inner = fields.object("function") if "function" in fields.values else fields
    return inner.required_string("name")
