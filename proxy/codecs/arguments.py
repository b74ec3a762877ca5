"""The arguments of a call, for dialects that have a JSON object in their place where others have a text."""

from __future__ import annotations

import msgspec


def input_text(arguments: str) -> str:
    """The JSON object of a call's input: the arguments byte for byte where they are one. Others, which go out
    only where the guard is told to hand over broken calls, stand in an object as text.
    """
    if not arguments.strip():
        return "{}"
    try:
        value = msgspec.json.decode(arguments)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        value = None
    if isinstance(value, dict):
        return arguments
    return msgspec.json.encode({"arguments": arguments}).decode()
