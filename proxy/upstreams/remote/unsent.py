"""Fields that an upstream refuses: which of them its refusal names, and a request without them.

A 400 ends an agent's run, and what one server needs another one has never heard of. What is left out is told
in the log and to the client, and not sent to that upstream again.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from proxy.conversation.errors import BadRequest, ContextTooLong

_OTHER_LIMIT = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
# Of `stream_options`: what we ask for, and an answer's tokens could not be counted without.
_OURS = frozenset({"include_usage"})
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
# What a server proposes in its place, and of whom it speaks: `user` is the name of a field and of a role.
_LISTED = r"""["'`]?\w+["'`]?(?:(?:,\s*|\s+(?:and|or)\s+)["'`]?\w+["'`]?)*"""
_NO_NAMES = re.compile(
    rf"""did\ you\ mean\b.* | (?:{_LISTED}\s+)?\broles?\b(?:["'`\s:=]{{1,6}}{_LISTED})?""",
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)
# Where a message writes a name as a name. Many names are words, too, which say nothing of a field.
_WORD = r"\w[\w-]*"
_KIND = r"(?:param(?:eter)?|arg(?:ument)?|property|propertie|field)(?:s|\(s\))?"
_NAMES = (
    re.compile(r"""["'`“‘]([\w.\[\]-]+)\\?["'`”’]"""),
    re.compile(rf"(?<![\w-])({_WORD}(?:\[\w+\]|\.{_WORD})+)"),  # a path
    re.compile(rf"""\b{_KIND}[\s:="'`]{{1,3}}({_WORD})""", re.IGNORECASE),
    re.compile(rf"""(?<![\w-])({_WORD})["'`\s]{{1,3}}{_KIND}\b""", re.IGNORECASE),
    re.compile(rf"(?:^|[:;,>(])\s*({_WORD})(?=\s*:)"),
    re.compile(rf":\s*({_WORD}(?:(?:,|\s+and)\s+{_WORD})*)\s*(?=$|[.;)])"),
    re.compile(r"(?<![\w-])(\w+_\w+)(?![\w-])"),  # which is no word of a sentence
)
# Of these the words of any refusal do: a model that cannot think so still answers.
_WISHES = frozenset(
    "reasoning_effort thinking_budget chat_template_kwargs thinking reasoning verbosity".split()
)


@dataclass(frozen=True, slots=True)
class Sent:
    """What an upstream is asked with.

    params: the parameters of the request.
    left_out: names of fields that the client's request holds and that the upstream has refused.
    warnings: what else of the client's request is left out.
    """

    params: Mapping[str, Any] = field(default_factory=dict)
    left_out: frozenset[str] = frozenset()
    warnings: tuple[str, ...] = ()

    def told(self, upstream: str) -> tuple[str, ...]:
        """The warnings for the client. upstream: its name."""
        return (*(self._told(name, upstream) for name in sorted(self.left_out)), *self.warnings)

    def _told(self, name: str, upstream: str) -> str:
        other = _OTHER_LIMIT.get(name, "")
        instead = f", {other} is sent in its place" if other in self.params else ""
        return f"{name}: upstream {upstream} does not take it: left out{instead}"


def refused_fields(error: BadRequest, params: Mapping[str, Any]) -> frozenset[str]:
    """The fields of a request that its refusal names as such, and that can be left out."""
    if isinstance(error, ContextTooLong):
        return frozenset()
    fields = _optional_fields(params)
    of_param = {*re.split(r"[.\[\]]+", error.param)} if error.param else set()
    named = fields & of_param or fields & _written(error.message)
    options = _stream_options(params)
    if "stream_options" in named and options:  # our own wish to be told the usage stays
        named = named - {"stream_options"} | (named & options or options)
    return frozenset(named if _UNKNOWN.search(error.message) else named & _WISHES)


def _written(message: str) -> set[str]:
    """What stands in a message as the name of something."""
    said = _NO_NAMES.sub("", message)
    found = (place.group(1) for form in _NAMES for place in form.finditer(said))
    return {name for one in found for name in (one, *re.split(r"[^\w-]+", one))}


def depends_on_value(error: BadRequest, names: Collection[str]) -> bool:
    """Whether another value of these fields might be taken."""
    return "value" in error.message.lower() or not _WISHES.isdisjoint(names)


def without_fields(params: Mapping[str, Any], unsent: Collection[str]) -> Sent:
    """The parameters without fields of these names, wherever they stand beside what every server takes. Of
    the two names for the most tokens to generate the other one is taken.
    """
    gone: set[str] = set()
    told = _left(params, unsent, _NEEDED, gone)
    for name, other in _OTHER_LIMIT.items():
        if name in gone and other not in unsent:
            told[other] = params[name]
    for place, kept in (("extra_body", _NEEDED), ("stream_options", _OURS)):
        if place in told:
            told[place] = _left(told[place], unsent, kept, gone)
    for lists in ("messages", "tools"):
        if lists in told:
            told[lists] = [_without(one, unsent, gone) for one in told[lists]]
    return Sent(told, frozenset(gone))


def _left(
    value: Mapping[str, Any], unsent: Collection[str], kept: Collection[str], gone: set[str]
) -> dict[str, Any]:
    """The object without these fields, whose names are added to `gone`. kept: names that stay."""
    names = {name for name in value if name in unsent and name not in kept}
    gone |= names
    return {name: one for name, one in value.items() if name not in names}


# What stands in messages, parts, calls and tools in any case.
_ALWAYS = frozenset(
    "role content type text image_url input_audio file tool_calls tool_call_id id function name description "
    "parameters arguments".split()
)
_INNER = ("content", "tool_calls", "function")


def _without(value: Mapping[str, Any], unsent: Collection[str], gone: set[str]) -> dict[str, Any]:
    """A message or a tool without these fields, in its parts and calls too."""
    told = _left(value, unsent, _kept(value), gone)
    for key in _INNER:
        inner = told.get(key)
        if isinstance(inner, list):
            told[key] = [_without(one, unsent, gone) if isinstance(one, dict) else one for one in inner]
        elif isinstance(inner, dict):
            told[key] = _without(inner, unsent, gone)
    return told


def _kept(value: Mapping[str, Any]) -> set[str]:
    """What stays of a message, a part, a call or a tool: a part holds what it is under the name of its type,
    and of messages alone the name may go.
    """
    return ({*_ALWAYS} - {"name"} if "role" in value else {*_ALWAYS}) | {str(value.get("type"))}


def _stream_options(params: Mapping[str, Any]) -> set[str]:
    """Those that the client has added to ours."""
    return {*params.get("stream_options", {})} - _OURS


def _optional_fields(params: Mapping[str, Any]) -> set[str]:
    found = {*params, *params.get("extra_body", {})} - _NEEDED
    for one in (*params.get("messages", ()), *params.get("tools", ())):
        found |= _optional(one)
    return found | _stream_options(params)


def _optional(value: Mapping[str, Any]) -> set[str]:
    found = value.keys() - _kept(value)
    for key in _INNER:
        inner = value.get(key)
        for one in inner if isinstance(inner, list) else (inner,):
            if isinstance(one, dict):
                found |= _optional(one)
    return found
