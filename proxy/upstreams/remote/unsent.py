"""Fields that an upstream refuses: which of them its refusal names, and a request without them.

A 400 ends an agent's run, and what one server needs another one has never heard of. What is left out is told
in the log, and not sent to that upstream again.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from proxy.conversation.errors import BadRequest, ContextTooLong

_LIMITS = ("max_tokens", "max_completion_tokens")
# What every server takes, and what an answer would be another one without.
_NEEDED = frozenset(
    "messages model prompt suffix stream extra_body tools tool_choice response_format".split()
)
# How servers say that they do not take a field; what they say of its value is for the client.
_UNKNOWN = re.compile(
    r"unknown|unrecogni[sz]ed|unsupported|not support|isn't support|not permitted|not allowed|only allowed"
    r"|unexpected|extra |extra_forbidden|additional propert|(invalid|not a valid) (param|arg|field|prop)"
    r"|no such|not available|not compatible|deprecated",
    re.IGNORECASE,
)
# What a server proposes in its place.
_HINT = re.compile(r"did you mean\b.*", re.IGNORECASE | re.DOTALL)
# Of these the words of any refusal do: a model that cannot think so still answers.
_WISHES = frozenset(
    "reasoning_effort thinking_budget chat_template_kwargs thinking reasoning verbosity".split()
)


def refused_fields(error: BadRequest, params: Mapping[str, Any]) -> frozenset[str]:
    """The fields of a request that its refusal names as such, and that can be left out."""
    if isinstance(error, ContextTooLong):
        return frozenset()
    fields = _optional_fields(params)
    if error.param is not None and (of_param := fields & {*re.split(r"[.\[\]]+", error.param)}):
        named = of_param
    else:
        said = _HINT.sub("", error.message)
        named = {name for name in fields if re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", said)}
    return frozenset(named if _UNKNOWN.search(error.message) else named & _WISHES)


def depends_on_value(error: BadRequest, names: Collection[str]) -> bool:
    """Whether another value of these fields might be taken."""
    return "value" in error.message.lower() or not _WISHES.isdisjoint(names)


def without_fields(params: dict[str, Any], unsent: Collection[str]) -> dict[str, Any]:
    """The parameters without fields of these names, wherever they stand beside what every server takes. Of
    the two names for the most tokens to generate the other one is taken.
    """
    if not unsent:
        return params
    told = {name: value for name, value in params.items() if name not in unsent}
    for name, other in (_LIMITS, _LIMITS[::-1]):
        if name in params and name in unsent and other not in unsent:
            told[other] = params[name]
    if "extra_body" in told:
        told["extra_body"] = {key: value for key, value in told["extra_body"].items() if key not in unsent}
    for lists in ("messages", "tools"):
        if lists in told:
            told[lists] = [_without(one, unsent) for one in told[lists]]
    return told


# What stands in messages, parts, calls and tools in any case.
_ALWAYS = frozenset(
    "role content type text image_url input_audio file tool_calls tool_call_id id function name description "
    "parameters arguments".split()
)
_INNER = ("content", "tool_calls", "function")


def _without(value: Mapping[str, Any], unsent: Collection[str]) -> dict[str, Any]:
    """A message or a tool without these fields, in its parts and calls too."""
    kept = _ALWAYS | {value.get("type")}  # a part holds what it is under the name of its type
    told = {key: one for key, one in value.items() if key not in unsent or key in kept}
    if "name" in unsent and "role" in value:
        told.pop("name", None)
    for key in _INNER:
        inner = told.get(key)
        if isinstance(inner, list):
            told[key] = [_without(one, unsent) if isinstance(one, dict) else one for one in inner]
        elif isinstance(inner, dict):
            told[key] = _without(inner, unsent)
    return told


def _optional_fields(params: Mapping[str, Any]) -> set[str]:
    found = {*params, *params.get("extra_body", {})} - _NEEDED
    for one in (*params.get("messages", ()), *params.get("tools", ())):
        found |= _optional(one)
    return found


def _optional(value: Mapping[str, Any]) -> set[str]:
    kept = _ALWAYS | {value.get("type")}
    found = {key for key in value if key not in kept or (key == "name" and "role" in value)}
    for key in _INNER:
        inner = value.get(key)
        for one in inner if isinstance(inner, list) else (inner,):
            if isinstance(one, dict):
                found |= _optional(one)
    return found
