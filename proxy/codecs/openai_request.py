"""Decodes the body of a Chat Completions request (https://platform.openai.com/docs/api-reference/chat).

Agents treat a 400 as the end of their run. So a field is refused only if its type is wrong, its value is out
of range, or ignoring it would change what the answer means; all else is accepted and logged at debug.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from proxy.chat import ChatRequest, Sampling, ToolChoice, ToolMode
from proxy.codecs.fields import Fields, check_range, describe, parse_object, refuse
from proxy.codecs.hints import polling_tools, session_hint
from proxy.codecs.openai_messages import decode_messages
from proxy.errors import BadRequest
from repair.types import ToolDefinition

_log = logging.getLogger(__name__)

_READ = frozenset(
    "model messages tools functions tool_choice function_call parallel_tool_calls stream stream_options "
    "max_tokens max_completion_tokens temperature top_p top_k min_p seed stop logit_bias presence_penalty "
    "frequency_penalty repetition_penalty ignore_eos n logprobs top_logprobs response_format "
    "chat_template_kwargs enable_thinking reasoning_effort prompt_cache_key user metadata".split()
)
_MAX_INT = 2**63 - 1
_MAX_STOPS = 64
# The renderer's own arguments: a client that could set them would change what is rendered, not how.
_RESERVED_OPTIONS = frozenset(
    "self conversation messages tools documents chat_template add_generation_prompt continue_final_message "
    "tokenize padding truncation max_length return_tensors return_dict return_assistant_tokens_mask "
    "sanitize_control_tokens tokenizer_kwargs".split()
)


def decode_request(data: bytes) -> ChatRequest:
    """Raises BadRequest naming the field."""
    body = Fields(parse_object(data))
    for path in body.unknown(_READ):
        _log.debug("%s: unknown field, ignored", path)
    messages = decode_messages(body)
    tools = _tools(body)
    _refuse_unsupported(body)
    return ChatRequest(
        model=body.string("model"),
        messages=messages,
        tools=tuple(tools.definitions.values()),
        tool_paths=tools.paths,
        tool_choice=tools.choice,
        parallel_tool_calls=body.boolean("parallel_tool_calls", True),
        sampling=_sampling(body),
        stream=body.boolean("stream"),
        include_usage=body.object("stream_options").boolean("include_usage"),
        answer_schema=_answer_schema(body),
        template_options=_template_options(body),
        polling=polling_tools(body.values),
        session_hint=session_hint(body.values),
    )


def _refuse_unsupported(body: Fields) -> None:
    """Refuses what would have to change the answer's shape or meaning, were it honoured."""
    if (body.integer("n", 1, 128) or 1) > 1:
        raise BadRequest(f"n must be 1, got {body.values['n']}: one choice is served", param="n")
    if body.boolean("logprobs"):
        raise BadRequest("logprobs are not served, got true", param="logprobs", code="unsupported_parameter")


def _answer_schema(body: Fields) -> dict[str, Any] | None:
    """The model is told the schema; nothing forces it. json_object comes with a prompt that asks for JSON."""
    wanted = body.object("response_format")
    kind = wanted.string("type", "text")
    if kind != "json_schema":
        return None
    _log.info("response_format.json_schema is given to the model as an instruction, and not enforced")
    inner = wanted.object("json_schema")
    return dict(inner.object("schema").values)


def _sampling(body: Fields) -> Sampling:
    top_k = body.integer("top_k", -1, _MAX_INT)
    return Sampling(
        max_tokens=_max_tokens(body),
        temperature=body.number("temperature", 0, 2),
        top_p=body.number("top_p", 0, 1),
        top_k=0 if top_k == -1 else top_k,
        min_p=body.number("min_p", 0, 1),
        seed=body.integer("seed", -_MAX_INT - 1, 2 * _MAX_INT + 1),
        stop=_stop(body),
        logit_bias=_logit_bias(body),
        presence_penalty=body.number("presence_penalty", -2, 2),
        frequency_penalty=body.number("frequency_penalty", -2, 2),
        repetition_penalty=_repetition_penalty(body),
        ignore_eos=body.boolean("ignore_eos"),
    )


def _max_tokens(body: Fields) -> int | None:
    """-1 means "no limit" to several local servers, and their clients send it."""
    for key in ("max_completion_tokens", "max_tokens"):
        if body.values.get(key) == -1:
            continue
        limit = body.integer(key, 1, _MAX_INT)
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
        case str():
            return (value,) if value else ()
        case list():
            for i, item in enumerate(value):
                if not isinstance(item, str):
                    refuse(f"stop[{i}]", "a string", item)
            if len(value) > _MAX_STOPS:
                raise BadRequest(f"stop: at most {_MAX_STOPS} strings, got {len(value)}", param="stop")
            return tuple(item for item in value if item)
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


def _template_options(body: Fields) -> dict[str, Any]:
    options = {
        key: value
        for key, value in body.object("chat_template_kwargs").values.items()
        if key not in _RESERVED_OPTIONS
    }
    if body.values.get("enable_thinking") is not None:
        options.setdefault("enable_thinking", body.boolean("enable_thinking"))
    if effort := body.string("reasoning_effort"):
        options.setdefault("reasoning_effort", effort)
    return options


@dataclass(frozen=True, slots=True)
class _Tools:
    """The tools of a request by name, where each was declared, and the choice among them."""

    definitions: dict[str, ToolDefinition]
    paths: dict[str, str]
    choice: ToolChoice


def _tools(body: Fields) -> _Tools:
    definitions: dict[str, ToolDefinition] = {}
    paths: dict[str, str] = {}
    for fields in _declarations(body):
        tool = _function(fields)
        # The first of two tools of one name counts: it is the only one that the model will be shown.
        if definitions.setdefault(tool.name, tool) is tool:
            paths[tool.name] = fields.path
        else:
            _log.debug("%s: tool %r is declared twice, the first counts", fields.path, tool.name)
    choice, allowed = _tool_choice(body)
    if allowed is not None:
        definitions = {name: tool for name, tool in definitions.items() if name in allowed}
    _check_choice(choice, definitions)
    return _Tools(definitions, paths, choice)


def _declarations(body: Fields) -> Iterator[Fields]:
    """The objects that hold name and parameters of each function, in order."""
    for i, item in enumerate(body.array("tools")):
        function = _function_of(Fields.of(item, f"tools[{i}]"))
        if function is not None:
            yield function
    for i, item in enumerate(body.array("functions")):
        yield Fields.of(item, f"functions[{i}]")


def _function_of(fields: Fields) -> Fields | None:
    kind = fields.string("type", "function")
    if kind != "function":
        _log.debug("%s: tool type %r is not served, ignored", fields.path, kind)
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
            return ToolChoice(_mode(key, value)), None
        case dict():
            return _choice_object(Fields(value, key))
        case _:
            refuse(key, "a string or an object", value)


def _mode(path: str, value: str) -> ToolMode:
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
        return ToolChoice(_mode(inner.at("mode"), inner.string("mode", "auto"))), names
    if kind in ("auto", "none", "required", "any"):
        return ToolChoice(_mode(fields.at("type"), kind)), None
    return ToolChoice(ToolMode.named, _choice_name(fields)), None


def _choice_name(fields: Fields) -> str:
    inner = fields.object("function") if "function" in fields.values else fields
    return inner.required_string("name")


def _check_choice(choice: ToolChoice, tools: dict[str, ToolDefinition]) -> None:
    if choice.mode is ToolMode.named and choice.name not in tools:
        known = ", ".join(tools) or "no tools"
        raise BadRequest(
            f"tool_choice: no tool named {describe(choice.name)} in this request, which declares {known}",
            param="tool_choice",
        )
    if choice.mode is ToolMode.required and not tools:
        raise BadRequest("tool_choice: required, but this request declares no tools", param="tool_choice")
