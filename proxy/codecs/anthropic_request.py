"""Decodes the body of a Messages request (https://platform.claude.com/docs/en/api/messages/create).

As in the other dialects a field is refused only if its type is wrong, its value is out of range, or ignoring
it would change what the answer means. What is left out of the request is told as a warning.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from proxy.codecs.anthropic_errors import ThreadUnsupported
from proxy.codecs.anthropic_messages import History
from proxy.codecs.anthropic_tools import checked, decode_choice, decode_tools
from proxy.codecs.as_sent import further_fields
from proxy.codecs.base import Decoded
from proxy.codecs.fields import Fields, parse_object
from proxy.codecs.hints import polling_tools
from proxy.codecs.limits import MAX_INT, stop_strings
from proxy.codecs.openai_request import AnswerFormat, decode_answer_format
from proxy.codecs.thinking import Thinking, decode_thinking
from proxy.conversation.request import ChatRequest, Sampling
from proxy.conversation.session_id import from_body

_log = logging.getLogger(__name__)

_READ = frozenset(
    "model messages system max_tokens tools tool_choice stop_sequences temperature top_p top_k stream "
    "thinking metadata output_config output_format thread min_p seed chat_template_kwargs "
    "enable_thinking".split()
)


@dataclass(frozen=True, slots=True)
class MessagesShape:
    """tool_paths: where in the request each tool stands, by its name."""

    tool_paths: Mapping[str, str] = field(default_factory=dict)


def decode_request(data: bytes) -> Decoded:
    """Its shape is a MessagesShape. Raises BadRequest naming the field."""
    body = Fields(parse_object(data))
    for path in body.unknown(_READ):
        _log.debug("%s: unknown field, for an upstream alone", path)
    if body.values.get("thread") is not None:
        raise ThreadUnsupported
    tools = decode_tools(body)
    history = History(tools)
    messages = history.read(body)
    choice, parallel = decode_choice(body)
    callable_ = tools.callable(history.referenced, choice)
    told_in_place = frozenset(history.referenced)
    if told_in_place.issuperset(callable_):  # a prompt without any tool at its head tells no form of a call
        told_in_place = frozenset()
    thinking = _thinking(body)
    answer = _answer_format(body)
    request = ChatRequest(
        model=body.string("model"),
        messages=messages,
        tools=tuple(callable_.values()),
        tool_extra=tools.extra,
        tool_choice=checked(choice, callable_),
        parallel_tool_calls=parallel,
        sampling=_sampling(body),
        stream=body.boolean("stream"),
        json_answer=answer.json,
        answer_schema=answer.schema,
        answer_at=answer.at,
        answer_extra=answer.extra,
        template_options=thinking.options,
        thinking_budget=thinking.budget,
        include_reasoning=thinking.shown,
        polling=polling_tools(body.values),
        session=from_body(body.values),
        told_in_place=told_in_place,
        warnings=(*tools.left_out, *history.left_out),
        further={**further_fields(body, "messages", _READ), **answer.further},
    )
    return Decoded(request, MessagesShape(tools.paths))


def _sampling(body: Fields) -> Sampling:
    top_k = body.integer("top_k", -1, MAX_INT)
    return Sampling(
        max_tokens=body.integer("max_tokens", 1, MAX_INT),
        temperature=body.number("temperature", 0, 2),
        top_p=body.number("top_p", 0, 1),
        top_k=0 if top_k == -1 else top_k,
        min_p=body.number("min_p", 0, 1),
        seed=body.integer("seed", -MAX_INT - 1, 2 * MAX_INT + 1),
        stop=stop_strings("stop_sequences", body.array("stop_sequences")),
    )


def _thinking(body: Fields) -> Thinking:
    """Without a word of the client the model thinks as it does by default, and nothing of it is shown:
    clients that have not asked for thinking take the first block for the text.
    """
    thinking = decode_thinking(body)
    asked = body.values.get("thinking")
    wish = asked if isinstance(asked, dict) else {}
    wanted = wish.get("type") not in (None, "disabled") or thinking.options.get("enable_thinking") is True
    shown = thinking.shown and wanted and wish.get("display") != "omitted"
    return Thinking(thinking.options, thinking.budget, shown)


def _answer_format(body: Fields) -> AnswerFormat:
    """What the text of the answer is to be; older clients send it as `output_format`."""
    newer, older = body.object("output_config").object("format"), body.object("output_format")
    return decode_answer_format(newer if newer.values else older)
