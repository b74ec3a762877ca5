"""Invented tools with real JSON Schemas, and true calls of them with hard values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from random import Random
from typing import Any

from corpora.malformations.specimen import (
    ARGUMENTS,
    ELEMENTS,
    GEMMA,
    TAGGED,
    Specimen,
    Written,
    resolve,
)
from repair.formats import FORMATS
from repair.types import ToolDefinition

_VERBS = "get set find list create update delete send book plan convert measure run open read write".split()
_NOUNS = "weather route file order invoice ticket note record sensor query table train parcel report".split()
_KEYS = (
    "city name title query path code body message note id type unit date limit count page size ratio price "
    "weight lat lon active verbose force tags labels items ids scores config options filter target owner "
    "address input pattern command zone state level mode kind sort lang format comment reason subject"
).split()
_WORDS = "alpha river Oslo green seven quick lantern harbour Maria north copper window paper stone".split()
_OPTIONS = (
    ("celsius", "fahrenheit"),
    ("low", "medium", "high"),
    ("ASC", "DESC"),
    ("Open", "Closed", "On Hold"),
    ("red", "green", "blue", "none"),
)
_PLAIN = (
    "02139 null true 5 -0 1e5 None NaN undefined &amp; a,b a=1 }{ ]] ) `code` \\ \\\\ // # $HOME {} [] it's"
).split()
_HARD = (
    "",
    " ",
    "two  spaces ",
    "x\n",
    "\nx",
    "a\tb",
    "a\r\nb",
    'say "hi" now',
    'the "big one" is mine',
    'he wrote "yes" and "no" twice',
    '""',
    "'quoted'",
    "both \"kinds\" of 'quotes'",
    "C:\\new\\table",
    "C:\\path\\docs",
    "\\d+\\.\\w{2}",
    "\\u0041",
    '{"a": [1, "two"]}',
    '[{"name": "get_weather", "arguments": {"city": "Oslo"}}]',
    "[1, 2]",
    "{'a': True}",
    "def f(x):\n    if x > 1:\n        return \"a\\n\"\n    return {'k': [x]}\n",
    "SELECT * FROM t WHERE name = 'x';",
    'for (i = 0; i < 3; i++) { a[i] = "}"; }',
    '```json\n{"a": 1}\n```',
    "<b>bold</b> & <i>more</i>",
    "Zürich, 東京, Ωμέγα",
    "👩‍👩‍👧 🎉",
    "\u2028line\u2029separators",
    "100% \"sure\", 'maybe'; [no] (yes) {x}",
    "a, b, c",
    "key: value",
    "2024-01-31T10:00:00Z",
    "lorem ipsum dolor " * 40,
)
_MARKERS = sorted(
    {one for form in FORMATS.values() for one in (*form.OPENERS, *form.CLOSERS)}
    | {one for form in FORMATS.values() for pair in form.REASONING for one in pair}
)


def draw_tools(rng: Random) -> tuple[ToolDefinition, ...]:
    """Two to five tools, their names apart even when case is ignored."""
    names: dict[str, str] = {}
    while len(names) < rng.randint(2, 5):
        name = _name(rng)
        names.setdefault(name.casefold(), name)
    return tuple(ToolDefinition(name, f"{name}.", draw_schema(rng)) for name in names.values())


def _name(rng: Random) -> str:
    verb, noun = rng.choice(_VERBS), rng.choice(_NOUNS)
    style = rng.random()
    if style < 0.6:
        return f"{verb}_{noun}"
    return f"{verb}{noun.title()}" if style < 0.85 else f"{noun}.{verb}"


def draw_schema(rng: Random) -> dict[str, Any]:
    """An object schema of one to six parameters; no key stands twice, at any depth."""
    keys = rng.sample(_KEYS, len(_KEYS))
    definitions: dict[str, Any] = {}
    properties = {keys.pop(): _parameter(rng, keys, definitions, 0) for _ in range(rng.randint(1, 6))}
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    required = [key for key in properties if rng.random() < 0.6] or [next(iter(properties))]
    schema["required"] = required
    if rng.random() < 0.6:
        schema["additionalProperties"] = False
    if definitions:
        schema["$defs"] = definitions
    return schema


def _parameter(rng: Random, keys: list[str], definitions: dict[str, Any], depth: int) -> dict[str, Any]:
    kinds = "string string string integer integer number boolean enum strings integers nullable maybe either"
    deep = "object objects reference map grid"
    kind = rng.choice((kinds if depth else f"{kinds} {deep}").split())
    if kind == "reference":
        name = keys.pop().title()
        definitions[name] = _object(rng, keys, definitions)
        return {"$ref": f"#/$defs/{name}"}
    if kind in ("object", "objects"):
        inner = _object(rng, keys, definitions)
        return inner if kind == "object" else {"type": "array", "items": inner}
    table: dict[str, dict[str, Any]] = {
        "string": {"type": "string"},
        "integer": {"type": "integer"},
        "number": {"type": "number"},
        "boolean": {"type": "boolean"},
        "enum": {"type": "string", "enum": list(rng.choice(_OPTIONS))},
        "strings": {"type": "array", "items": {"type": "string"}},
        "integers": {"type": "array", "items": {"type": "integer"}},
        "nullable": {"type": ["string", "null"]},
        "maybe": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "either": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
        "map": {"type": "object", "additionalProperties": {"type": "string"}},
        "grid": {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}},
    }
    return {**table[kind], **({"description": f"The {kind}."} if rng.random() < 0.5 else {})}


def _object(rng: Random, keys: list[str], definitions: dict[str, Any]) -> dict[str, Any]:
    properties = {keys.pop(): _parameter(rng, keys, definitions, 1) for _ in range(rng.randint(1, 3))}
    schema: dict[str, Any] = {
        "type": "object",
        "properties": properties,
        "required": [next(iter(properties))],
    }
    return {**schema, "additionalProperties": False} if rng.random() < 0.6 else schema


def draw_specimen(rng: Random, format: str, tools: tuple[ToolDefinition, ...]) -> Specimen:
    """One to three true calls, nothing damaged yet."""
    count = 1 if format == ARGUMENTS else rng.choice((1, 1, 1, 1, 1, 1, 2, 2, 3))
    truth = []
    for _ in range(count):
        tool = rng.choice(tools)
        truth.append((tool.name, draw_arguments(rng, tool.parameters, format)))
    written = tuple(Written(name, value, "") for name, value in truth)
    return Specimen(format, tools, tuple(truth), written)


def draw_arguments(rng: Random, schema: Mapping[str, Any], format: str) -> dict[str, Any]:
    """Arguments that the schema accepts and the format can write without a second reading."""
    value = _Draw(rng, schema, format).value(schema, 0)
    assert isinstance(value, dict)
    return value


class _Draw:
    def __init__(self, rng: Random, root: Mapping[str, Any], format: str) -> None:
        self.rng = rng
        self.root = root
        self.format = format

    def value(self, schema: Mapping[str, Any], depth: int) -> Any:
        schema = resolve(schema, self.root)
        if "enum" in schema:
            return self.rng.choice(schema["enum"])
        if "anyOf" in schema:
            return self.branch([one["type"] for one in schema["anyOf"]], depth)
        kind = schema.get("type", "string")
        if isinstance(kind, list):
            return self.branch(kind, depth)
        match kind:
            case "object":
                return self.members(schema, depth)
            case "array":
                items = schema.get("items", {"type": "string"})
                return [self.value(items, depth + 1) for _ in range(self.rng.choice((0, 1, 1, 2, 3)))]
        return self.scalar(kind, depth)

    def branch(self, kinds: list[str], depth: int) -> Any:
        """A value of one of several types. Where strings have no quotes it is none that reads as another."""
        kind = self.rng.choice(kinds)
        bare = self.format in ELEMENTS or (self.format in TAGGED and depth == 1)
        if bare and ("string" in kinds or kind == "null"):
            return self.rng.choice(_WORDS) if "string" in kinds else self.scalar(kinds[0], depth)
        return None if kind == "null" else self.scalar(kind, depth)

    def scalar(self, kind: str, depth: int) -> Any:
        match kind:
            case "integer":
                return self.rng.choice((0, 1, -1, 7, self.rng.randint(-999, 9999), 2**53 + 1, 10**20))
            case "number":
                exact = round(self.rng.uniform(-500, 500), 4)
                return self.rng.choice((exact, self.rng.randint(-9, 99), 0.5, -1.25e-7, 6.02e23))
            case "boolean":
                return self.rng.random() < 0.5
        return draw_string(self.rng, self.format)

    def members(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        properties = schema.get("properties")
        if properties is None:
            keys = self.rng.sample(_WORDS, self.rng.randint(0, 3))
            if self.format in ELEMENTS:
                return dict.fromkeys(keys, self.rng.choice(_WORDS))
            return {key: draw_string(self.rng, self.format) for key in keys}
        required = schema.get("required", ())
        keys = [key for key in properties if key in required or self.rng.random() < 0.6]
        if self.rng.random() < 0.3:
            self.rng.shuffle(keys)
        return {key: self.value(properties[key], depth + 1) for key in keys}


def draw_string(rng: Random, format: str) -> str:
    """Half of them plain, half hard."""
    roll = rng.random()
    if roll < 0.5:
        return " ".join(rng.choices(_WORDS, k=rng.randint(1, 5)))
    if roll < 0.6:
        return rng.choice(_PLAIN)
    if roll < 0.68 and format not in TAGGED | GEMMA:
        return f"{rng.choice(_WORDS)} {rng.choice(_MARKERS)} {rng.choice(_WORDS)}"
    text = rng.choice(_HARD)
    if roll > 0.9:
        text = f"{rng.choice(_WORDS)}{text}{rng.choice(_WORDS)}"
    return text


def is_plain(text: str) -> bool:
    """Whether no reader could take the text for anything but words."""
    return bool(text) and all(char.isalnum() or char == " " for char in text) and not _reads_as_json(text)


def _reads_as_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return text.strip() in ("None", "True", "False", "NaN", "undefined") or text.strip()[:1].isdigit()
    return True
