"""Requests that several tests send."""

from __future__ import annotations

from typing import Any

WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Current weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city"],
        },
    },
}
CLOCK: dict[str, Any] = {
    "type": "function",
    "function": {"name": "get_time", "parameters": {"type": "object", "properties": {}}},
}
TOOLS: Any = [WEATHER, CLOCK]

CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Lisbon"}}\n</tool_call>'
# a trailing comma: repaired
SLOPPY_CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Lisbon",}}\n</tool_call>'
# the required argument is missing: nobody may invent it
HOPELESS_CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"days": 2}}\n</tool_call>'
# a type that cannot be mended, and a call that was cut off
BAD_TYPE_CALL = CALL.replace('"Lisbon"', '"Lisbon", "days": "soon"')
CUT_CALL = CALL[:60]
LISBON = ("get_weather", '{"city": "Lisbon"}')


def user(text: str) -> Any:
    return {"role": "user", "content": text}


def body(text: str = "hi", **fields: Any) -> dict[str, Any]:
    return {"model": "scripted", "messages": [user(text)], **fields}
