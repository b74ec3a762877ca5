"""Text that looks more or less like a call, and is none."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from random import Random

from repair.formats import AUTO, FORMATS
from repair.types import ToolCall, ToolDefinition

Negative = tuple[str, str, str]


def negatives(tools: Sequence[ToolDefinition], request: str, rng: Random) -> Iterator[Negative]:
    """(kind, format to read with, text). request: what the user asked for; no tool serves it."""
    tool = rng.choice(list(tools))
    name = tool.name
    call = ToolCall(name, json.dumps(dict.fromkeys(tool.parameters.get("properties", {}), "Oslo")))
    definition = {"name": name, "description": tool.description or "A tool.", "parameters": tool.parameters}
    other = rng.choice(tuple(FORMATS))
    format = rng.choice((AUTO, *FORMATS))
    shown = FORMATS[other].render((call,))
    quoted = json.dumps({"name": name, "arguments": json.loads(call.arguments)})
    texts = {
        "the request repeated": request,
        "prose that names a tool": f"I could use {name} for this, but {request[:60]} is not what it does.",
        "a call in words": f"I would call {name}(query='Oslo', limit=3) if I had to.",
        "the tool's definition": f"This is what I know of it:\n{json.dumps(definition)}",
        "the tool's schema": json.dumps(dict(tool.parameters)),
        "data with a name": json.dumps({"name": "Anna Smith", "arguments": {"for": 2, "against": 1}}),
        "a list of data": json.dumps([{"name": "Anna"}, {"name": name, "score": 3}]),
        "a call in backticks": f"You write `{quoted}` to call it.",
        "a call in a fenced example": f"For example:\n```json\n{quoted}\n```\nDoes that help?",
        "a marked call in a fenced example": f"For example:\n```\n{shown}\n```\nDoes that help?",
        "JSON in the middle of prose": f"The payload {quoted} is what a client sends.",
        "an empty answer": "",
    }
    for kind, text in texts.items():
        yield kind, format, text
