"""Decodes the body of a Chat Completions request (https://platform.openai.com/docs/api-reference/chat).

Agents treat a 400 as the end of their run. So a field is refused only if its type is wrong, its value is out
of range, or ignoring it would change what the answer means; all else is accepted and logged at debug.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from proxy.codecs.as_sent import further_fields
from proxy.codecs.base import Decoded
from proxy.codecs.fields import Fields, check_range, describe, parse_object, refuse
from proxy.codecs.hints import polling_tools
from proxy.codecs.limits import MAX_INT, stop_strings
from proxy.codecs.openai_messages import decode_messages
from proxy.codecs.openai_tools import decode_tools
from proxy.codecs.thinking import decode_thinking
from proxy.conversation.errors import BadRequest
from proxy.conversation.request import ChatRequest, Sampling
from proxy.conversation.session_id import from_body

_log = logging.getLogger(__name__)

_READ = frozenset(
    "model messages tools functions tool_choice function_call parallel_tool_calls stream stream_options "
    "max_tokens max_completion_tokens temperature top_p top_k min_p seed stop logit_bias presence_penalty "
    "frequency_penalty repetition_penalty ignore_eos n logprobs top_logprobs response_format "
    "chat_template_kwargs enable_thinking reasoning_effort prompt_cache_key user metadata".split()
)
_MAX_CHOICES = 16
MAX_TOP_LOGPROBS = 20
_MAX_TIMEOUT_S = 7 * 24 * 3600


@dataclass(frozen=True, slots=True)
class ChatShape:
    """What only Chat Completions has. include_usage: a stream ends with a chunk of token counts.
    legacy_functions: the client knows `function_call` only. custom: names of tools that take free text.
    tool_paths: where in the request each tool stands, by its name, for messages about it.
    """

    include_usage: bool = False
    legacy_functions: bool = False
    custom: frozenset[str] = frozenset()
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
        custom=tools.custom,
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
        answer_at=answer.at,
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
    parallel = {"parallel_tool_calls": True} if body.values.get("parallel_tool_calls") else {}
    return {**further_fields(body, "chat", _READ), **parallel, **answer.further}


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
    schema, at, extra: as answer_schema, answer_at and answer_extra of the request.
    further: what an upstream gets as it was sent, where it is of a type that is not known here; as
        ChatRequest.further.
    """

    json: bool = False
    schema: Mapping[str, Any] | None = None
    at: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)
    further: Mapping[str, Any] = field(default_factory=dict)


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
            return AnswerFormat(True, inner.object("schema").values, inner.at("schema"), extra)
        case kind:
            _log.debug("%s: unknown type %r, for an upstream alone", wanted.at("type"), kind)
            return AnswerFormat(further={"response_format": wanted.values})


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
