"""A conversation as the parameters of an OpenAI chat request, which LiteLLM's completion() takes too."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from proxy.conversation.message import (
    MediaPart,
    Message,
    Part,
    PastCall,
    ReasoningPart,
    Role,
    TextPart,
    UnknownPart,
    placeholder,
)
from proxy.conversation.request import ChatRequest, RawPrompt, ToolChoice, ToolMode, tool_object
from proxy.prompts.rendering import read_arguments, without_empty_tail

# Parameters that servers of open models take beside OpenAI's. Elsewhere an unknown field can be an error.
_OPEN_ONLY = ("top_k", "min_p", "repetition_penalty")
# Of what a client sends beside, what LiteLLM takes for every model and leaves out where the model has none of
# it. Any other field would be an argument of LiteLLM's own.
_HOSTED = frozenset(
    "user service_tier prompt_cache_key prompt_cache_retention safety_identifier verbosity prediction "
    "modalities audio web_search_options".split()
)


def completion_params(request: ChatRequest, *, open_server: bool) -> dict[str, Any]:
    """All parameters but the model. open_server: the upstream is a server named by its base_url."""
    tools = _tools(request, request.hosted_tools if open_server else ())
    params: dict[str, Any] = {
        "messages": list(conversation(request.messages, roles_as_sent=not open_server)),
        "stream": True,
        "stream_options": _stream_options(request),
        **_sampling(request),
        **tools,
        **_answer(request),
    }
    # with tools the upstream would match stop strings in calls too, so that we match them ourselves
    if request.sampling.stop and (not tools or request.tool_choice.mode is ToolMode.none):
        params["stop"] = list(request.sampling.stop)
    if open_server:
        params["extra_body"] = {**_extra(request), **_further(request, tools)}
    else:
        params |= {name: value for name, value in request.further.items() if name in _HOSTED}
        if request.sampling.top_k is not None:
            params["top_k"] = request.sampling.top_k
    if effort := request.template_options.get("reasoning_effort"):
        params["reasoning_effort"] = effort
    if request.thinking_budget and not open_server:
        params["thinking"] = {"type": "enabled", "budget_tokens": request.thinking_budget}
    return params


def _further(request: ChatRequest, tools: Mapping[str, Any]) -> dict[str, Any]:
    """What the client sent beside. Whether calls may be made at once can only be said of tools."""
    if tools:
        return dict(request.further)
    return {name: value for name, value in request.further.items() if name != "parallel_tool_calls"}


def raw_params(request: ChatRequest, raw: RawPrompt) -> dict[str, Any]:
    """For a server's /completions: everything but the model. What it cannot do of that it refuses itself."""
    numbers = _sampling(request)
    top = {"logprobs": numbers.pop("top_logprobs")} if numbers.pop("logprobs", None) else {}
    given = {
        "prompt": raw.content,
        "suffix": raw.suffix or None,
        "stop": list(request.sampling.stop) or None,
        "add_special_tokens": None if raw.special else False,
    }
    params = {
        **request.further,
        "stream": True,
        "stream_options": _stream_options(request),
        **{name: value for name, value in given.items() if value is not None},
        **numbers,
        **top,
        **_extra(request),
    }
    return params


def _stream_options(request: ChatRequest) -> dict[str, Any]:
    return {**request.further.get("stream_options", {}), "include_usage": True}


def _sampling(request: ChatRequest) -> dict[str, Any]:
    sampling = request.sampling
    given = {
        request.limit_name: sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": sampling.seed,
        "logit_bias": {str(token): bias for token, bias in sampling.logit_bias.items()} or None,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "logprobs": True if sampling.logprobs is not None else None,
        "top_logprobs": sampling.logprobs,
    }
    return {name: value for name, value in given.items() if value is not None}


def _extra(request: ChatRequest) -> dict[str, Any]:
    sampling = request.sampling
    numbers = zip(_OPEN_ONLY, (sampling.top_k, sampling.min_p, sampling.repetition_penalty), strict=True)
    extra: dict[str, Any] = {name: value for name, value in numbers if value is not None}
    options = {key: value for key, value in request.template_options.items() if key != "reasoning_effort"}
    if options:
        extra["chat_template_kwargs"] = options
    if request.thinking_budget is not None:
        extra["thinking_budget"] = request.thinking_budget
    if sampling.ignore_eos:
        extra["ignore_eos"] = True
    return extra


def _tools(request: ChatRequest, hosted: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The parameters that declare all tools: a server only takes calls of what is declared to it. Where none
    may be called they are needed for the calls of the history, which some servers refuse otherwise.

    hosted: those of the upstream's own provider.
    """
    tools = [*_functions(request), *map(dict, hosted)]
    none = request.tool_choice.mode is ToolMode.none
    if not tools or (none and not any(message.calls for message in request.messages)):
        return {}
    params: dict[str, Any] = {"tools": tools, "tool_choice": _choice(request.tool_choice, bool(hosted))}
    if not request.parallel_tool_calls:
        params["parallel_tool_calls"] = False
    return params


def _functions(request: ChatRequest) -> Iterator[dict[str, Any]]:
    for tool in request.tools:
        shown = tool_object(tool)
        if tool.strict:
            shown["function"]["strict"] = True
        extra = dict(request.tool_extra.get(tool.name, {}))
        shown["function"].update(extra.pop("function", {}))
        yield {**shown, **extra}


def _choice(choice: ToolChoice, hosted: bool) -> str | dict[str, Any]:
    match choice.mode:
        case ToolMode.named:
            return {"type": "function", "function": {"name": choice.name}}
        case ToolMode.auto if hosted and choice.hosted is not None:
            return dict(choice.hosted)
        case mode:
            return mode.value


def _answer(request: ChatRequest) -> dict[str, Any]:
    if request.answer_schema is not None:
        named = {"name": "answer", **request.answer_extra, "schema": dict(request.answer_schema)}
        return {"response_format": {"type": "json_schema", "json_schema": named}}
    return {"response_format": {"type": "json_object"}} if request.json_answer else {}


def conversation(messages: Sequence[Message], roles_as_sent: bool = True) -> Iterator[dict[str, Any]]:
    """The messages in OpenAI's form, with the further fields that the client sent.

    What agents send and upstreams refuse is corrected: calls and results without ids, arguments that are not
    an object, an empty answer at the end.

    roles_as_sent: if not, `developer` becomes `system`, because chat templates of open models leave out
        messages with a role that they do not know, and say nothing.
    """
    waiting: list[str] = []
    for number, message in enumerate(without_empty_tail(messages)):
        match message.role:
            case Role.assistant:
                waiting = [call.id or f"call_{number}_{i}" for i, call in enumerate(message.calls)]
                told = _assistant(message, waiting)
            case Role.tool:
                result = message.result
                call_id = message.call_id or (waiting[0] if waiting else f"call_{number}")
                if call_id in waiting:
                    waiting = [one for one in waiting if one != call_id]
                shown = message.parts if result is None else result.told
                told = {"role": "tool", "tool_call_id": call_id, "content": _content(shown, "\n")}
            case role:
                own = "" if message.sent_as == "developer" and not roles_as_sent else message.sent_as
                told = {"role": own or role.value, "content": _content(message.parts, "\n")}
        yield {**told, **message.extra}


def in_plain_words(request: ChatRequest) -> ChatRequest:
    """The request for an upstream that refused it as it was sent: text only. The same object where it is text
    already.
    """
    messages = tuple(message.in_words() for message in request.messages)
    same = all(ours is theirs for ours, theirs in zip(messages, request.messages, strict=True))
    if same and not request.tool_extra and not request.hosted_tools:
        return request
    return replace(request, messages=messages, tool_extra={}, hosted_tools=())


def _content(parts: Sequence[Part], between: str) -> str | list[dict[str, Any]]:
    """One text where all parts are plain text, because some servers take no list; otherwise the parts as they
    were sent.
    """
    shown = [_named(part) for part in parts if isinstance(part, TextPart | MediaPart | UnknownPart)]
    if all(isinstance(part, TextPart) and not part.extra and not part.refusal for part in shown):
        return between.join(part.text for part in shown if isinstance(part, TextPart))
    return [_part(part) for part in shown]


def _named(part: TextPart | MediaPart | UnknownPart) -> TextPart | MediaPart | UnknownPart:
    """The part, or the text that names one that Chat Completions has no form for."""
    return TextPart(placeholder(part)) if isinstance(part, UnknownPart) and not part.part else part


def _part(part: TextPart | MediaPart | UnknownPart) -> dict[str, Any]:
    if isinstance(part, MediaPart | UnknownPart):
        return dict(part.part)
    if part.refusal:
        return {"type": "refusal", "refusal": part.text, **part.extra}
    return {"type": "text", "text": part.text, **part.extra}


def _assistant(message: Message, ids: Sequence[str]) -> dict[str, Any]:
    content = _content(message.parts, "")
    told: dict[str, Any] = {"role": "assistant", "content": content}
    texts = [part for part in message.parts if isinstance(part, TextPart | MediaPart | UnknownPart)]
    if len(texts) == 1 and isinstance(texts[0], TextPart) and texts[0].refusal:
        told = {"role": "assistant", "content": None, "refusal": texts[0].text}
    if message.reasoning and "reasoning" not in message.extra:
        told["reasoning_content"] = message.reasoning
    if signed := [block for part in message.parts if (block := _signed(part))]:
        told["thinking_blocks"] = signed
    if message.calls:
        told["content"] = told["content"] or None
        told["tool_calls"] = [_call(call, call_id) for call, call_id in zip(message.calls, ids, strict=True)]
    return told


def _signed(part: Part) -> dict[str, str] | None:
    """Reasoning that its model wants back unchanged, in LiteLLM's form."""
    match part:
        case ReasoningPart(redacted=data) if data:
            return {"type": "redacted_thinking", "data": data}
        case ReasoningPart(text, signature) if signature:
            return {"type": "thinking", "thinking": text, "signature": signature}
        case _:
            return None


def _call(call: PastCall, call_id: str) -> dict[str, Any]:
    return {
        "id": call_id,
        "type": "function",
        "function": {"name": call.name, "arguments": _as_object(call.arguments)},
        **call.extra,
    }


def _as_object(text: str) -> str:
    """The text itself where it is a JSON object, else an object that holds it. Servers parse the history, and
    fail on anything else.
    """
    value = read_arguments(text)
    if not isinstance(value, dict):
        return json.dumps({"arguments": text})
    return text if text.lstrip().startswith("{") else "{}"
