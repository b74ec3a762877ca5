"""Proposes readings of arguments (wrong escapes, lost separators) where the tolerant reader gives up.

Each proposal is verified here against the text, and afterwards by the ladder against the schema. Whatever is
not provably the only reading is None.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import json_repair

from repair.lenient import Reading
from repair.limits import LIMITS
from repair.strict import decode_strict, encode
from repair.tools import Tool
from repair.types import Fix, FixKind

_OVER_ESCAPED = re.compile(r'\s*[{\[]\s*\\"')
_STRING = re.compile(r'"[^"\\\x00-\x1f]*(?:\\.[^"\\\x00-\x1f]*)*"')
_PUNCTUATION = re.compile(r"[{}\[\]:,]")
_BRACKETS = str.maketrans("", "", ":,")
_SCALAR = re.compile(r"[^\s{}\[\]:,]+")
_STRINGS_IN_LIST = re.compile(r"S\s*S\s*[,\]]")
_LOOKS_LIKE_KEY = re.compile(r'",\s*"[^"]*"\s*:')
_QUOTE_ENDS_VALUE = re.compile(r'"\s*[,:}\]"]')
_QUOTE_STARTS_VALUE = re.compile(r'[,:{\[]\s*"\Z')


def read_over_escaped(text: str) -> Reading | None:
    """`{\\"a\\": 1}`: an object whose every quote is escaped, as if it stood in a string."""
    if not _OVER_ESCAPED.match(text):
        return None
    try:
        inner = json.loads(f'"{text}"', strict=False)
        value, end = decode_strict(inner)
    except ValueError:
        return None
    if inner[end:].strip():
        return None
    return Reading(value, len(text), (Fix(FixKind.double_encoded, "", text[:80], inner[:80]),))


def read_unescaped_quotes(text: str, tool: Tool) -> Reading | None:
    """An object of declared keys in which one string, of a free-text parameter, holds raw quotes.

    The keys bound the values. None if a key occurs twice, or if the text of the value holds a backslash (its
    writer escapes, or does not: two readings) or something that could be another key.
    """
    body = text.strip()
    if not (body.startswith("{") and body.endswith("}")) or not tool.keys:
        return None
    inner = body[1:-1]
    names = "|".join(re.escape(encode(key)) for key in tool.keys)
    heads = list(re.finditer(rf"(?:\A|,)\s*({names})\s*:\s*", inner))
    keys = [json.loads(head.group(1)) for head in heads]
    if not heads or heads[0].start() != 0 or len(set(keys)) != len(keys):
        return None
    if len(re.findall(rf"(?:{names})\s*:", inner)) != len(keys):
        return None
    ends = [head.start() for head in heads[1:]] + [len(inner)]
    value: dict[str, Any] = {}
    fixes: list[Fix] = []
    for key, head, end in zip(keys, heads, ends, strict=True):
        part = inner[head.end() : end].strip()
        plain = _decoded(part)
        if plain is None:
            free = _free_text(part, tool.keys[key])
            if free is None or fixes:
                return None
            fixes.append(Fix(FixKind.unescaped_quote, "/" + key, part, encode(free)))
            plain = (free,)
        value[key] = plain[0]
    return Reading(value, len(text), tuple(fixes)) if fixes else None


def _decoded(part: str) -> tuple[Any] | None:
    try:
        value, end = decode_strict(part)
    except ValueError:
        return None
    return (value,) if end == len(part) else None


def _free_text(part: str, schema: Any) -> str | None:
    """The text between the outer quotes, if its inner quotes cannot be structure."""
    if (
        not isinstance(schema, dict)
        or schema.get("type") != "string"
        or "enum" in schema
        or "const" in schema
    ):
        return None
    text = part[1:-1]
    if len(part) < 2 or not (part[0] == part[-1] == '"') or "\\" in text:
        return None
    first, last = text.find('"'), text.rfind('"')
    if first < 0 or _LOOKS_LIKE_KEY.search(text):
        return None
    if _QUOTE_ENDS_VALUE.match(text, first) or _QUOTE_STARTS_VALUE.search(text[: last + 1][-80:]):
        return None
    return text


def read_missing_separators(text: str) -> Reading | None:
    """The reading of json-repair, if all that it did was to add commas or colons that have only one place."""
    if len(text) > LIMITS.proposal_chars:
        return None
    skeleton = _STRING.sub("S", text)
    if '"' in skeleton or "'" in skeleton or "\\" in skeleton or _STRINGS_IN_LIST.search(skeleton):
        return None
    try:
        value = json_repair.loads(text, skip_json_loads=True)
        proposal = encode(value)
        value = decode_strict(proposal)[0]
        added = _only_separators_added(text, skeleton, proposal)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or not added:
        return None
    return Reading(value, len(text), (Fix(FixKind.missing_comma, "", text[:80], proposal[:80]),))


def _only_separators_added(text: str, skeleton: str, proposal: str) -> bool:
    """Whether the proposal only adds separators. Raises ValueError for a string with an invalid escape."""
    after = _STRING.sub("S", proposal)
    if [json.loads(one) for one in _strings(text)] != [json.loads(one) for one in _strings(proposal)]:
        return False
    if _SCALAR.findall(skeleton.replace("S", " ")) != _SCALAR.findall(after.replace("S", " ")):
        return False
    had, has = "".join(_PUNCTUATION.findall(skeleton)), "".join(_PUNCTUATION.findall(after))
    if had.translate(_BRACKETS) != has.translate(_BRACKETS):
        return False
    rest = iter(has)
    return all(char in rest for char in had)


def _strings(text: str) -> Iterator[str]:
    return (match.group() for match in _STRING.finditer(text))
