"""Decodes the body of a Responses request (https://platform.openai.com/docs/api-reference/responses).

What Chat Completions has too is read as it is there, so that one conversation means the same in both.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from proxy.codecs.as_sent import further_fields
from proxy.codecs.base import Decoded
from proxy.codecs.fields import Fields, parse_object
from proxy.codecs.hints import polling_tools
from proxy.codecs.openai_request import (
    MAX_TOP_LOGPROBS,
    AnswerFormat,
    decode_answer_format,
    decode_sampling,
    decode_timeout,
)
from proxy.codecs.openai_responses_items import declaring, decode_items, kind_of, read_items
from proxy.codecs.openai_responses_store import ResponseStore
from proxy.codecs.openai_responses_tools import ToolNames, decode_tools
from proxy.codecs.thinking import decode_thinking
from proxy.conversation.errors import BadRequest
from proxy.conversation.message import Message, Role
from proxy.conversation.request import ChatRequest
from proxy.conversation.session_id import from_body

_log = logging.getLogger(__name__)

_READ = frozenset(
    "model input instructions tools tool_choice parallel_tool_calls stream store previous_response_id "
    "max_output_tokens temperature top_p top_logprobs text reasoning include metadata truncation user "
    "prompt_cache_key safety_identifier conversation prompt timeout_s top_k min_p seed stop logit_bias "
    "presence_penalty frequency_penalty repetition_penalty ignore_eos chat_template_kwargs enable_thinking "
    "thinking_budget thinking_token_budget include_reasoning".split()
)
# What is kept with the provider and named by an id only: without it the request means something else.
_KEPT_ELSEWHERE = ("conversation", "prompt")
_SCORES = "message.output_text.logprobs"
_SEALED = "reasoning.encrypted_content"


@dataclass(frozen=True, slots=True)
class ResponseShape:
    """What only the Responses API has. names: of the tools. paths: where the request declares each tool, by
    its flat name. echo: fields of the request that every answer repeats. added: the items that this turn adds
    to its conversation, in front of the output. previous: id of the response that it follows, "" for none.
    store: the answer is to be kept. summarised: reasoning goes out as a summary. sealed: reasoning goes out
    in encrypted_content too. scored: text has its log probabilities.
    """

    names: ToolNames
    paths: Mapping[str, str]
    echo: Mapping[str, Any]
    added: tuple[Any, ...] = ()
    previous: str = ""
    store: bool = False
    summarised: bool = False
    sealed: bool = False
    scored: bool = False


def decode_request(data: bytes, store: ResponseStore) -> Decoded:
    """Its shape is a ResponseShape. Raises BadRequest naming the field."""
    body = Fields(parse_object(data))
    _look_over(body)
    previous = body.string("previous_response_id")
    added = _resolved(read_items(body), store)
    items = [*_kept_items(previous, store), *(Fields(item, f"input[{i}]") for i, item in enumerate(added))]
    tools = decode_tools(body, declaring(items))
    messages = _with_instructions(body, decode_items(items, tools))
    thinking = decode_thinking(body)
    answer = decode_answer_format(body.object("text").object("format"))
    include = frozenset(one for one in body.array("include") if isinstance(one, str))
    logprobs = _logprobs(body, include)
    shape = ResponseShape(
        names=tools.names,
        paths=tools.paths,
        echo=_echo(body),
        added=tuple(added),
        previous=previous,
        store=body.boolean("store", True),
        summarised=_reasoning(body).string("summary") not in ("", "none"),
        sealed=_SEALED in include,
        scored=logprobs is not None,
    )
    request = ChatRequest(
        model=body.string("model"),
        messages=messages,
        tools=tools.definitions,
        tool_choice=tools.choice,
        parallel_tool_calls=body.boolean("parallel_tool_calls", True),
        sampling=decode_sampling(body, ("max_output_tokens",), logprobs),
        stream=body.boolean("stream"),
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
        told_in_place=tools.found,
        warnings=tools.left_out,
        further=_further(body, answer),
    )
    return Decoded(request, shape)


def _with_instructions(body: Fields, messages: tuple[Message, ...]) -> tuple[Message, ...]:
    if instructions := body.string("instructions"):
        messages = (Message.of(Role.system, instructions), *messages)
    if not messages:
        raise BadRequest("input must hold at least one item that is served, got none", param="input")
    return messages


def _further(body: Fields, answer: AnswerFormat) -> dict[str, Any]:
    """As further_fields(), with what stands inside of another field here."""
    verbosity = body.object("text").values.get("verbosity")
    told = {} if verbosity is None else {"verbosity": verbosity}
    return {**further_fields(body, "responses", _READ), **told, **answer.further}


def _look_over(body: Fields) -> None:
    for path in body.unknown(_READ):
        _log.debug("%s: unknown field, for an upstream alone", path)
    for key in _KEPT_ELSEWHERE:
        if body.values.get(key) is not None:
            raise BadRequest(f"{key}: nothing of the kind is kept here; send its content", param=key)


def _kept_items(previous: str, store: ResponseStore) -> list[Fields]:
    """Of the conversation that the request goes on with. Raises BadRequest where it is not kept."""
    if not previous:
        return []
    items = store.conversation(previous)
    if items is None:
        raise BadRequest(
            f"Previous response with id '{previous[:80]}' not found. A response is kept in memory, unless it "
            "was asked for with store: false, until newer ones need its place or the server is restarted; "
            "send the whole conversation as input.",
            param="previous_response_id",
            code="previous_response_not_found",
        )
    return [Fields(item, f"previous_response_id.input[{i}]") for i, item in enumerate(items)]


def _resolved(items: list[Any], store: ResponseStore) -> list[Any]:
    """With what item_reference items refer to in their place."""
    resolved: list[Any] = []
    for i, item in enumerate(items):
        fields = Fields(item, f"input[{i}]")
        if kind_of(fields) != "item_reference":
            resolved.append(item)
            continue
        found = store.item(fields.string("id"))
        if found is None:
            _log.warning("%s: the item %r is not kept here and is left out", fields.path, fields.string("id"))
            continue
        resolved.append(found)
    return resolved


def _reasoning(body: Fields) -> Fields:
    value = body.values.get("reasoning")
    return Fields(value if isinstance(value, dict) else {}, "reasoning")


def _logprobs(body: Fields, include: frozenset[str]) -> int | None:
    """How many likely tokens to report beside each of the text, None where none is asked for."""
    top = body.integer("top_logprobs", 0, MAX_TOP_LOGPROBS)
    return (top or 0) if top or _SCORES in include else None


def _echo(body: Fields) -> dict[str, Any]:
    """As OpenAI's response object repeats the request, with null for what was not given. Types are checked
    where nobody else reads the field.
    """
    text, reasoning = body.object("text"), _reasoning(body)
    given = body.values
    return {
        "background": False,
        "instructions": given.get("instructions"),
        "max_output_tokens": given.get("max_output_tokens"),
        "max_tool_calls": None,
        "metadata": dict(body.object("metadata").values),
        "parallel_tool_calls": body.boolean("parallel_tool_calls", True),
        "previous_response_id": given.get("previous_response_id"),
        "prompt_cache_key": body.string("prompt_cache_key") or None,
        "reasoning": {"effort": reasoning.values.get("effort"), "summary": reasoning.values.get("summary")},
        "safety_identifier": body.string("safety_identifier") or None,
        "service_tier": "default",
        "store": body.boolean("store", True),
        "temperature": given.get("temperature"),
        "text": {"format": {"type": "text"}, **{k: v for k, v in text.values.items() if v is not None}},
        "tool_choice": "auto" if given.get("tool_choice") is None else given["tool_choice"],
        "tools": body.array("tools"),
        "top_logprobs": given.get("top_logprobs") or 0,
        "top_p": given.get("top_p"),
        "truncation": "disabled",  # nothing of a conversation is ever left out
        "user": body.string("user") or None,
    }
