"""Invents tools whose schemas are nested: objects, lists of objects, enums, anyOf, optional and nullable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from corpora.invention import Parameter, draw_value
from corpora.lessons.vocabulary import Vocabulary
from corpora.wording import surface

TOOL_TOKENS = 140  # of a tool's definition in the bundled model's tokens, about
#: how often each kind of value is drawn
_LEAVES = {
    "name": 18, "text": 10, "id": 12, "path": 6, "email": 4, "date": 7, "time": 3, "integer": 16, "number": 8,
    "boolean": 10, "enum": 14,
}  # fmt: skip
_COMPOUND = {"object": 4, "objects": 5, "strings": 2, "nullable": 4, "either": 2}
_JSON_TYPES = {"integer": "integer", "number": "number", "boolean": "boolean"}
#: kinds that can be null, or one of two shapes, without a doubt about what was meant
_PLAIN = ("name", "id", "date", "integer")


@dataclass(frozen=True, slots=True)
class Field:
    """One value of a tool's arguments. cue: how people speak of it.

    kind: of a leaf as in `corpora.invention`; object, objects (a list of them), strings, nullable (of kind
        `of`, or null), either (a string, or a list of strings).
    inner: the values of an object.
    """

    name: str
    cue: str
    kind: str
    schema: Mapping[str, Any]
    required: bool
    inner: tuple[Field, ...] = ()
    of: str = ""


@dataclass(frozen=True, slots=True)
class NestedTool:
    """An invented tool; `intent` is the verb phrase that asks for it."""

    name: str
    intent: str
    fields: tuple[Field, ...]

    def definition(self) -> dict[str, Any]:
        """The tool in the form of the OpenAI API."""
        function = {
            "name": self.name,
            "description": self.intent[0].upper() + self.intent[1:] + ".",
            "parameters": object_schema(self.fields),
        }
        return {"type": "function", "function": function}


def object_schema(fields: Sequence[Field]) -> dict[str, Any]:
    """The schema of an object with these values."""
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {one.name: dict(one.schema) for one in fields},
    }
    required = [one.name for one in fields if one.required]
    return schema | ({"required": required} if required else {})


def invent_tools(rng: Random, words: Vocabulary, count: int) -> tuple[NestedTool, ...]:
    """Tools of different names."""
    tools: dict[str, NestedTool] = {}
    while len(tools) < count:
        tool = invent_nested(rng, words)
        tools.setdefault(tool.name.lower().replace("_", ""), tool)
    return tuple(tools.values())


def invent_nested(rng: Random, words: Vocabulary) -> NestedTool:
    """A tool with two to five values, of which at least one is not a plain one."""
    verb, noun = rng.choice(words.verbs), rng.choice(words.nouns)
    fields: dict[str, Field] = {}
    count, compound = rng.randint(2, 5), rng.randint(1, 2)
    while len(fields) < count:
        field = _compound(rng, words) if len(fields) < compound else _leaf(rng, words)
        fields.setdefault(field.name, field)
    ordered = list(fields.values())
    rng.shuffle(ordered)
    style = rng.random()
    name = f"{verb}_{noun}" if style < 0.7 else verb + noun.capitalize()
    return NestedTool(name, f"{verb} {rng.choice(('a', 'the'))} {noun}", tuple(ordered))


def _leaf(rng: Random, words: Vocabulary, kind: str = "") -> Field:
    kind = kind or rng.choices(list(_LEAVES), list(_LEAVES.values()))[0]
    name = rng.choice(words.fields[kind])
    schema: dict[str, Any] = {"type": _JSON_TYPES.get(kind, "string")}
    if kind == "enum":
        schema["enum"] = rng.sample(words.options, rng.randint(2, 4))
    return Field(name, cue_of(name), kind, _described(rng, schema, name), rng.random() < 0.6)


def _compound(rng: Random, words: Vocabulary) -> Field:
    kind = rng.choices(list(_COMPOUND), list(_COMPOUND.values()))[0]
    required = rng.random() < 0.7
    if kind in ("object", "objects"):
        inner = _inner(rng, words)
        one, many = rng.choice(words.groups)
        name = one if kind == "object" else many
        schema = object_schema(inner)
        if kind == "objects":
            schema = {"type": "array", "items": schema}
        return Field(name, cue_of(name), kind, _described(rng, schema, name), required, inner)
    leaf = _leaf(rng, words, rng.choice(_PLAIN) if kind == "nullable" else "name")
    schema = _shape(rng, kind, dict(leaf.schema))
    # what may be null is required: a value that nobody speaks of is left out, not null
    return Field(leaf.name, leaf.cue, kind, schema, required or kind == "nullable", (), leaf.kind)


def _shape(rng: Random, kind: str, schema: dict[str, Any]) -> dict[str, Any]:
    told = {key: schema.pop(key) for key in ("description",) if key in schema}
    strings = {"type": "array", "items": {"type": "string"}}
    match kind:
        case "strings":
            return strings | told
        case "either":
            return {"anyOf": [schema, strings]} | told
        case _:
            listed = {**schema, "type": [schema["type"], "null"]}
            return (listed if rng.random() < 0.5 else {"anyOf": [schema, {"type": "null"}]}) | told


def _inner(rng: Random, words: Vocabulary) -> tuple[Field, ...]:
    fields: dict[str, Field] = {}
    count = rng.randint(2, 3)
    while len(fields) < count:
        field = _leaf(rng, words)
        fields.setdefault(field.name, field)
    return tuple(fields.values())


def cue_of(name: str) -> str:
    """A name as people say it."""
    return name.replace("_", " ")


def _described(rng: Random, schema: dict[str, Any], name: str) -> dict[str, Any]:
    if rng.random() < 0.3:
        schema["description"] = rng.choice(("The {}.", "{}", "Which {}", "The {} to use.")).format(
            cue_of(name)
        )
    return schema


def draw_arguments(rng: Random, fields: Sequence[Field]) -> dict[str, Any]:
    """Values for all that is required and some that is not, in the schema's order."""
    return {one.name: draw_nested(rng, one) for one in fields if one.required or rng.random() < 0.4}


def draw_nested(rng: Random, field: Field) -> Any:
    """A value that fits the field's schema."""
    match field.kind:
        case "object":
            return draw_arguments(rng, field.inner) or {field.inner[0].name: draw_nested(rng, field.inner[0])}
        case "objects":
            first = field.inner[0]
            items = [draw_arguments(rng, field.inner) for _ in range(rng.randint(1, 3))]
            return [one or {first.name: draw_nested(rng, first)} for one in items]
        case "strings":
            return [_value(rng, "name", field) for _ in range(rng.randint(1, 3))]
        case "either":
            some = [_value(rng, field.of, field) for _ in range(rng.randint(2, 3))]
            return some if rng.random() < 0.5 else some[0]
        case "nullable":
            return None if rng.random() < 0.4 else _value(rng, field.of, field)
        case kind:
            return _value(rng, kind, field)


def _value(rng: Random, kind: str, field: Field) -> Any:
    return draw_value(rng, Parameter(field.name, kind, field.schema, True, field.cue))


_SAID = ("{cue} {v}", "{cue}: {v}", "{cue} {v}", "{cue} = {v}")
_YES, _NO = ("{cue}: yes", "{cue}: true", "{cue} on"), ("{cue}: no", "{cue}: false", "{cue} off")
_NULL = ("no {cue}", "{cue}: none", "without a {cue}")
_OBJECT = ("{cue}: {v}", "{cue} with {v}", "{cue} ({v})", "the {cue} has {v}")
_OPENERS = ("", "", "please ", "can you ", "I need you to ", "now ", "could you ", "I want to ")


def say_request(rng: Random, tool: NestedTool, arguments: Mapping[str, Any]) -> str:
    """A request in words with exactly these arguments, each value in it verbatim."""
    given = [one for one in tool.fields if one.name in arguments]
    rng.shuffle(given)
    parts = [say_field(rng, one, arguments[one.name]) for one in given]
    opener = rng.choice(_OPENERS) + tool.intent
    text = opener[0].upper() + opener[1:] if rng.random() < 0.7 else opener
    if rng.random() < 0.25:
        return text + ":" + "".join(f"\n- {part}" for part in parts)
    return f"{text}{rng.choice((': ', ', ', '. '))}{'; '.join(parts)}{rng.choice(('', '.', '.'))}"


def say_field(rng: Random, field: Field, value: Any) -> str:
    """One value in words, with its cue."""
    if value is None:
        return rng.choice(_NULL).format(cue=field.cue)
    if isinstance(value, bool):
        return rng.choice(_YES if value else _NO).format(cue=field.cue)
    if field.kind == "object":
        return rng.choice(_OBJECT).format(cue=field.cue, v=_say_object(rng, field, value))
    if field.kind == "objects":
        return _say_objects(rng, field, value)
    kind = field.of or ("word" if field.kind == "strings" else field.kind)
    return rng.choice(_SAID).format(cue=field.cue, v=surface(rng, kind, value))


def _say_object(rng: Random, field: Field, value: Mapping[str, Any]) -> str:
    parts = [say_field(rng, one, value[one.name]) for one in field.inner if one.name in value]
    return rng.choice((", ", " and ", ", ")).join(parts)


_ORDER = ("first", "second", "third")


def _say_objects(rng: Random, field: Field, value: Sequence[Mapping[str, Any]]) -> str:
    items = [_say_object(rng, field, one) for one in value]
    if rng.random() < 0.5:
        return f"{field.cue}: " + rng.choice((" and ", ", ")).join(f"({one})" for one in items)
    return f"{field.cue}: " + ", ".join(f"{n} {one}" for n, one in zip(_ORDER, items, strict=False))
