"""Grammars for constrained decoding: Lark text for llguidance, made from tools and a wire format.

Only text is built here; llguidance itself belongs to the engine. A grammar is lazy: anything may be said
until a call opens; then follow the name of a declared tool, what its schema allows, and the end of the call.
White space has one form, so that a model cannot lose itself in it; free text inside a value is not limited.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from repair.formats import FORMATS, Wire, harmony, is_unmarked, llama3
from repair.grammars.forms import Form, form_for, json_arguments, python_arguments, write_call
from repair.grammars.rules import ANY, Rules, one_of, regex
from repair.grammars.schemas import OPTIONS, call_schema, object_schema, reduce_schema
from repair.reask import BEGINNINGS
from repair.regions import Format
from repair.tools import Tool, ToolSet

_SPACE = r"/[ \r\n]{0,4}/"
# how a text begins that looks like a call, also behind a broken marker, or that says the correction back
_NO_WORDS = rf"\s*([{{\[(<>`]|{'|'.join(BEGINNINGS)})"
NO_TOKENS: Mapping[str, int] = {}


@dataclass(frozen=True, slots=True)
class Grammar:
    """A grammar.

    text: Lark for llguidance.
    left_out: JSON pointers and features of the schemas, after the tool's name, to which the text cannot hold
        a model; validation still judges them.
    """

    text: str
    left_out: tuple[str, ...] = ()


def answer_grammar(
    schema: Mapping[str, Any] | None,
    *,
    reasoning: tuple[str, str] | None = None,
    open_reasoning: str = "",
    tokens: Mapping[str, int] = NO_TOKENS,
) -> Grammar:
    """A completion that is one JSON value of `schema`, or any JSON object (None).

    reasoning: markers of a block that may precede it.
    open_reasoning: the closing marker of the block that the prompt leaves open.
    tokens: marker -> id of those that are one token of the vocabulary.
    """
    rules = Rules(tokens)
    start = f"{_SPACE} {_json_value(rules, schema)}"
    lead = _lead(rules, (reasoning,) if reasoning else (), open_reasoning)
    return Grammar(rules.text(f"{lead} {start}"), tuple(rules.left_out))


def _json_value(rules: Rules, schema: Mapping[str, Any] | None, name: str = "") -> str:
    """A rule for one JSON value of `schema`, or any JSON object (None). name: put before what is left out."""
    reduced, left_out = reduce_schema({"type": "object"} if schema is None else schema)
    rules.left_out += [f"{name}{one}" for one in left_out]
    return rules.json({**reduced, "x-guidance": OPTIONS} if isinstance(reduced, Mapping) else {})


def tool_grammar(
    tools: ToolSet,
    format: str | Wire,
    *,
    required: bool = False,
    tool_name: str | None = None,
    parallel: bool = True,
    json_answer: bool = False,
    answer_schema: Mapping[str, Any] | None = None,
    reasons: bool = True,
    in_words: bool = False,
    open_reasoning: str = "",
    tokens: Mapping[str, int] = NO_TOKENS,
) -> Grammar | None:
    """A turn with calls in `format`; None where the format has no grammar, or there is no tool to call.

    required: at least one call, only reasoning before it, and only more calls after it.
    tool_name: the only tool that may be called.
    parallel: False allows one call, and only white space after it.
    json_answer: a turn without a call is one JSON value of answer_schema (None: any object), and a turn with
        one begins with it.
    reasons: the model may reason first, between the format's markers. One that was not made for it would
        write there what the grammar keeps it from saying.
    in_words: text does not begin with a bracket of any kind or a fence, so that what looked like a call, and
        was none, does not come again; nor as a correction does, which small models say back.
    open_reasoning, tokens: as in answer_grammar.
    """
    chosen = [tool for name in tools.names if (tool := tools.get(name)) and tool_name in (None, name)]
    writer = _MESSAGES.get(str(format)) or (_triggered if form_for(format) is not None else None)
    json_answer = json_answer and not required
    if writer is None or not chosen:
        return None
    texts = {(one.name, key): rule for one in chosen for key, rule in one.definition.texts.items()}
    rules = Rules(tokens, texts)
    answer = _json_value(rules, answer_schema, "the answer") if json_answer else ""
    wish = _Wish(required, parallel, reasons, in_words, open_reasoning, answer)
    start = writer(rules, format, _reduced(rules, chosen), wish)
    return Grammar(rules.text(start), tuple(dict.fromkeys(rules.left_out)))


@dataclass(frozen=True, slots=True)
class _Wish:
    """What a turn may be. answer: the rule of a turn without calls; "" for free text."""

    required: bool
    parallel: bool
    reasons: bool
    in_words: bool
    open_reasoning: str
    answer: str

    def lead(self, rules: Rules, format: str | Wire) -> str:
        return _lead(rules, _format_of(format).REASONING if self.reasons else (), self.open_reasoning)


def _reduced(rules: Rules, tools: list[Tool]) -> dict[str, Mapping[str, Any]]:
    """Tool -> its schema, as far as decoding can be constrained to it."""
    result: dict[str, Mapping[str, Any]] = {}
    for tool in tools:
        schema, left_out = object_schema(tool.schema.root)
        rules.left_out += [f"{tool.name}{one}" for one in left_out]
        result[tool.name] = schema
    return result


def _lead(rules: Rules, pairs: tuple[tuple[str, str], ...], open_reasoning: str) -> str:
    """Reasoning that may come first, or must where the prompt left it open."""
    if open_reasoning:
        return rules.until(open_reasoning)
    blocks = [f"{_SPACE} {rules.literal(opener)} {rules.until(closer)}" for opener, closer in pairs]
    return f"({' | '.join(blocks)})?" if blocks else ""


def _speech(rules: Rules, *excluded: str, start: str = "") -> str:
    """A terminal for free text. excluded: what it does not contain. start: how it does not begin, a regex."""
    texts = [one for one in excluded if one and one not in rules.tokens]
    body = ANY
    if start:
        body += f" & ~/{start}(?s:.*)/"
    if texts:
        body += f" & ~/(?s:.*)({'|'.join(regex(one) for one in texts)})(?s:.*)/"
    return rules.terminal(body)


def _format_of(format: str | Wire) -> Format:
    return format.formats[0] if isinstance(format, Wire) else FORMATS[format]


def _openings(rules: Rules, format: str | Wire) -> str:
    """A regex for the beginning of reasoning, where its markers are text."""
    texts = [regex(one) for one, _ in _format_of(format).REASONING if one not in rules.tokens]
    return rf"\s*({'|'.join(texts)})" if texts else ""


def _either(texts: Iterable[str]) -> str:
    """A regex for one of these; "" for none."""
    given = [one for one in texts if one]
    return f"({'|'.join(given)})" if given else ""


def _triggered(rules: Rules, format: str | Wire, tools: Mapping[str, Mapping[str, Any]], wish: _Wish) -> str:
    """Calls after a marker that opens each of them, or all."""
    form = form_for(format)
    assert form is not None
    calls = one_of([write_call(rules, form, name, schema) for name, schema in tools.items()])
    unit = _unit(rules, form, calls, wish.parallel)
    lead = wish.lead(rules, format)
    at_once = f"{_SPACE} {rules.literal(form.trigger)} {unit}"
    if wish.required:
        return f"{lead} ({at_once})+ {_SPACE}" if wish.parallel else f"{lead} {at_once} {_SPACE}"
    # A model that may not begin another call would write free text instead of one.
    again = _SPACE
    if wish.parallel:
        tail = _tail(rules, format)
        again = f"({rules.until(form.trigger, tail)} {unit})* {tail}"
    at_once += f" {again}"
    if wish.answer:
        return f"{lead} ({_SPACE} {wish.answer} | {at_once})"
    opened = "" if wish.open_reasoning else _openings(rules, format)
    free = _speech(rules, start=_either([opened, _NO_WORDS if wish.in_words else ""]))
    first = rules.until(form.trigger, free)
    return f"{lead} ({free} | {first} {unit} {again})"


def _unit(rules: Rules, form: Form, calls: str, parallel: bool) -> str:
    """What follows one trigger."""
    more = ""
    if form.joint is not None and parallel:
        more = f"({rules.literal(form.joint)} {calls})*"
    body = f"{rules.literal(form.opening)} {calls} {more} {rules.literal(form.closing)}"
    return rules.add(body)


def _tail(rules: Rules, format: str | Wire) -> str:
    """Text after a call, without the markers that would put its end in doubt, and without anything that looks
    like more of it.
    """
    start = r"\s*[\"':,;{}\[\]]" if is_unmarked(_format_of(format)) else ""
    return _speech(rules, *_format_of(format).CLOSERS, start=start)


def _bare(rules: Rules, format: str | Wire, tools: Mapping[str, Mapping[str, Any]], wish: _Wish) -> str:
    """JSON calls that are the whole message, with or without Llama's marker."""
    key = "parameters" if format == llama3.NAME else "arguments"
    if wish.answer:
        return _bare_beside_an_answer(rules, format, call_schema(tools, key), wish)
    form = Form("", f'{{{{"name": "{{name}}", "{key}": ', "}", json_arguments)
    calls = one_of([write_call(rules, form, name, schema) for name, schema in tools.items()])
    if format == llama3.NAME:
        more = f'("; " {calls})*' if wish.parallel else ""
        body = f"({rules.literal(llama3.OPENERS[0])})? {calls} {more}"
    else:
        more = f'(", " {calls})*' if wish.parallel else ""
        body = f'({calls} | "[" {calls} {more} "]")'
    marker = "" if llama3.OPENERS[0] in rules.tokens else "|" + regex(llama3.OPENERS[0])
    return _message(rules, format, body, rf"\s*(\{{|\[|`{marker})", wish)


def _bare_beside_an_answer(rules: Rules, format: str | Wire, call: dict[str, Any], wish: _Wish) -> str:
    """The answer or calls: both begin with a brace, so that calls have to be in JSON's own lexemes."""
    several = {
        **{"type": "array", "items": {"anyOf": call["anyOf"]}, "$defs": call["$defs"], "minItems": 1},
        **({} if wish.parallel else {"maxItems": 1}),
    }
    one = rules.json({**call, "x-guidance": OPTIONS})
    if format == llama3.NAME:
        more = f'("; " {one})*' if wish.parallel else ""
        return _message(rules, format, f"({rules.literal(llama3.OPENERS[0])})? {one} {more}", "", wish)
    return _message(rules, format, f"({one} | {rules.json({**several, 'x-guidance': OPTIONS})})", "", wish)


def _bare_python(
    rules: Rules, format: str | Wire, tools: Mapping[str, Mapping[str, Any]], wish: _Wish
) -> str:
    form = Form("", "{name}(", ")", python_arguments)
    calls = one_of([write_call(rules, form, name, schema) for name, schema in tools.items()])
    more = f'(", " {calls})*' if wish.parallel else ""
    return _message(rules, format, f'"[" {calls} {more} "]"', r"\s*(\[|`)", wish)


def _message(rules: Rules, format: str | Wire, body: str, start: str, wish: _Wish) -> str:
    """`body` as the whole message, or text that does not begin like one."""
    lead = wish.lead(rules, format)
    if wish.required:
        return f"{lead} {_SPACE} {body}"
    if wish.answer:
        return f"{lead} {_SPACE} ({wish.answer} | {body})"
    starts = [start, _openings(rules, format), _NO_WORDS if wish.in_words else ""]
    speech = _speech(rules, start=_either(starts))
    return f"{lead} ({_SPACE} {body} | {speech})"


def _harmony(rules: Rules, format: str | Wire, tools: Mapping[str, Mapping[str, Any]], wish: _Wish) -> str:
    """Messages of the channels; a call is one with a recipient. The prompt ends in `<|start|>assistant`."""
    channel, message, start = harmony.CHANNEL, harmony.MESSAGE, rules.literal(harmony.START)
    head = f"{channel}commentary to=functions.{{name}} <|constrain|>json{message}"
    calls = one_of([write_call(rules, Form("", head, ""), name, schema) for name, schema in tools.items()])
    ended = f"{rules.until('<|end|>')} {start}"
    thoughts = rules.add(f"{rules.literal(f'{channel}analysis{message}')} {ended}")
    remark = rules.add(f"{rules.literal(f'{channel}commentary{message}')} {ended}")
    between = f"{thoughts}*" if wish.required else f"({thoughts} | {remark})*"
    closer = rules.literal(harmony.CALL_END)
    more = f"({closer} {start} {between} {calls})*" if wish.parallel else ""
    call = f"{calls} {more} ({closer})?"
    lead = f"{rules.until(wish.open_reasoning)} {start}" if wish.open_reasoning else ""
    if wish.required:
        return f"{lead} {between} {call}"
    answer = f"{rules.literal(f'{channel}final{message}')} {wish.answer or _speech(rules)}"
    return f"{lead} {between} ({answer} | {call})"


_MESSAGES = {
    "llama3": _bare,
    "bare_json": _bare,
    "bare_python": _bare_python,
    "harmony": _harmony,
}
