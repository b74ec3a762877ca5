"""Keeps what can still be validated of a schema that breaks the rules of JSON Schema.

What has one meaning is read as that; everything else is left out and named. Leaving something out never makes
the rest stricter.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

# Google's API writes types in capitals, and many hand-written tools use Python's names.
_TYPES = {
    **{name: name for name in ("string", "number", "integer", "boolean", "object", "array", "null")},
    **{"str": "string", "int": "integer", "float": "number", "double": "number", "bool": "boolean"},
    **{"any": "any", "dict": "object", "list": "array", "tuple": "array", "none": "null", "nonetype": "null"},
}
_BOOLEANS = {"true": True, "false": False}
_NUMBERS = frozenset(
    "minimum maximum exclusiveMinimum exclusiveMaximum multipleOf minLength maxLength minItems maxItems "
    "minProperties maxProperties".split()
)
_NAMED = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_DATA = ("enum", "const", "default", "examples", "example")
# Inside these a looser part may refuse more, so that they are left out as a whole.
_ALL_OR_NOTHING = ("not", "oneOf", "if", "then", "else", "dependentSchemas", "dependencies")
_CONDITION = ("if", "then", "else")
# Keywords that depend on the other keywords of their object.
_DEPENDENT = {
    "properties": ("additionalProperties", "unevaluatedProperties"),
    "patternProperties": ("additionalProperties", "unevaluatedProperties"),
    "$ref": ("unevaluatedProperties", "unevaluatedItems"),
    "prefixItems": ("items", "unevaluatedItems"),
    "contains": ("minContains", "maxContains"),
}
_STEPS = 100
# A step looks at all of the schema: of a long one fewer are made, so that no schema takes seconds.
_STEPS_TIMES_CHARS, _LEAST_STEPS = 1_000_000, 10
_TOLD_CHARS = 160

Fault = tuple[str, str]  # a JSON pointer into the schema, and what is wrong there
Place = tuple[str, ...]


def loosen(
    root: dict[str, Any], find_fault: Callable[[dict[str, Any]], Fault | None]
) -> tuple[dict[str, Any], list[str]]:
    """A schema in which find_fault finds nothing, and what it no longer validates of `root`."""
    root = _read(root)
    left_out: list[str] = []
    for _ in range(max(_LEAST_STEPS, min(_STEPS, _STEPS_TIMES_CHARS // len(json.dumps(root))))):
        fault = find_fault(root)
        if fault is None:
            return root, left_out
        path, message = fault
        place = _place(root, path)
        found = {place: message} if place else _lost_references(root, message)
        if not found:
            return {}, [*left_out, f"all of it: {_shortened(message)}"]
        told = [f"/{'/'.join(place)}: {_shortened(message)}" for place, message in found.items()]
        left_out += told if len(told) <= _STEPS else [*told[:_STEPS], f"and {len(told) - _STEPS} more"]
        root = _without(root, found)
    return {}, [*left_out, "all of it: too much of it is wrong"]


def _shortened(message: str) -> str:
    return message if len(message) <= _TOLD_CHARS else f"{message[:_TOLD_CHARS]} ..."


def _read(node: Any, names: bool = False) -> Any:
    """The node with everything that has one meaning written as JSON Schema. names: the keys of `node` are
    names of its author.
    """
    if isinstance(node, list):
        return [_read(item) for item in node]
    if not isinstance(node, dict):
        return node
    if names:
        return {key: _read(_as_schema(item)) for key, item in node.items()}
    result = {key: _read_keyword(key, item) for key, item in node.items()}
    if result.get("type") == "any":
        del result["type"]
    for key in ("properties", "required"):
        if key in result and result[key] in (None, [], "", False):
            del result[key]
    return _with_required(result)


def _as_schema(node: Any) -> Any:
    """The value as a schema: the name of a type stands for a schema of that type."""
    return {"type": node} if isinstance(node, str) and node.lower() in _TYPES else node


def _read_keyword(key: str, value: Any) -> Any:
    if key in _DATA:
        return value
    if key == "type":
        return [_type(one) for one in value] if isinstance(value, list) else _type(value)
    if isinstance(value, str) and key in ("additionalProperties", "uniqueItems"):
        return _BOOLEANS.get(value.lower(), value)
    if isinstance(value, str) and key in _NUMBERS:
        return _number(value)
    return _read(value, key in _NAMED)


def _type(value: Any) -> Any:
    return _TYPES.get(value.lower(), value) if isinstance(value, str) else value


def _number(text: str) -> Any:
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, int | float) and not isinstance(value, bool) else text


def _with_required(node: dict[str, Any]) -> dict[str, Any]:
    """The node with `required` as a list: Draft 3 and hand-written tools mark the property itself as
    required.
    """
    properties = node.get("properties")
    if not isinstance(properties, Mapping):
        return node
    required = node.get("required", [])
    if isinstance(required, str) and required in properties:
        required = [required]
    if not isinstance(required, list):
        return node
    own = {name: _flag(part) for name, part in properties.items()}
    names = [*required, *(name for name, flag in own.items() if flag)]
    plain = {
        name: {key: value for key, value in part.items() if key != "required"}
        if own[name] is not None
        else part
        for name, part in properties.items()
    }
    unique = _unique(names)
    return {**node, "properties": plain, **({"required": unique} if unique else {})}


def _unique(names: list[Any]) -> list[Any]:
    """Each once, in order. Some may be no names at all."""
    kept: dict[str, Any] = {}
    for one in names:
        kept.setdefault(json.dumps(one), one)
    return list(kept.values())


def _flag(part: Any) -> bool | None:
    flag = part.get("required") if isinstance(part, Mapping) else None
    if isinstance(flag, str):
        return _BOOLEANS.get(flag.lower())
    return flag if isinstance(flag, bool) else None


def _place(root: Any, path: str) -> Place:
    """Where the keyword is that a fault at a JSON pointer is about; empty where there is none."""
    tokens = [token.replace("~1", "/").replace("~0", "~") for token in path.split("/")[1:]]
    at = 0
    node = root
    while at < len(tokens) and isinstance(node, Mapping) and tokens[at] in node:
        key, value = tokens[at], node[tokens[at]]
        here = tuple(tokens[: at + 1])
        if at + 1 == len(tokens) or key in _ALL_OR_NOTHING:
            return here
        if isinstance(value, Mapping) and key in _NAMED:
            if at + 2 == len(tokens):
                return (*here, tokens[at + 1])
            node, at = value.get(tokens[at + 1]), at + 2
        elif isinstance(value, Mapping):
            node, at = value, at + 1
        elif (
            isinstance(value, list)
            and at + 2 < len(tokens)
            and isinstance(_item(value, tokens[at + 1]), Mapping)
        ):
            node, at = _item(value, tokens[at + 1]), at + 2
        else:
            return here
    return ()


def _item(items: list[Any], token: str) -> Any:
    return items[int(token)] if token.isdigit() and int(token) < len(items) else None


def _without(root: dict[str, Any], places: Iterable[Place]) -> dict[str, Any]:
    """The schema without the keywords at these places, and without everything that depends on them. A named
    schema then accepts anything.
    """
    copy: dict[str, Any] = json.loads(json.dumps(root))
    for place in places:
        _remove(copy, place)
    return copy


def _remove(root: dict[str, Any], place: Place) -> None:
    node: Any = root
    named = False
    for at, key in enumerate(place[:-1]):
        node = node[int(key)] if isinstance(node, list) else node[key]
        named = key in _NAMED and at == len(place) - 2
    last = place[-1]
    if named:
        node[last] = {}
        return
    for key in (last, *_DEPENDENT.get(last, ()), *(_CONDITION if last in _CONDITION else ())):
        node.pop(key, None)


def _lost_references(root: Any, message: str) -> dict[Place, str]:
    """The places of all `$ref` that lead nowhere, each with what is wrong; else the first `$ref` of all, with
    the message of a fault whose place is not known.
    """
    found = list(references(root))
    named = set(_own_names(root))
    gone = [(at, target) for at, target in found if not _resolves(root, target) and target not in named]
    lost = {_place(root, at): _is_lost(target) for at, target in gone}
    lost.pop((), None)
    if not lost and found:
        lost = {_place(root, found[0][0]): message}
    # what stands inside of another place goes with it
    return {
        place: told
        for place, told in lost.items()
        if not any(place[:at] in lost for at in range(1, len(place)))
    }


def _own_names(node: Any) -> Iterator[str]:
    """What a `$ref` may call a part of the schema by, other than its place."""
    if isinstance(node, Mapping):
        for key, prefix in (("$id", ""), ("$anchor", "#"), ("$dynamicAnchor", "#")):
            if isinstance(node.get(key), str):
                yield prefix + node[key]
    for part in node.values() if isinstance(node, Mapping) else node if isinstance(node, list) else ():
        yield from _own_names(part)


def _is_lost(target: str) -> str:
    nowhere = target.startswith("#")
    return f"{target!r} leads nowhere" if nowhere else f"{target!r} is elsewhere, and nothing is fetched"


def references(node: Any, pointer: str = "", names: bool = False) -> Iterator[tuple[str, str]]:
    """The JSON pointer of each reference, and what it refers to."""
    if isinstance(node, Mapping):
        for key, item in node.items():
            below = f"{pointer}/{str(key).replace('~', '~0').replace('/', '~1')}"
            if key in ("$ref", "$dynamicRef", "$recursiveRef") and isinstance(item, str) and not names:
                yield below, item
            elif names or key not in _DATA:
                yield from references(item, below, not names and key in _NAMED)
    elif isinstance(node, list):
        for index, item in enumerate(node):
            yield from references(item, f"{pointer}/{index}")


def _resolves(root: Any, target: str) -> bool:
    if target != "#" and not target.startswith("#/"):
        return False
    node = root
    for token in target.split("/")[1:]:
        key = token.replace("~1", "/").replace("~0", "~")
        node = (
            _item(node, key)
            if isinstance(node, list)
            else node.get(key)
            if isinstance(node, Mapping)
            else None
        )
        if node is None:
            return False
    return True
