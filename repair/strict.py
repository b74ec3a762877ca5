"""Reads and writes strict JSON: what all readers accept, and understand alike."""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn

from repair.limits import LIMITS

_JSON_BLANK = re.compile(r"[ \t\n\r]*")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("duplicate key")
    return result


def finite(text: str) -> float:
    """The number. Raises ValueError where it is beyond the range of a float."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is no finite number")
    return number


def _constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_float=finite, parse_constant=_constant)


def decode_strict(text: str, start: int = 0) -> tuple[Any, int]:
    """The JSON value at `start` (after white space) and the index after it.

    Stricter than json.loads: no NaN, no infinite numbers, no duplicate keys, no lone surrogates. Raises
    ValueError, also for nesting beyond the limit.
    """
    try:
        value, end = _DECODER.raw_decode(text, _blank(text, start))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    body = text[start:end]
    if body.count("{") + body.count("[") > LIMITS.nesting and depth(value) > LIMITS.nesting:
        raise ValueError("nested too deeply")
    if "\\u" in body or not body.isascii():
        refuse_surrogates(value)
    return value, end


def refuse_surrogates(value: Any) -> None:
    """Raises ValueError (UnicodeEncodeError) when a string holds half a surrogate pair."""
    json.dumps(value, ensure_ascii=False).encode()


def depth(value: Any) -> int:
    """How many containers stand inside one another."""
    level, deepest = [value], 0
    while level:
        containers = [item for item in level if isinstance(item, dict | list)]
        deepest += bool(containers)
        level = [
            child for item in containers for child in (item.values() if isinstance(item, dict) else item)
        ]
    return deepest


def encode(value: Any) -> str:
    """JSON text of a repaired value, in the spacing of json.dumps."""
    return json.dumps(value, ensure_ascii=False)


def encode_any(value: Any) -> str:
    """Text of a value that may hold Bare leaves, for comparison and for Fix."""
    return json.dumps(value, ensure_ascii=False, default=lambda bare: {"bare": bare.text})


def _blank(text: str, at: int) -> int:
    match = _JSON_BLANK.match(text, at)
    return match.end() if match else at
