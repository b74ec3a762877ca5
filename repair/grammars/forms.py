"""How the wire formats write a call in a grammar: what is before, between and after names and arguments."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from repair.formats import (
    FORMATS,
    Wire,
    deepseek,
    deepseek_v31,
    function_gemma,
    gemma4,
    glm,
    hermes,
    hunyuan,
    kimi,
    lfm2,
    llama4,
    mistral,
    olmo3,
    qwen_xml,
    seed,
)
from repair.formats.row import Row, literal_head
from repair.formats.shapes import RowFormat
from repair.gemma import Quotes, write_value
from repair.grammars.rules import Rules
from repair.grammars.schemas import OPTIONS
from repair.grammars.tagged import Tags, write_parameters
from repair.grammars.texts import json_text_object, quoted_text, raw_text
from repair.grammars.written import Notation, Values
from repair.pythonic import write_literal

# writes the arguments of the tool `name` by its reduced schema, as an expression
Arguments = Callable[[Rules, Mapping[str, Any], str], str]


def json_arguments(rules: Rules, schema: Mapping[str, Any], name: str) -> str:
    """The arguments as JSON."""
    return json_text_object(rules, schema, name) or rules.json({**schema, "x-guidance": OPTIONS})


def python_arguments(rules: Rules, schema: Mapping[str, Any], name: str) -> str:
    """Named arguments of a Python call."""
    return Values(rules, PYTHON, schema, name).members(schema, "", lambda key: f"{key}=")


def _gemma_arguments(quotes: Quotes) -> Arguments:
    notation = Notation(
        string=lambda rules: rules.add(f"{rules.literal(quotes.token)} {rules.until(quotes.token)}"),
        constant=lambda value: write_value(value, quotes),
        key=lambda key: write_value({key: 0}, quotes)[1:-2],
        any_key=lambda rules: rules.terminal(r"/[A-Za-z_][A-Za-z0-9_.$-]*:/"),
        joint=",",
        markers=(quotes.token,),
        text=lambda rules, tool, key, node: _between(
            rules.literal(quotes.token), raw_text(rules, tool, key, node, quotes.token)
        ),
    )

    def write(rules: Rules, schema: Mapping[str, Any], name: str) -> str:
        values = Values(rules, notation, schema, name)
        if not schema.get("properties") and schema.get("additionalProperties") is not False:
            return values.value({"type": "object"}, "")
        return f'"{{" {values.members(schema, "", notation.key)} "}}"'

    return write


def _between(quote: str, text: str | None) -> str | None:
    return None if text is None else f"{quote} {text} {quote}"


def _tagged_arguments(tags: Tags) -> Arguments:
    return lambda rules, schema, name: write_parameters(rules, tags, schema, name)


PYTHON = Notation(
    string=lambda rules: rules.terminal(r"/'([^'\\\x00-\x1f\x7f]|\\[\\'nrt]|\\u00[01][0-9a-f])*'/"),
    constant=write_literal,
    key=lambda key: f"{write_literal(key)}: ",
    any_key=lambda rules: rules.terminal(r"/'([^'\\\x00-\x1f\x7f]|\\[\\'nrt])*': /"),
    joint=", ",
    text=lambda rules, tool, key, node: _between(
        rules.data("'"), quoted_text(rules, tool, key, node, lambda char: write_literal(char)[1:-1])
    ),
)


@dataclass(frozen=True, slots=True)
class Form:
    """How a format writes a call.

    trigger: the text that opens a call, or the section of all calls.
    opening: after the trigger.
    head: from there, or from the last call of the section, to the arguments; `{name}` and `{index}` stand for
        the tool and a number.
    tail: after the arguments.
    joint: between the calls; None where every call has its own trigger.
    closing: at the end of the section.
    """

    trigger: str
    head: str
    tail: str
    arguments: Arguments = json_arguments
    opening: str = ""
    joint: str | None = None
    closing: str = ""


_OBJECT = '{{"name": "{name}", "arguments": '
_SECTION = deepseek.SECTION
_CALL, _SEPARATOR, _CALL_END = deepseek.CALL, deepseek.SEPARATOR, deepseek.CALL_END


def _tagged(format: str, tags: Tags, trigger: str, head: str) -> tuple[str, Form]:
    return format, Form(trigger, head, "", _tagged_arguments(tags))


def _function_tags(close: str) -> Tags:
    return Tags(
        *(qwen_xml.PARAMETER, ">\n", f"\n{qwen_xml.PARAMETER_END}\n", f"{qwen_xml.FUNCTION_END}\n{close}"),
        close=qwen_xml.PARAMETER_END,
        bounds=(qwen_xml.PARAMETER, qwen_xml.FUNCTION_END, close),
    )


_GLM = Tags(
    *(f"\n{glm.KEY}", f"{glm.KEY_END}\n{glm.VALUE}", glm.VALUE_END, f"\n{glm.CLOSE}"),
    close=glm.VALUE_END,
    bounds=(glm.KEY, glm.OPEN, glm.CLOSE),
)


def form_of(row: Row) -> Form | None:
    """How a row writes calls; None where values are typed by an attribute, or where the prompt has the
    beginning of a call: no grammar here supports that.
    """
    inside = bool(row.section.strip())
    trigger = row.section.strip() or literal_head(row.call)
    told_twice = row.shape == "objects" and "{name}" in row.call
    if "{id}" in row.call or row.start or row.shape not in ("objects", "named", "pairs") or told_twice:
        return None
    head, tail, arguments = (
        _literal(row.call if inside else row.call.removeprefix(trigger)),
        row.call_end,
        None,
    )
    if row.shape == "objects":
        named = f'"{row.name_key}": "{{name}}", "{row.arguments_key}": ' if row.name_key else '"{name}": '
        head, tail = f"{head}{{{{{named}", "}" + tail
    if row.shape == "pairs":
        key, _, rest = row.parameter.partition("{key}")
        tags = Tags(key, rest, row.parameter_end, tail, row.parameter_end.strip(), _bounds(row, key))
        tail, arguments = "", _tagged_arguments(tags)
    opening = row.section.removeprefix(row.section.rstrip()) * inside + "[" * row.listed
    joint = row.joint if inside else None
    if joint and joint == opening:  # told apart from the section's end by what stands behind it
        head, opening, joint = f"{_literal(joint)}{head}", "", ""
    return Form(
        *(trigger, head, tail, arguments or json_arguments),
        opening=opening,
        joint=joint,
        closing="]" * row.listed + row.section_end,
    )


def _literal(text: str) -> str:
    """A literal of a row as a format string of a Form."""
    parts = re.split(r"(\{(?:name|index)\})", text)
    return "".join(
        one if at % 2 else one.replace("{", "{{").replace("}", "}}") for at, one in enumerate(parts)
    )


def _bounds(row: Row, key: str) -> tuple[str, ...]:
    return tuple(one for one in (key, row.call_end.strip(), literal_head(row.call)) if one)


FORMS: dict[str, Form] = {
    **{
        one.NAME: form
        for one in FORMATS.values()
        if isinstance(one, RowFormat) and (form := form_of(one.row)) is not None
    },
    hermes.NAME: Form(hermes.OPEN, "\n" + _OBJECT, "}\n" + hermes.CLOSE),
    mistral.NAME: Form(mistral.CALL, "{name}" + mistral.ARGUMENTS, ""),
    hunyuan.NAME: Form(hunyuan.CALL, "{name}" + hunyuan.SEPARATOR, hunyuan.CALL_END),
    deepseek.NAME: Form(
        *(_SECTION, f"{_CALL}function{_SEPARATOR}{{name}}\n```json\n", f"\n```{_CALL_END}"),
        joint="\n",
        closing=deepseek.SECTION_END,
    ),
    deepseek_v31.NAME: Form(
        *(_SECTION, f"{_CALL}{{name}}{_SEPARATOR}", _CALL_END), joint="", closing=deepseek.SECTION_END
    ),
    kimi.NAME: Form(
        *(kimi.SECTION, f"{kimi.CALL}functions.{{name}}:{{index}}{kimi.ARGUMENTS}", kimi.CALL_END),
        joint="",
        closing=kimi.SECTION_END,
    ),
    **dict(
        (
            _tagged("qwen_xml", _function_tags(qwen_xml.CLOSE), qwen_xml.OPEN, "\n<function={name}>\n"),
            _tagged("seed", _function_tags(seed.CLOSE), seed.OPEN, "\n<function={name}>\n"),
            _tagged("glm", _GLM, glm.OPEN, "{name}"),
        )
    ),
    **{
        one.NAME: Form(
            one.OPEN, "{name}(", ")", python_arguments, opening="[", joint=", ", closing="]" + one.CLOSE
        )
        for one in (llama4, lfm2)
    },
    olmo3.NAME: Form(
        olmo3.OPEN, "{name}(", ")", python_arguments, opening="", joint="\n", closing=olmo3.CLOSE
    ),
    **{
        one.NAME: Form(one.OPEN, gemma4.CALL + "{name}", one.CLOSE, _gemma_arguments(one.QUOTES))
        for one in (gemma4, function_gemma)
    },
}


def form_for(format: str | Wire) -> Form | None:
    """How a format writes calls; None where there is no grammar for it."""
    if not isinstance(format, Wire):
        return FORMS.get(format)
    form = format.formats[0]
    return form_of(form.row) if isinstance(form, RowFormat) else FORMS.get(form.NAME)


def write_call(rules: Rules, form: Form, name: str, schema: Mapping[str, Any]) -> str:
    """An expression for one call of the tool `name`, without its trigger."""
    pieces = re.split("([\0\1])", form.head.format(name="\0", index="\1"))
    holes = {"\0": rules.data(_quoted(form, name)), "\1": "/[0-9]+/"}
    before = " ".join(holes.get(one) or rules.literal(one) for one in pieces)
    return rules.add(f"{before} {form.arguments(rules, schema, name)} {rules.literal(form.tail)}")


def _quoted(form: Form, name: str) -> str:
    return json.dumps(name, ensure_ascii=False)[1:-1] if '"{name}"' in form.head else name
