"""True calls over random schemas, and labelled malformations of them.

The label is the injector's: `recoverable` if the bytes and the schema still tell the one call that was
meant, else `destroyed`. Everything is drawn from one random.Random, so a seed names a case.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from repair.formats import FORMATS
from repair.types import ToolCall, ToolDefinition

WORDS = [
    "oslo",
    "Fjord",
    "blue-7",
    "report",
    "x",
    "Kvæfjord",
    "alpha beta",
    "run --all",
    "a/b.txt",
    "日本",
    "it",
]
TEXTS = [
    *WORDS,
    "line one\nline two",
    'say "hi"',
    "C:\\dir\\new",
    "{not json}",
    "02139",
    "true",
    "a, b",
    "<b>",
    "it's",
]
JSON_BODIES = (
    "hermes",
    "nemotron",
    "hunyuan_a13b",
    "longcat",
    "kimi",
    "deepseek_v31",
    "mistral",
    "bare_json",
)


@dataclass(frozen=True)
class Sample:
    """A call, its tools, and its text in one format."""

    tools: tuple[ToolDefinition, ...]
    call: ToolCall
    format: str
    text: str
    finish: str = "stop"

    @property
    def arguments(self) -> dict[str, Any]:
        return dict(json.loads(self.call.arguments))

    @property
    def schema(self) -> dict[str, Any]:
        return dict(self.tools[0].parameters)

    def emitted(self, arguments: dict[str, Any], name: str | None = None) -> Sample:
        """The same sample with other arguments (or another name) in its text; the truth stays."""
        shown = ToolCall(name or self.call.name, json.dumps(arguments, ensure_ascii=False))
        return replace(self, text=FORMATS[self.format].render((shown,)))


def draw_sample(rng: random.Random, formats: tuple[str, ...]) -> Sample:
    """A random tool, and a true call of it."""
    properties: dict[str, Any] = {}
    values: dict[str, Any] = {}
    for key in rng.sample(
        ["city", "count", "flag", "ratio", "tags", "who", "mode", "body", "path"], rng.randint(1, 5)
    ):
        properties[key], values[key] = _draw_property(rng, key)
    required = [key for key in properties if rng.random() < 0.7] or list(properties)[:1]
    given = {key: value for key, value in values.items() if key in required or rng.random() < 0.7}
    schema: dict[str, Any] = {"type": "object", "properties": properties, "required": required}
    if rng.random() < 0.5:
        schema["additionalProperties"] = False
    tools = (
        ToolDefinition("do_work", "", schema),
        ToolDefinition("get_all", "", {"type": "object", "properties": {}}),
    )
    call = ToolCall("do_work", json.dumps(given, ensure_ascii=False))
    format = rng.choice(formats)
    return Sample(tools, call, format, FORMATS[format].render((call,)))


def _draw_property(rng: random.Random, key: str) -> tuple[dict[str, Any], Any]:
    match key:
        case "count":
            return {"type": "integer"}, rng.choice([0, 7, -3, 10**12])
        case "flag":
            return {"type": "boolean"}, rng.random() < 0.5
        case "ratio":
            return {"type": "number"}, rng.choice([0.5, -2.25, 1e-7, 3])
        case "tags":
            return {"type": "array", "items": {"type": "string"}}, rng.sample(TEXTS, rng.randint(0, 3))
        case "who":
            inner = {"name": {"type": "string"}, "age": {"type": "integer"}}
            return {"type": "object", "properties": inner}, {
                "name": rng.choice(WORDS),
                "age": rng.randint(1, 90),
            }
        case "mode":
            return {"type": "string", "enum": ["Fast", "slow", "AUTO"]}, rng.choice(["Fast", "slow", "AUTO"])
    return {"type": "string"}, rng.choice(TEXTS)


Injection = Callable[[Sample, random.Random], Sample | None]


def trailing_comma(sample: Sample, rng: random.Random) -> Sample | None:
    if not _has_json(sample) or not sample.arguments:
        return None
    body = sample.call.arguments
    return replace(sample, text=sample.text.replace(body, body[:-1] + ",}", 1))


def extra_brace(sample: Sample, rng: random.Random) -> Sample | None:
    body = sample.call.arguments
    if not _has_json(sample) or sample.format in ("bare_json", "mistral"):
        return None
    at = sample.text.rindex("}") + 1
    return replace(sample, text=sample.text[:at] + "}" + sample.text[at:]) if body else None


def missing_outer_brace(sample: Sample, rng: random.Random) -> Sample | None:
    if sample.format not in ("hermes", "longcat"):
        return None
    at = sample.text.rindex("}")
    return replace(sample, text=sample.text[:at] + sample.text[at + 1 :])


def raw_newline(sample: Sample, rng: random.Random) -> Sample | None:
    body = sample.call.arguments
    if not _has_json(sample) or "\\n" not in body or "\\\\" in body:
        return None
    return replace(sample, text=sample.text.replace(body, body.replace("\\n", "\n"), 1))


def python_source(sample: Sample, rng: random.Random) -> Sample | None:
    body = sample.call.arguments
    if not _has_json(sample) or "\\" in body or "'" in body:
        return None
    return replace(sample, text=sample.text.replace(body, repr(sample.arguments), 1))


def byte_order_mark(sample: Sample, rng: random.Random) -> Sample | None:
    body = sample.call.arguments
    return (
        replace(sample, text=sample.text.replace(body, "\ufeff" + body, 1))
        if _has_json(sample) and body
        else None
    )


def encoded_twice(sample: Sample, rng: random.Random) -> Sample | None:
    body = sample.call.arguments
    if not _has_json(sample) or sample.format in ("kimi", "deepseek_v31", "mistral"):
        return None
    return replace(sample, text=sample.text.replace(body, json.dumps(body), 1))


def name_case(sample: Sample, rng: random.Random) -> Sample | None:
    if sample.format in ("bare_python", "mistral", "functionary"):
        return None
    return sample.emitted(sample.arguments, rng.choice(["Do_Work", "DO_WORK"]))


def name_prefix(sample: Sample, rng: random.Random) -> Sample | None:
    if sample.format in ("bare_python", "functionary"):
        return None
    return sample.emitted(sample.arguments, "functions.do_work")


def closing_tag_lost(sample: Sample, rng: random.Random) -> Sample | None:
    ends = {"hermes": "\n</tool_call>", "longcat": "\n</longcat_tool_call>", "nemotron": "</TOOLCALL>"}
    end = ends.get(sample.format)
    return replace(sample, text=sample.text.removesuffix(end)) if end else None


def closing_tag_doubled(sample: Sample, rng: random.Random) -> Sample | None:
    ends = {
        "hermes": "</tool_call>",
        "longcat": "</longcat_tool_call>",
        "nemotron": "</TOOLCALL>",
        "lfm2": "<|tool_call_end|>",
    }
    end = ends.get(sample.format)
    return replace(sample, text=sample.text + end) if end else None


def retyped(sample: Sample, rng: random.Random) -> Sample | None:
    """One value in a type that has only one reading under its schema."""
    arguments = sample.arguments
    options: dict[str, Any] = {}
    for key, value in arguments.items():
        match key:
            case "count":
                options[key] = str(value)
            case "flag":
                options[key] = rng.choice([str(value), str(value).lower()])
            case "who":
                options[key] = json.dumps(value, ensure_ascii=False)
            case "mode":
                options[key] = value.swapcase()
            case "tags" if len(value) == 1 and not set(value[0]) & set(",[{\n|;"):
                options[key] = value[0]
    if not options:
        return None
    key = rng.choice(sorted(options))
    return sample.emitted({**arguments, key: options[key]})


def cut(sample: Sample, rng: random.Random) -> Sample | None:
    start = sample.text.index("do_work") + len("do_work") + 1
    if start >= len(sample.text):
        return None
    return replace(
        sample,
        text=sample.text[: rng.randrange(start, len(sample.text))],
        finish=rng.choice(["stop", "length"]),
    )


def required_lost(sample: Sample, rng: random.Random) -> Sample | None:
    required = [key for key in sample.arguments if key in sample.schema["required"]]
    if not required:
        return None
    lost = rng.choice(required)
    return sample.emitted({key: value for key, value in sample.arguments.items() if key != lost})


def tool_misspelt(sample: Sample, rng: random.Random) -> Sample | None:
    return sample.emitted(sample.arguments, rng.choice(["do_works", "dowork", "do_wrok", "perform_work"]))


def value_ruined(sample: Sample, rng: random.Random) -> Sample | None:
    ruined = {"count": "about 5", "flag": "maybe", "mode": "quick", "who": "Bo, 4", "ratio": "1,234"}
    keys = [key for key in sample.arguments if key in ruined]
    if not keys:
        return None
    key = rng.choice(keys)
    return sample.emitted({**sample.arguments, key: ruined[key]})


def key_misspelt(sample: Sample, rng: random.Random) -> Sample | None:
    required = [key for key in sample.arguments if key in sample.schema["required"]]
    if not required:
        return None
    key = rng.choice(required)
    return sample.emitted(
        {(key + "s" if one == key else one): value for one, value in sample.arguments.items()}
    )


RECOVERABLE: tuple[Injection, ...] = (
    *(trailing_comma, extra_brace, missing_outer_brace, raw_newline, python_source, byte_order_mark),
    *(encoded_twice, name_case, name_prefix, closing_tag_lost, closing_tag_doubled, retyped),
)
DESTROYING: tuple[Injection, ...] = (cut, required_lost, tool_misspelt, value_ruined, key_misspelt)


def _has_json(sample: Sample) -> bool:
    return sample.format in JSON_BODIES and sample.call.arguments in sample.text
