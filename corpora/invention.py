"""Invents tools that nobody has seen: random names, parameters and schemas, and values for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from corpora import lexicon

#: how often each kind of parameter is drawn
KIND_WEIGHTS = {
    "name": 20, "text": 14, "id": 12, "path": 7, "email": 5, "date": 7, "time": 4,
    "integer": 16, "number": 8, "boolean": 11, "enum": 14, "array": 8,
}  # fmt: skip
_KINDS, _WEIGHTS = list(KIND_WEIGHTS), list(KIND_WEIGHTS.values())


@dataclass(frozen=True, slots=True)
class Parameter:
    """One argument of an invented tool. `cue` is how people speak of it: its name in words."""

    name: str
    kind: str
    schema: Mapping[str, Any]
    required: bool
    cue: str


@dataclass(frozen=True, slots=True)
class Tool:
    """An invented tool; `intent` is the verb phrase that asks for it, such as `book a room`."""

    name: str
    description: str
    intent: str
    parameters: tuple[Parameter, ...]
    extras: Mapping[str, Any] = field(default_factory=dict)

    def definition(self) -> dict[str, Any]:
        """The tool in the form of the OpenAI API; `extras` are further keys of its schema."""
        schema: dict[str, Any] = {
            "type": "object",
            "properties": {p.name: dict(p.schema) for p in self.parameters},
        }
        required = [p.name for p in self.parameters if p.required]
        if required or "required" in self.extras:
            schema["required"] = required
        schema |= {key: value for key, value in self.extras.items() if key != "required"}
        function: dict[str, Any] = {"name": self.name, "parameters": schema}
        if self.description:
            function = {"name": self.name, "description": self.description, "parameters": schema}
        return {"type": "function", "function": function}


def draw_value(rng: Random, parameter: Parameter) -> Any:
    """A value that fits the parameter's schema, made of material that can only be copied."""
    match parameter.kind:
        case "integer":
            return _integer(rng)
        case "number":
            return round(
                rng.uniform(-50, 500) if rng.random() < 0.3 else rng.uniform(0, 99), rng.choice((1, 2))
            )
        case "boolean":
            return rng.random() < 0.5
        case "enum":
            return rng.choice(parameter.schema["enum"])
        case "array":
            return [_string(rng, rng.choice(("word", "name", "id"))) for _ in range(rng.randint(1, 3))]
        case kind:
            return _string(rng, kind)


def draw_date(rng: Random) -> str:
    """An ISO date between 2020 and 2039."""
    return f"20{rng.randint(20, 39)}-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}"


def _integer(rng: Random) -> int:
    roll = rng.random()
    if roll < 0.03:
        return -rng.randint(1, 200)
    if roll < 0.4:
        return rng.randint(0, 20)
    return rng.randint(1, 999) if roll < 0.8 else rng.randint(1000, 99999)


def _string(rng: Random, kind: str) -> str:
    match kind:
        case "name":
            return lexicon.invented_name(rng)
        case "text":
            return lexicon.phrase(rng)
        case "id":
            return lexicon.identifier(rng)
        case "path":
            return lexicon.file_path(rng)
        case "email":
            return lexicon.email_address(rng)
        case "date":
            return draw_date(rng)
        case "time":
            return f"{rng.randint(0, 23):02d}:{rng.randint(0, 59):02d}"
        case _:
            return lexicon.invented_word(rng)


def invent_tool(rng: Random, most_parameters: int = 4) -> Tool:
    """A tool with up to `most_parameters` parameters, seldom none; names in snake, camel or dotted style."""
    verb = rng.choice(lexicon.VERBS)
    noun = rng.choice(lexicon.NOUNS) if rng.random() < 0.7 else lexicon.invented_word(rng)
    words = [verb, noun]
    if rng.random() < 0.25:
        words.insert(1, rng.choice(lexicon.QUALIFIERS) if rng.random() < 0.5 else lexicon.invented_word(rng))
    article = rng.choice(("a ", "the ", ""))
    intent = f"{verb} {article}{' '.join(words[1:])}"
    named = words if rng.random() < 0.88 else [lexicon.invented_word(rng), lexicon.invented_word(rng, 1)]
    count = min(most_parameters, rng.choices((0, 1, 2, 3, 4), (4, 32, 34, 20, 10))[0])
    parameters: dict[str, Parameter] = {}
    while len(parameters) < count:
        parameter = _invent_parameter(rng, required=len(parameters) == 0 or rng.random() < 0.65)
        parameters.setdefault(parameter.name, parameter)
    plain = named is words and rng.random() < 0.06
    description = "" if plain else _description(rng, intent)
    return Tool(_styled(rng, named), description, intent, tuple(parameters.values()), _extras(rng))


def _description(rng: Random, intent: str) -> str:
    text = intent[0].upper() + intent[1:] + rng.choice((".", ""))
    if rng.random() < 0.75:
        return text
    tails = (
        f" for {lexicon.invented_name(rng)}.",
        f" by its {rng.choice(lexicon.NOUNS)}.",
        f" and return the {rng.choice(lexicon.NOUNS)} {rng.choice(lexicon.NOUNS)}.",
        f" of the {lexicon.phrase(rng)}.",
        f". Use this when the user asks for a {rng.choice(lexicon.NOUNS)}.",
    )
    return text.rstrip(".") + rng.choice(tails)


def _extras(rng: Random) -> dict[str, Any]:
    roll = rng.random()
    if roll < 0.8:
        return {}
    return rng.choice(
        ({"additionalProperties": False}, {"required": []}, {"title": lexicon.invented_name(rng)})
    )


def _styled(rng: Random, words: list[str]) -> str:
    roll = rng.random()
    if roll < 0.7:
        return "_".join(words)
    if roll < 0.85:
        return words[0] + "".join(w.capitalize() for w in words[1:])
    return rng.choice(("-", ".")).join(words) if roll < 0.93 else "".join(w.capitalize() for w in words)


def _invent_parameter(rng: Random, *, required: bool) -> Parameter:
    kind = rng.choices(_KINDS, _WEIGHTS)[0]
    name = rng.choice(lexicon.PARAMETERS[kind])
    if rng.random() < 0.3:
        name = rng.choice((lexicon.invented_word(rng, 2), f"{lexicon.invented_word(rng, 1)}_{name}"))
    words = name.split("_")
    if rng.random() < 0.12 and len(words) > 1:
        name = words[0] + "".join(w.capitalize() for w in words[1:])
    cue = " ".join(words)
    schema: dict[str, Any] = {"type": _JSON_TYPES.get(kind, "string")}
    if kind == "enum":
        schema["enum"] = _options(rng)
    if kind == "array":
        schema["items"] = {"type": "string"}
    return Parameter(name, kind, _dressed(rng, schema, cue, required), required, cue)


def _dressed(rng: Random, schema: dict[str, Any], cue: str, required: bool) -> dict[str, Any]:
    """The schema with what people add to it: a description, a title, a default, bounds; keys in any order."""
    if rng.random() < 0.3:
        schema["description"] = rng.choice(
            (f"The {cue}", f"{cue}", f"{cue} of the request", f"Which {cue}", f"The {cue} to use, if any")
        )
    if schema["type"] == "integer" and rng.random() < 0.15:
        schema |= {"minimum": -1000, "maximum": 100_000}
    if not required and rng.random() < 0.1:
        schema["default"] = None
    if rng.random() < 0.06:
        schema["title"] = cue.title()
    if rng.random() < 0.1:
        schema = dict(reversed(schema.items()))
    return schema


_JSON_TYPES = {"integer": "integer", "number": "number", "boolean": "boolean", "array": "array"}


def _options(rng: Random) -> list[str]:
    n = rng.randint(2, 4)
    if rng.random() < 0.5:
        return rng.sample(lexicon.ENUM_WORDS, n)
    return list(dict.fromkeys(lexicon.invented_word(rng) for _ in range(n)))
