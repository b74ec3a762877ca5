"""Regions: parts of a text that a wire format reads as calls; and the readers that several formats share.

All readers see the whole rest of the turn. None looks at more text than it consumes, except for the search
for its own closing marker.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Protocol

from repair.lenient import Reading, read_value
from repair.limits import LIMITS
from repair.strict import decode_strict
from repair.tools import ToolSet
from repair.types import Body, Fix, FixKind, Problem, RawCall, ToolCall

SPECIAL_TOKENS = (
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end_of_text|>",
    "<|endoftext|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<end_of_turn>",
    "<turn|>",
    "<eos>",
    "</s>",
)


@dataclass(frozen=True, slots=True)
class Region:
    """One envelope: text[start:end] with its calls, in order.

    closed: its closing marker (or whatever ends it for certain) was there.
    body_start: where the envelope's content begins.
    fragile: literals that put the end of the region in doubt if they occur in the text after it.
    """

    start: int
    end: int
    body_start: int
    calls: tuple[RawCall, ...]
    closed: bool = True
    fragile: tuple[str, ...] = ()


class Format(Protocol):
    """One wire format. opener: a literal that may begin a region. reasoning: (open, close) literals."""

    @property
    def NAME(self) -> str: ...

    @property
    def OPENERS(self) -> tuple[str, ...]: ...

    @property
    def CLOSERS(self) -> tuple[str, ...]: ...

    @property
    def REASONING(self) -> tuple[tuple[str, str], ...]: ...

    def parse(self, text: str, at: int, tools: ToolSet) -> Region | None:
        """The region that begins at text[at:], where one of OPENERS stands; None if there is none."""

    def render(self, calls: tuple[ToolCall, ...]) -> str:
        """The calls as a model of this family writes them."""


def match_literal(text: str, at: int, literals: tuple[str, ...]) -> str | None:
    """The longest of `literals` that stands at text[at:]."""
    if not text.startswith(literals, at):
        return None
    return max((one for one in literals if text.startswith(one, at)), key=len)


def problem_call(text: str, rule: str, message: str) -> RawCall:
    """A call that is known to be invalid."""
    return RawCall("", Body.call, text, False, problems=(Problem("", rule, message),))


def too_many(text: str, at: int) -> Region:
    """Everything from `at` on, in a turn that has as many calls as it may have."""
    call = problem_call("", "too_many_calls", f"more than {LIMITS.calls} calls in one turn")
    return Region(at, len(text), at, (call,), closed=False)


_SPACE = re.compile(r"[\s\x00-\x1f\ufeff]*")
_NOT_SPACE = re.compile(r"[^\s\x00-\x1f\ufeff]")
_BETWEEN = re.compile(r"[\s\x00-\x1f\ufeff;,]*")
_EXTRA = re.compile(r"[\s}\]]*[}\]]")
_EXTRA_BRACE = re.compile(r"(?:\s*\})+(?=\s*[,\]])")
_EXTRA_BETWEEN = re.compile(r"(?:\s*[}\]])+(?=\s*[;,]?\s*\{)")
_REST = re.compile(r"""["':]|,\s*["']""")
_NAME_KEY = re.compile(r'"(?:name|tool_name|function_name|tool|function)"\s*:')
_ARRAY = re.compile(r"\s*\[\s*\{")
_OBJECT = re.compile(r"\s*\{")
_NEXT = re.compile(r"\s*,\s*\{")
_NEXT_ITEM = re.compile(r"\}\s*,?\s*\{")
_WRONG_END = re.compile(r"</(?:tool|function|tool_?call|tool_calls|function_call|tool_use|invoke)>")
# what may be left of a call between another one and the closing marker
_JUNK_CHARS = re.compile(r'[{}\[\]"<\ufffd]|\w\(')


def skip_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


@dataclass(frozen=True, slots=True)
class Span:
    """One JSON value in the text.

    end: index after it.
    closed: it is complete, or its end is certain.
    strict: it was read as strict JSON.
    """

    text: str
    end: int
    closed: bool
    problem: Problem | None = None
    strict: bool = False


def read_span(text: str, at: int, closers: tuple[str, ...], openers: tuple[str, ...] = ()) -> Span:
    """The JSON value at `at`: read strictly, else tolerantly, else all up to the only closing marker."""
    try:
        _, end = decode_strict(text, at)
        return Span(text[at:end], end, True, strict=True)
    except ValueError:
        pass
    reading = read_value(text, at, stops=closers)
    if isinstance(reading, Reading):
        return Span(text[at : reading.end], reading.end, True)
    limit = min((pos for one in openers if (pos := text.find(one, at)) >= 0), default=len(text))
    if not closers and text[at:].strip():
        return Span(text[at:].rstrip(), len(text), False)
    first = min((pos for one in closers if (pos := text.find(one, at, limit)) >= 0), default=-1)
    if first < 0:
        rule = reading.rule if limit < len(text) else "truncated"
        return Span(text[at:], len(text), False, Problem("", rule, reading.message))
    last = max(text.rfind(one, at, limit) for one in closers)
    if first != last and not _is_run(text, first, last, closers):
        message = "the call is broken and a closing marker stands in it more than once"
        return Span(text[at:last], last, False, Problem("", "ambiguous_end", message))
    return Span(text[at:first], first, True)


def _is_run(text: str, first: int, last: int, closers: tuple[str, ...]) -> bool:
    """Whether only closing markers stand between two of them."""
    at = first
    while at < last:
        found = match_literal(text, at, closers)
        if not found:
            return False
        at = skip_space(text, at + len(found))
    return True


def skip_extra_closers(text: str, at: int, fixes: list[Fix]) -> int:
    """Skips closing brackets after a complete value; `at` where there are none."""
    extra = _EXTRA.match(text, at)
    if extra is None:
        return at
    fixes.append(Fix(FixKind.extra_closer, "", extra.group().strip(), ""))
    return extra.end()


_GOES_ON = "the value seems to go on behind its end: a quote in it may not have been escaped"


def goes_on(text: str, at: int) -> bool:
    """Whether the text after a complete value is rather the rest of it: `{"a": "x = "}"; y"}`."""
    return _REST.match(text, at) is not None


def is_blank(text: str) -> bool:
    """Whether there is only white space, control characters and byte-order marks."""
    return _NOT_SPACE.search(text) is None


@dataclass(slots=True)
class _Sequence:
    calls: list[RawCall]
    at: int
    fixes: list[Fix]
    listed: bool = False


def read_json_calls(
    text: str,
    start: int,
    body: int,
    closers: tuple[str, ...],
    openers: tuple[str, ...] = (),
    kind: Body = Body.call,
    wrapped: bool = False,
    listed: bool = False,
) -> Region | None:
    """Objects (one, several, or an array of them) from `body` to a closing marker; None if there is no JSON.

    closers: without any, the JSON ends the region by itself.
    wrapped: a closing bracket may follow that belongs to the caller.
    listed: `body` is the next item of an array that was opened before.
    """
    at = skip_space(text, body)
    if text[at : at + 1] not in ("{", "[") or match_literal(text, at, closers):
        return None
    state = _Sequence([], at, [], listed)
    if text[at] == "[" and not listed:
        state.listed = True
        state.at = at + 1
    while True:
        state.at = _after_separator(text, state)
        char = text[state.at : state.at + 1]
        if char != "{" or match_literal(text, state.at, (*closers, *openers)):
            break  # a marker may begin with a bracket, too
        if state.calls and not closers and not state.listed and not _separated(text, state.at):
            break
        span = read_span(text, state.at, closers, openers)
        span = _only_item(span) if state.listed and span.closed and not span.problem else span
        problems = (span.problem,) if span.problem else ()
        state.calls.append(RawCall("", kind, span.text, span.closed, None, (), problems, span.strict))
        state.at = span.end
        braces = (_EXTRA_BRACE if state.listed else _EXTRA_BETWEEN).match(text, state.at)
        if braces:
            state.fixes.append(Fix(FixKind.extra_closer, "", braces.group().strip(), ""))
            state.at = braces.end()
        if span.problem or len(state.calls) > LIMITS.calls:
            break
    return _finish(text, start, body, closers, state, wrapped)


def read_first_item(
    text: str, at: int, closers: tuple[str, ...], openers: tuple[str, ...], kind: Body, inside: bool
) -> Region | None:
    """The first object of the array at `at`, if another object follows it.

    inside: the array was opened before, and `at` is its next object.
    """
    found = (_OBJECT if inside else _ARRAY).match(text, at)
    if found is None:
        return None
    span = read_span(text, found.end() - 1, closers, openers)
    follows = _NEXT.match(text, span.end)
    if span.problem or follows is None:
        return None
    return Region(at, follows.end() - 1, at, (RawCall("", kind, span.text, span.closed, strict=span.strict),))


def _only_item(span: Span) -> Span:
    """A broken object that only the closing marker delimited, without the bracket of the list whose only item
    it is.
    """
    text = span.text.rstrip()
    item = text.removesuffix("]").rstrip()
    if item == text or not item.endswith("}") or _NEXT_ITEM.search(item) or len(_NAME_KEY.findall(item)) > 1:
        return span
    return Span(item, span.end - len(span.text) + len(item), True)


def _after_separator(text: str, state: _Sequence) -> int:
    match = _BETWEEN.match(text, state.at) if state.calls else _SPACE.match(text, state.at)
    return match.end() if match else state.at


def _separated(text: str, at: int) -> bool:
    return text[:at].rstrip(" \t\r\n")[-1:] in (";", "}", "]")


def _finish(
    text: str, start: int, body: int, closers: tuple[str, ...], state: _Sequence, wrapped: bool
) -> Region:
    calls, at = state.calls, state.at
    if calls and (calls[-1].problems or len(calls) > LIMITS.calls):
        if len(calls) > LIMITS.calls:
            calls.append(problem_call("", "too_many_calls", f"more than {LIMITS.calls} calls in one turn"))
        return Region(start, at, body, tuple(calls), closed=False)
    if state.listed:
        if text[at : at + 1] == "]":
            at += 1
        elif match_literal(text, at, closers):
            state.fixes.append(Fix(FixKind.missing_closer, "", "", "]"))
        else:
            calls.append(problem_call(text[at:], "truncated", "the list of calls does not end"))
            return Region(start, len(text), body, tuple(calls), closed=False)
    extra = _EXTRA.match(text, at)
    if extra and not wrapped:
        state.fixes.append(Fix(FixKind.extra_closer, "", extra.group().strip(), ""))
        at = extra.end()
    at, closed, problem = close_region(text, at, closers, state.fixes)
    if problem:
        calls.append(problem)
    if calls and state.fixes:
        calls[-1] = replace(calls[-1], fixes=(*calls[-1].fixes, *state.fixes))
    return Region(start, at, body, tuple(calls), closed)


def close_region(
    text: str, at: int, closers: tuple[str, ...], fixes: list[Fix]
) -> tuple[int, bool, RawCall | None]:
    """Skips the closing marker, or what replaces it.

    Returns the index after the region, whether it was really closed, and a problem where the text before the
    marker is more than junk.
    """
    if not closers:
        broken = goes_on(text, skip_space(text, at))
        return at, True, problem_call(text[at:], "ambiguous_end", _GOES_ON) if broken else None
    after = skip_space(text, at)
    found = match_literal(text, after, closers)
    if found:
        return after + len(found), True, None
    token = match_literal(text, after, SPECIAL_TOKENS)
    if token:
        fixes.append(Fix(FixKind.special_token, "", token, closers[0]))
        return after + len(token), True, None
    wrong = _skip_wrong_end(text, after, closers, fixes)
    if wrong:
        return wrong, True, None
    if after >= len(text) or _is_partial(text, after, closers):
        fixes.append(Fix(FixKind.missing_tag, "", text[after:], closers[0]))
        return len(text), False, None
    ends = [(pos, one) for one in closers if (pos := text.find(one, at)) >= 0]
    if ends:
        pos, one = min(ends)
        junk = text[after:pos]
        if not junk.strip(" \t\r\n}]"):
            fixes.append(Fix(FixKind.extra_closer, "", junk.strip(), ""))
            return pos + len(one), True, None
        if not _JUNK_CHARS.search(junk):
            fixes.append(Fix(FixKind.junk_in_envelope, "", junk, ""))
            return pos + len(one), True, None
        if not junk.lstrip().startswith("<"):
            message = f"text between the call and its closing marker: {junk[:60]!r}"
            return pos, True, problem_call(junk, "trailing_text", message)
    if goes_on(text, after):
        return at, True, problem_call(text[after:], "ambiguous_end", _GOES_ON)
    fixes.append(Fix(FixKind.missing_tag, "", "", closers[0]))
    return at, False, None


def _skip_wrong_end(text: str, at: int, closers: tuple[str, ...], fixes: list[Fix]) -> int:
    """The index after a closing tag of another format, where the right one or the end of the text follows it;
    0 where there is none.
    """
    found = _WRONG_END.match(text, at) if closers[0].startswith("</") else None
    if found is None:
        return 0
    after = skip_space(text, found.end())
    right = match_literal(text, after, closers) or ""
    if not right and after < len(text):
        return 0
    fixes.append(Fix(FixKind.corrupted_marker, "", found.group(), "" if right else closers[0]))
    return after + len(right)


def _is_partial(text: str, at: int, closers: tuple[str, ...]) -> bool:
    rest = text[at:].rstrip() if len(text) - at < 64 else ""
    return bool(rest) and any(one.startswith(rest) for one in closers)
