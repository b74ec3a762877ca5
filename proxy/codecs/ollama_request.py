"""Decodes the bodies of /api/chat and /api/generate (https://docs.ollama.com/api/chat, .../api/generate).

A prompt is a conversation of one message, unless it is to be gone on from as it stands. What Chat Completions
has too is read as it is there, so that one conversation means the same in both; streaming is the default.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from proxy.codecs.as_sent import further_fields
from proxy.codecs.base import Decoded
from proxy.codecs.fields import Fields, describe, parse_object, refuse
from proxy.codecs.hints import polling_tools
from proxy.codecs.limits import MAX_INT, stop_strings
from proxy.codecs.ollama_messages import decode_history, image_parts
from proxy.codecs.openai_messages import decode_messages
from proxy.codecs.openai_request import MAX_TOP_LOGPROBS
from proxy.codecs.openai_tools import decode_tools
from proxy.codecs.thinking import Thinking, decode_thinking
from proxy.conversation.errors import BadRequest
from proxy.conversation.message import Message
from proxy.conversation.request import ChatRequest, RawPrompt, Sampling
from proxy.conversation.session_id import from_body

_log = logging.getLogger(__name__)

_READ = frozenset(
    "model name messages tools tool_choice parallel_tool_calls prompt system images suffix raw format "
    "options think stream keep_alive logprobs top_logprobs template context".split()
)
# Of a prompt: what is left out, and what the client is told about it.
_LEFT_OUT = {
    "template": "template is not served here: the model's own is used",
    "context": "context is not served here: a conversation is sent as messages to /api/chat",
}


@dataclass(frozen=True, slots=True)
class OllamaShape:
    """What only Ollama's API has. name: of the model, as the client wrote it, which every part of the answer
    repeats. as_message: the answer is a message, else a text. begun_ns: when the request came, by the
    monotonic clock. tool_paths: where in the request each tool stands, by its name.
    """

    name: str = ""
    as_message: bool = True
    begun_ns: int = 0
    tool_paths: Mapping[str, str] = field(default_factory=dict)


def decode_chat(data: bytes) -> Decoded:
    """Its shape is an OllamaShape. Without messages no answer is asked for. Raises BadRequest."""
    body = _body(data)
    return _decoded(body, decode_history(body), as_message=True)


def decode_prompt(data: bytes) -> Decoded:
    """Its shape is an OllamaShape. Without a prompt no answer is asked for. Raises BadRequest."""
    body = _body(data)
    prompt, images = body.string("prompt"), image_parts(body)
    suffix, raw = body.string("suffix"), body.boolean("raw")
    if not prompt and not images and not suffix:
        return _decoded(body, (), as_message=False)
    if raw or suffix:
        _refuse_what_only_conversations_have(body, "raw" if raw else "suffix")
        return _decoded(body, (), as_message=False, prompts=(RawPrompt(prompt, suffix),))
    user = {"role": "user", "content": [*images, prompt] if images else prompt}
    system = {"role": "system", "content": body.string("system")}
    told = [system, user] if system["content"] else [user]
    return _decoded(body, decode_messages(Fields({"messages": told})), as_message=False)


def _refuse_what_only_conversations_have(body: Fields, why: str) -> None:
    """why: the field that says that the prompt is gone on from as it stands."""
    for key in ("system", "images", "format"):
        if body.values.get(key):
            raise BadRequest(f"{key}: not beside {why}, where no template writes the prompt", param=key)


def decode_name(data: bytes) -> Decoded:
    """A request that names a model and asks for no answer. Raises BadRequest."""
    name = _named(Fields(parse_object(data)))
    return Decoded(ChatRequest(name, (), n=0), OllamaShape(name))


def _body(data: bytes) -> Fields:
    body = Fields(parse_object(data))
    for path in body.unknown(_READ):
        _log.debug("%s: unknown field, for an upstream alone", path)
    return body


def _decoded(
    body: Fields,
    messages: tuple[Message, ...],
    as_message: bool,
    prompts: tuple[RawPrompt, ...] = (),
) -> Decoded:
    name = _name(body) if messages or prompts else _named(body)
    tools = decode_tools(Fields({}) if prompts else body)
    thinking = _thinking(body)
    json_answer, schema = _format(body)
    request = ChatRequest(
        model=name,
        messages=messages,
        prompts=prompts,
        tools=tuple(tools.definitions.values()),
        tool_extra=tools.extra,
        hosted_tools=tools.hosted,
        tool_choice=tools.choice,
        parallel_tool_calls=body.boolean("parallel_tool_calls", True),
        sampling=_sampling(body),
        stream=body.boolean("stream", True),
        n=1 if messages or prompts else 0,
        json_answer=json_answer,
        answer_schema=schema,
        answer_at="format",
        template_options=thinking.options,
        thinking_budget=thinking.budget,
        include_reasoning=thinking.shown,
        polling=polling_tools(body.values),
        session=from_body(body.values),
        warnings=(*tools.left_out, *(() if as_message else _left_out(body))),
        further=further_fields(body, "ollama", _READ),
    )
    return Decoded(request, OllamaShape(name, as_message, time.monotonic_ns(), tools.paths))


def _left_out(prompt: Fields) -> tuple[str, ...]:
    return tuple(why for key, why in _LEFT_OUT.items() if prompt.values.get(key))


def _name(body: Fields) -> str:
    return body.string("model") or body.string("name")


def _named(body: Fields) -> str:
    """Of a request that asks for nothing but a model. Raises BadRequest where it names none."""
    return _name(body) or body.required_string("model")


def _thinking(body: Fields) -> Thinking:
    """A level counts as an effort, as in Chat Completions. Without a word of the client the model thinks as
    it does by default, and what it thinks is shown.
    """
    match body.values.get("think"):
        case None | "":
            return decode_thinking(Fields({}))
        case bool(wanted):
            return decode_thinking(Fields({"enable_thinking": wanted, "include_reasoning": wanted}))
        case str(level):
            return decode_thinking(Fields({"reasoning_effort": level}))
        case other:
            refuse("think", "a boolean or a level", other)


def _format(body: Fields) -> tuple[bool, Mapping[str, Any] | None]:
    """Whether the answer is to be JSON, and its schema."""
    match body.values.get("format"):
        case None | "":
            return False, None
        case "json":
            return True, None
        case dict():
            return True, body.object("format").values
        case str(other):
            raise BadRequest(f'format must be "json" or a JSON Schema, got {describe(other)}', param="format")
        case other:
            refuse("format", '"json" or a JSON Schema', other)


def _sampling(body: Fields) -> Sampling:
    """What 0 or less means "none" or "any" of to Ollama, and its clients send, is as if it was not sent."""
    options = body.object("options")
    limit = options.integer("num_predict", -MAX_INT, MAX_INT) or 0
    seed = options.integer("seed", -MAX_INT - 1, 2 * MAX_INT + 1)
    return Sampling(
        max_tokens=limit if limit > 0 else None,
        temperature=options.number("temperature", 0, 2),
        top_p=options.number("top_p", 0, 1),
        top_k=_top_k(options),
        min_p=options.number("min_p", 0, 1),
        seed=None if seed is not None and seed < 0 else seed,
        stop=_stop(options),
        presence_penalty=options.number("presence_penalty", -2, 2),
        frequency_penalty=options.number("frequency_penalty", -2, 2),
        repetition_penalty=options.number("repeat_penalty", 0, 10) or None,
        logprobs=_logprobs(body),
    )


def _top_k(options: Fields) -> int | None:
    top_k = options.integer("top_k", -MAX_INT, MAX_INT)
    return None if top_k is None else max(0, top_k)


def _stop(options: Fields) -> tuple[str, ...]:
    value = options.values.get("stop")
    return stop_strings("options.stop", [value] if isinstance(value, str) else options.array("stop"))


def _logprobs(body: Fields) -> int | None:
    top = body.integer("top_logprobs", 0, MAX_TOP_LOGPROBS)
    return (top or 0) if body.boolean("logprobs") else None
