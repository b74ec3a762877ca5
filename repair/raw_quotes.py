"""Reads a Python call in which one string holds raw quotes of its own kind: `run(cmd='grep 'x y' a.txt')`."""

from __future__ import annotations

import re
from typing import Any

from repair.lenient import Reader, ReadError
from repair.names import resolve_name
from repair.pythonic import HEAD
from repair.regions import Region, skip_space
from repair.strict import encode
from repair.tools import Tool, ToolSet
from repair.types import Body, Fix, FixKind, Problem, RawCall

_STRUCTURE_BEFORE = re.compile(r"\s*[,)\]}:]")
_STRUCTURE_BEHIND = re.compile(r"[=(\[{:,]\s*\Z")


def read_raw_quotes(
    text: str, start: int, body: int, listed: bool, closers: tuple[str, ...], tools: ToolSet
) -> Region | None:
    """The only call between `body` and the first of `closers`, or None.

    Its values must be bounded by declared keys, and one value, free text, must hold pairs of quotes that
    cannot be structure.
    """
    at = skip_space(text, body)
    if listed and text[at : at + 1] != "[":
        return None
    head = HEAD.match(text, skip_space(text, at + 1) if listed else at)
    found = [(place, one) for one in closers if head and (place := text.find(one, head.end())) >= 0]
    if head is None or not found:
        return None
    place, closer = min(found)
    inner = text[head.end() : place].rstrip()
    if listed:
        inner = inner.removesuffix("]").rstrip() if inner.endswith("]") else ""
    resolved = resolve_name(head.group("name"), tools)
    if isinstance(resolved, Problem) or not inner.endswith(")"):
        return None
    read = _read_members(inner[:-1].strip(), resolved[0])
    if read is None:
        return None
    tree, fix = read
    source = text[head.start() : place]
    call = RawCall(head.group("name"), Body.tree, source, True, tree, (fix,))
    return Region(start, place + len(closer), body, (call,), fragile=closers)


def _read_members(inner: str, tool: Tool) -> tuple[dict[str, Any], Fix] | None:
    names = "|".join(map(re.escape, tool.keys))
    if not names:
        return None
    heads = list(re.finditer(rf"(?:\A|,)\s*(?P<key>{names})\s*=(?!=)\s*", inner))
    keys = [one.group("key") for one in heads]
    if not heads or heads[0].start() != 0 or len(set(keys)) != len(keys):
        return None
    if len(re.findall(rf"\b(?:{names})\s*=", inner)) != len(keys):
        return None
    tree: dict[str, Any] = {}
    fixes: list[Fix] = []
    ends = [one.start() for one in heads[1:]] + [len(inner)]
    for key, head, end in zip(keys, heads, ends, strict=True):
        part = inner[head.end() : end].strip()
        reader = Reader(part, 0, bare=True)
        try:
            tree[key] = reader.value("")
        except ReadError:
            return None
        if reader.at < len(part):
            free = _free_text(part, tool.keys[key])
            if free is None:
                return None
            tree[key] = free
            fixes.append(Fix(FixKind.unescaped_quote, "/" + key, part, encode(free)))
    return (tree, fixes[0]) if len(fixes) == 1 else None


def _free_text(part: str, schema: Any) -> str | None:
    """The text between the outer quotes, if the inner ones come in pairs and around words alone; else None:
    Python reads two strings side by side as one, and a quote beside a comma or bracket may end the value.
    """
    free = isinstance(schema, dict) and schema.get("type") == "string"
    if not free or "enum" in schema or "const" in schema or "\\" in part or "\n" in part:
        return None
    quote = part[:1]
    if quote not in ("'", '"') or len(part) < 2 or part[-1] != quote:
        return None
    segments = part[1:-1].split(quote)
    if len(segments) % 2 == 0 or not (segments[0] or segments[-1]):
        return None
    if any(map(_STRUCTURE_BEFORE.match, segments[1:])):
        return None
    if any(not one.strip() or _STRUCTURE_BEHIND.search(one) for one in segments[1::2]):
        return None
    return part[1:-1]
