"""Splits a refused turn into its calls, so that those which are right need not be asked for again."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from repair.events import Calls, Draft, Junk, Text, join_sections, settle_reasoning
from repair.formats import Wire
from repair.ladder import emit_plain, repair_call
from repair.names import resolve_name
from repair.placement import settle_inline
from repair.regions import is_blank
from repair.stop import ContentStops
from repair.stream import StreamParser
from repair.strict import decode_strict
from repair.tools import ToolSet
from repair.types import Accepted, Body, Problem, RawCall, Rejected, ToolCall
from repair.valid_arguments import right_arguments

_NAMED = re.compile(r'\s*\{\s*"name"\s*:\s*"([^"\\\x00-\x1f]+)"')
_KEYED = re.compile(r'\s*\{\s*"([^"\\\x00-\x1f]+)"\s*:')
_HEAD = re.compile(
    r'\s*\{\s*"name"\s*:\s*"([^"\\\x00-\x1f]+)"\s*,\s*"(?:arguments|parameters)"\s*:\s*(.*)\}\s*',
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Part:
    """One call.

    name: the declared tool that it names; "" where it names none.
    right: of a refused call, the arguments in which nothing is wrong.
    sound: of a refused call, see sound_call().
    """

    name: str
    outcome: Accepted | Rejected
    right: Mapping[str, Any] = field(default_factory=dict)
    sound: ToolCall | None = None


@dataclass(frozen=True, slots=True)
class Parts:
    """A turn's calls in order.

    said: the text around them.
    open_ended: the last part stands for one call or more.
    raws: everything that was read as a call.
    """

    calls: tuple[Part, ...]
    said: str = ""
    open_ended: bool = False
    raws: tuple[RawCall, ...] = ()


def take_apart(
    text: str,
    tools: ToolSet,
    problems: tuple[Problem, ...],
    *,
    format: str | Wire = "auto",
    generation_prompt: str = "",
    cut: bool = False,
    stops: tuple[str, ...] = (),
) -> Parts | None:
    """The calls of a whole turn that was refused for `problems`; None where it can only be asked for as a
    whole.

    cut: the upstream's finish was `length`.
    stops: as in TurnPolicy.

    A call stands for itself only where its bounds are certain: in a closed block of calls in which every
    refused call is sound in its syntax (a quote that was not escaped may end a call too early, and what
    follows is then not another call). The last block may be otherwise, and is then one part as a whole.
    None where that does not hold, or where something else than single calls is wrong.
    """
    parser = StreamParser(tools, format, generation_prompt=generation_prompt)
    events = ContentStops(stops).close([*parser.feed(text), *parser.close()])
    events = settle_reasoning(events, drafts=True)
    events = join_sections(settle_inline(events))
    regions = [event for event in events if isinstance(event, Calls)]
    said = "".join(event.text for event in events if isinstance(event, Text))
    if not regions or any(isinstance(event, Draft | Junk) for event in events):
        return None
    if any(event.bare for event in regions) and (len(regions) > 1 or not is_blank(said)):
        return None
    blocks = [_judge(event, tools, cut and event is events[-1]) for event in regions]
    found = [problem for block in blocks for problem in block.problems]
    if sorted(map(str, found)) != sorted(map(str, problems)) or not all(block.clear for block in blocks[:-1]):
        return None
    last = blocks[-1]
    if len(blocks) > 1 and not last.clear and not all(part.name for part in last.parts):
        return None
    parts = [part for block in blocks for part in (block.parts if block.clear else (block.whole(),))]
    raws = tuple(raw for event in regions for raw in event.region.calls)
    return Parts(tuple(parts), said, not last.clear, raws)


@dataclass(frozen=True, slots=True)
class _Block:
    """The calls of one region. clear: each of them stands for itself."""

    parts: tuple[Part, ...]
    problems: tuple[Problem, ...]
    clear: bool

    def whole(self) -> Part:
        if len(self.parts) == 1:
            return replace(self.parts[0], outcome=Rejected(self.problems))
        told = Problem(
            "", "block", f"none of these {len(self.parts)} calls was executed: send all of them again"
        )
        return Part("", Rejected((*self.problems, told)))


def _judge(event: Calls, tools: ToolSet, cut: bool) -> _Block:
    truncated = cut and not event.region.closed
    problems = [Problem("", "truncated", "the output limit was reached inside a call")] if truncated else []
    parts: list[Part] = []
    clear = event.region.closed
    for raw in event.region.calls:
        outcome = repair_call(raw, tools)
        if isinstance(outcome, Rejected):
            problems += outcome.problems
            clear = clear and _is_sound(raw)
        name = _named(raw, tools)
        parts.append(
            _refused(raw, name, tools, outcome) if isinstance(outcome, Rejected) else Part(name, outcome)
        )
    return _Block(tuple(parts), tuple(problems), clear)


def _refused(raw: RawCall, name: str, tools: ToolSet, outcome: Rejected) -> Part:
    plain = emit_plain(raw, tools) if name else None
    if plain is None:
        return Part(name, outcome)
    return refused_part(ToolCall(name, plain.arguments), tools, outcome)


def refused_part(call: ToolCall, tools: ToolSet, outcome: Rejected) -> Part:
    """The part of a refused call. call: as the model wrote it, by the declared name."""
    right = right_arguments(call, tools, outcome.problems)
    return Part(call.name, outcome, right, sound_call(call, tools))


def sound_call(call: ToolCall, tools: ToolSet) -> ToolCall | None:
    """The call itself where its tool is declared, its arguments are a sound JSON object, and only its schema
    refuses them: a validating client can tell the model what is wrong. None where it is refused for anything
    else.
    """
    tool = tools.get(call.name)
    try:
        value, end = decode_strict(call.arguments)
    except ValueError:
        return None
    if tool is None or not isinstance(value, dict) or call.arguments[end:].strip():
        return None
    return None if tool.schema.validator.is_valid(value) else call


def _is_sound(raw: RawCall) -> bool:
    """Whether only the meaning of a call can be wrong."""
    if raw.problems or raw.fixes:
        return False
    if raw.body is Body.tree:
        return True
    try:
        value, end = decode_strict(raw.text)
    except ValueError:
        return False
    return isinstance(value, dict) and not raw.text[end:].strip()


def _named(raw: RawCall, tools: ToolSet) -> str:
    written = raw.name
    if not written and raw.body in (Body.call, Body.keyed):
        found = (_NAMED if raw.body is Body.call else _KEYED).match(raw.text)
        written = found.group(1) if found else ""
    resolved = resolve_name(written, tools) if written else None
    return "" if resolved is None or isinstance(resolved, Problem) else resolved[0].name


def emit_as_it_is(raw: RawCall, tools: ToolSet) -> ToolCall | None:
    """The call with its arguments as the model wrote them, broken or not; None where they cannot be told."""
    plain = emit_plain(raw, tools)
    if plain is not None:
        return plain
    if raw.body is Body.arguments and raw.name:
        return ToolCall(raw.name, raw.text)
    head = _HEAD.fullmatch(raw.text) if raw.body is Body.call else None
    return ToolCall(head.group(1), head.group(2).strip()) if head else None
