"""Schema-directed changes of values, such as "3" to 3 where the schema asks for an integer.

A value changes only if its schema refuses it and accepts exactly one of the readings below; what the schema
accepts is never touched.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from repair.lenient import Unreadable, read_body
from repair.limits import LIMITS
from repair.schema import CompiledSchema, escape
from repair.strict import decode_strict, encode, encode_any
from repair.types import Bare, Fix, FixKind

_INTEGER = re.compile(r"-?(?:0|[1-9]\d*)", re.ASCII)
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)
_LEADING_ZERO = re.compile(r"-?0\d+", re.ASCII)
_LIST_LIKE = re.compile(r"[,;|\n]")
_EXACT_FLOAT = 2**53
# what the text of a container may lack: its own closing tag or quote proves that no more was meant
_CONTAINER_FIXES = {
    *(FixKind.single_quotes, FixKind.python_literal, FixKind.trailing_comma, FixKind.raw_control),
    *(FixKind.missing_closer, FixKind.extra_closer, FixKind.missing_comma, FixKind.unquoted_key),
    FixKind.byte_order_mark,
}
_MISSING = object()


@dataclass(frozen=True, slots=True)
class Coercion:
    """A value and the changes that led to it; Bare leaves remain where there is no single reading."""

    value: Any
    fixes: tuple[Fix, ...] = ()


@dataclass(frozen=True, slots=True)
class Candidate:
    """Another reading of a leaf, and the kinds of change that make it one."""

    value: Any
    kinds: tuple[FixKind, ...] = ()


def coerce(value: Any, schema: CompiledSchema) -> Coercion:
    """Bring `value` as close to `schema` as single readings allow. The caller validates the result."""
    return _Walk(schema).node(value, "", "")


def has_bare(value: Any) -> bool:
    """Whether an untyped leaf is left anywhere."""
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, Bare):
            return True
        if isinstance(item, dict):
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
    return False


class _Walk:
    def __init__(self, schema: CompiledSchema) -> None:
        self.schema = schema
        self.budget = LIMITS.coercions

    def accepts(self, pointer: str, value: Any) -> bool:
        return not has_bare(value) and self.schema.accepts(pointer, value)

    def node(self, value: Any, pointer: str, path: str) -> Coercion:
        self.budget -= 1
        if self.budget < 0 or self.accepts(pointer, value):
            return Coercion(value)
        pointer, node = self.schema.resolve(pointer)
        if not isinstance(value, dict | list):
            return self.leaf(value, pointer, node, path)
        if not isinstance(node, dict):
            return Coercion(value)
        own = self.children(value, pointer, node, path)
        if self.accepts(pointer, own.value):
            return own
        if isinstance(node.get("allOf"), list):
            own = self.all_branches(own, f"{pointer}/allOf", len(node["allOf"]), path)
        for key in ("anyOf", "oneOf"):
            if isinstance(node.get(key), list) and not self.accepts(pointer, own.value):
                own = self.branches(own, f"{pointer}/{key}", len(node[key]), pointer, path)
        return own

    def all_branches(self, own: Coercion, base: str, count: int, path: str) -> Coercion:
        """The coercion by all branches together."""
        for index in range(count):
            tried = self.node(own.value, f"{base}/{index}", path)
            own = Coercion(tried.value, own.fixes + tried.fixes)
        return own

    def branches(self, own: Coercion, base: str, count: int, pointer: str, path: str) -> Coercion:
        """The coercion by the one branch that makes the value acceptable; none if several do."""
        found: dict[str, Coercion] = {}
        bare = has_bare(own.value)
        for index in range(count):
            tried = self.node(own.value, f"{base}/{index}", path)
            if (tried.fixes or bare) and self.accepts(pointer, tried.value):
                found[encode(tried.value)] = Coercion(tried.value, own.fixes + tried.fixes)
        return found.popitem()[1] if len(found) == 1 else own

    def children(self, value: Any, pointer: str, node: dict[str, Any], path: str) -> Coercion:
        fixes: list[Fix] = []
        if isinstance(value, list):
            items = []
            for index, item in enumerate(value):
                below = self.child(item, _item_pointer(node, pointer, index), f"{path}/{index}")
                items.append(below.value)
                fixes += below.fixes
            return Coercion(items, tuple(fixes))
        members = {}
        required = node.get("required") or ()
        for key, item in value.items():
            below = self.child(
                item, _member_pointer(node, pointer, key), path + escape(key), key not in required
            )
            fixes += below.fixes
            if below.value is not _MISSING:
                members[key] = below.value
        return Coercion(members, tuple(fixes))

    def child(self, item: Any, pointer: str | None, path: str, optional: bool = False) -> Coercion:
        if pointer is None:
            return Coercion(_untyped(item))
        below = self.node(item, pointer, path)
        null = item is None or (isinstance(item, Bare) and item.text.strip() in ("null", "None"))
        if optional and null and below.value == item and not self.accepts(pointer, item):
            readings = [None] if item is None else [None, item.text]
            if not any(self.accepts(pointer, reading) for reading in readings):
                return Coercion(_MISSING, (Fix(FixKind.drop_null, path, "null", ""),))
        return below

    def leaf(self, value: Any, pointer: str, node: Any, path: str) -> Coercion:
        if isinstance(value, Bare) and value.items is not None:
            return self.set_items(value, value.items, pointer, node, path)
        options = list(self.options(pointer, node, 0))
        if isinstance(value, Bare):
            natural = self.choose(_natural(value.text), pointer)
            if natural is not None:
                return self.changed(value, natural, path)
            if any(self.accepts(pointer, candidate.value) for candidate in _natural(value.text)):
                return Coercion(value)
            if value.element and not value.text.strip():
                empty = [Candidate([], (FixKind.parse_container,)), Candidate({}, (FixKind.parse_container,))]
                chosen = self.choose(empty, pointer)
                return Coercion(chosen.value if chosen else value)
        text = value.text if isinstance(value, Bare) else value
        named = self.types(pointer, node, 0)
        readings = list(_candidates(text, options))
        candidates = [one for one in readings if _type(one.value) in named or one.value in options]
        chosen = self.choose(candidates, pointer)
        if chosen is None and isinstance(text, str) and text.lstrip()[:1] in ("[", "{"):
            return (
                self.container(value, text, pointer, path) if named & {"array", "object"} else Coercion(value)
            )
        if (
            chosen is None
            and "array" in named
            and not any(self.accepts(pointer, one.value) for one in candidates)
        ):
            chosen = self.choose(list(_wrapped(value, text, readings)), pointer)
        return self.changed(value, chosen, path) if chosen is not None else Coercion(value)

    def set_items(self, value: Bare, items: tuple[Any, ...], pointer: str, node: Any, path: str) -> Coercion:
        """A Python set as an array, where the schema wants one."""
        if "array" not in self.types(pointer, node, 0):
            return Coercion(value)
        below = self.node(list(items), pointer, path)
        if not self.accepts(pointer, below.value):
            return Coercion(value)
        fix = Fix(FixKind.parse_container, path, value.text, encode(below.value))
        return Coercion(below.value, (fix, *below.fixes))

    def changed(self, value: Any, chosen: Candidate, path: str) -> Coercion:
        before = value.text if isinstance(value, Bare) else encode(value)
        return Coercion(
            chosen.value, tuple(Fix(kind, path, before, encode(chosen.value)) for kind in chosen.kinds)
        )

    def choose(self, candidates: list[Candidate], pointer: str) -> Candidate | None:
        """The one candidate that the schema accepts; None for none and for several."""
        found = {encode(one.value): one for one in candidates if self.accepts(pointer, one.value)}
        return found.popitem()[1] if len(found) == 1 else None

    def container(self, value: Any, text: str, pointer: str, path: str) -> Coercion:
        """An object or array given as a string, its own values coerced in turn."""
        for inner in _parsed(text):
            below = self.node(inner.value, pointer, path)
            if self.accepts(pointer, below.value):
                return Coercion(below.value, self.changed(value, inner, path).fixes + below.fixes)
        return Coercion(value)

    def types(self, pointer: str, node: Any, depth: int) -> set[str]:
        """The types that the schema names here, through branches and references.

        Without a named type there is nothing to coerce to: another type would only slip past the rest.
        """
        found: set[str] = set()
        if not isinstance(node, dict) or depth > 4:
            return found
        own = node.get("type")
        found.update([own] if isinstance(own, str) else own if isinstance(own, list) else [])
        for key in ("allOf", "anyOf", "oneOf"):
            for index in range(len(node[key]) if isinstance(node.get(key), list) else 0):
                found |= self.types(*self.schema.resolve(f"{pointer}/{key}/{index}"), depth + 1)
        return found | {"integer"} if "number" in found else found

    def options(self, pointer: str, node: Any, depth: int) -> Iterator[Any]:
        """The values that `enum` and `const` allow here, through branches and references."""
        if not isinstance(node, dict) or depth > 4:
            return
        if isinstance(node.get("enum"), list):
            yield from node["enum"]
        if "const" in node:
            yield node["const"]
        for key in ("allOf", "anyOf", "oneOf"):
            for index in range(len(node[key]) if isinstance(node.get(key), list) else 0):
                below, target = self.schema.resolve(f"{pointer}/{key}/{index}")
                yield from self.options(below, target, depth + 1)


def _member_pointer(node: dict[str, Any], pointer: str, key: str) -> str | None:
    """Where the schema of member `key` is; None where none is declared."""
    properties = node.get("properties")
    if isinstance(properties, dict) and key in properties:
        return f"{pointer}/properties{escape(key)}"
    if isinstance(node.get("additionalProperties"), dict) and not node.get("patternProperties"):
        return f"{pointer}/additionalProperties"
    return None


def _item_pointer(node: dict[str, Any], pointer: str, index: int) -> str | None:
    items = node.get("items")
    for key, tuples in (("prefixItems", node.get("prefixItems")), ("items", items)):
        if isinstance(tuples, list) and index < len(tuples):
            return f"{pointer}/{key}/{index}"
    return f"{pointer}/items" if isinstance(items, dict) else None


def _type(value: Any) -> str:
    names: dict[type, str] = {bool: "boolean", int: "integer", float: "number", str: "string"}
    return names.get(type(value), "null")


def _untyped(value: Any) -> Any:
    """The value where no schema applies: Bare text that can only be a string becomes one."""
    if isinstance(value, dict):
        return {key: _untyped(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_untyped(item) for item in value]
    if isinstance(value, Bare) and value.items is None and len(_natural(value.text)) == 1:
        return value.text
    return value


def _natural(text: str) -> list[Candidate]:
    """What untyped text can be: a string, and the JSON (or Python) value that it spells."""
    found = [Candidate(text)]
    word = text.strip()
    if _LEADING_ZERO.fullmatch(word):
        return [*found, *_number(word, FixKind.leading_zero)]
    if word in ("True", "False", "None"):
        value = {"True": True, "False": False, "None": None}[word]
        return [*found, Candidate(value, (FixKind.python_literal,))]
    try:
        value, end = decode_strict(word)
    except ValueError:
        return found
    if end != len(word) or isinstance(value, str):
        return found  # a string stays verbatim, quotes included
    return [*found, Candidate(value)]


def _number(word: str, kind: FixKind) -> Iterator[Candidate]:
    try:
        yield Candidate(int(word), (kind,))
    except ValueError:
        return


def _candidates(value: Any, options: list[Any]) -> Iterator[Candidate]:
    """Other readings of a refused leaf."""
    if isinstance(value, str):
        if _INTEGER.fullmatch(value):
            yield from _number(value, FixKind.to_number)
        elif _NUMBER.fullmatch(value):
            try:
                yield Candidate(decode_strict(value)[0], (FixKind.to_number,))
            except ValueError:
                return
        if value.casefold() in ("true", "false"):
            yield Candidate(value.casefold() == "true", (FixKind.to_boolean,))
        if value == "null":
            yield Candidate(None, (FixKind.to_null,))
        for option in options:
            if isinstance(option, str) and option.casefold() == value.casefold():
                yield Candidate(option, (FixKind.enum_case,))
            elif isinstance(option, str) and value.strip() == encode(option):
                yield Candidate(option, (FixKind.double_encoded,))
    elif isinstance(value, int) and not isinstance(value, bool):
        yield Candidate(str(value), (FixKind.to_string,))
    elif isinstance(value, float) and value.is_integer() and abs(value) < _EXACT_FLOAT:
        yield Candidate(int(value), (FixKind.to_integer,))


def _wrapped(value: Any, text: Any, candidates: list[Candidate]) -> Iterator[Candidate]:
    """A scalar as the only item of an array; never text that might be a list itself."""
    null = value is None or (isinstance(value, Bare) and value.text.strip() in ("null", "None"))
    blank = isinstance(value, Bare) and not value.text.strip()
    if null or blank or (isinstance(text, str) and _LIST_LIKE.search(text)):
        return
    readings = [*(_natural(text) if isinstance(value, Bare) else [Candidate(value)]), *candidates]
    for one in readings:
        if one.value is not None and not isinstance(one.value, dict | list):
            yield Candidate([one.value], (*one.kinds, FixKind.wrap_array))


def _parsed(text: str) -> Iterator[Candidate]:
    try:
        value, end = decode_strict(text)
        if end == len(text.rstrip()):
            yield Candidate(value, (FixKind.parse_container,))
            return
    except ValueError:
        pass
    reading = read_body(text, closed=True)
    if isinstance(reading, Unreadable) or has_bare(reading.value):
        return
    kinds = {fix.kind: None for fix in reading.fixes}
    if isinstance(reading.value, dict | list) and set(kinds) <= _CONTAINER_FIXES:
        told = [one for one in kinds if one not in (FixKind.single_quotes, FixKind.python_literal)]
        yield Candidate(reading.value, (FixKind.parse_container, *told))


__all__ = ["Coercion", "coerce", "encode_any", "has_bare"]
