"""Compiles a tool's JSON Schema: the validator, and the validators of its subschemas for coercion."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema_rs

from repair.limits import LIMITS
from repair.loose_schema import loosen
from repair.schema_size import has_light_parts

_DRAFTS = (
    "https://json-schema.org/draft/2020-12/schema",
    "http://json-schema.org/draft-07/schema#",
    "http://json-schema.org/draft-04/schema#",
)
_IN_PLACE_LISTS = ("allOf", "anyOf", "oneOf")
_IN_PLACE = ("not", "if", "then", "else")
_DATA = ("enum", "const", "default", "examples", "example")
_NAMED = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")


class SchemaError(ValueError):
    """A tool's parameters are not a usable JSON Schema. path: a JSON pointer into the schema."""

    def __init__(self, tool_name: str, path: str, message: str) -> None:
        super().__init__(f"tool {tool_name!r}: parameters{path}: {message}")
        self.tool_name = tool_name
        self.path = path
        self.message = message


class UnusableSchema(ValueError):
    """What SchemaError says, before the tool's name is known."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(message)
        self.path = path
        self.message = message


def escape(key: object) -> str:
    """One token of a JSON pointer (RFC 6901), with its leading slash."""
    return "/" + str(key).replace("~", "~0").replace("/", "~1")


def lookup(root: Any, pointer: str) -> Any:
    """The node at `pointer` ("" or "/a/0"); raises KeyError where there is none."""
    node = root
    for token in pointer.split("/")[1:]:
        key = token.replace("~1", "/").replace("~0", "~")
        if isinstance(node, Mapping) and key in node:
            node = node[key]
        elif isinstance(node, list) and key.isdigit() and int(key) < len(node):
            node = node[int(key)]
        else:
            raise KeyError(pointer)
    return node


class CompiledSchema:
    """A schema whose draft is known, that has no `$ref` loops, and whose validators are built.

    The validators of subschemas are compiled when the first call needs coercion.

    left_out: what of the schema is not validated because it breaks the rules of JSON Schema, each as `place:
        reason`.
    """

    def __init__(self, root: dict[str, Any], left_out: tuple[str, ...] = ()) -> None:
        self.root = root
        self.left_out = left_out
        self.validator: jsonschema_rs.Validator = _build(root)
        self.closed_keys = root.get("additionalProperties") is False
        properties = root.get("properties")
        self.properties: Mapping[str, Any] = properties if isinstance(properties, Mapping) else {}
        required = root.get("required")
        self.branching = _branches(root, False)
        self.required: frozenset[str] = frozenset(required if isinstance(required, list) else ())

    @functools.cached_property
    def parts(self) -> Mapping[str, jsonschema_rs.Validator] | jsonschema_rs.ValidatorMap:
        """Validators of every subschema, keyed "#" + JSON pointer; none where to build them took seconds."""
        if not has_light_parts(self.root):
            return {}
        return jsonschema_rs.validator_map_for(self.root, offline=True, validate_formats=False)

    def accepts(self, pointer: str, value: Any) -> bool:
        """Whether the subschema at `pointer` accepts `value`; a boolean schema answers for itself."""
        node = lookup(self.root, pointer)
        if isinstance(node, bool):
            return node
        validator = self.parts.get("#" + pointer)
        return validator is not None and validator.is_valid(value)

    def resolve(self, pointer: str) -> tuple[str, Any]:
        """Follows local `$ref`s from the node at `pointer`; returns the last pointer and its node."""
        node = lookup(self.root, pointer)
        while isinstance(node, Mapping) and isinstance(node.get("$ref"), str):
            target = node["$ref"]
            if not target.startswith("#") or (len(target) > 1 and target[1] != "/"):
                break
            pointer = target[1:]
            node = lookup(self.root, pointer)
        return pointer, node


def compile_schema(parameters: Mapping[str, Any]) -> CompiledSchema:
    """Compiles `parameters`, or takes them from the cache when the same schema was seen before.

    What breaks the rules (an unknown type, a broken regex, a `$ref` that loops or leads nowhere or to a URL,
    which is never fetched) is read by its one meaning, or left out: see CompiledSchema.left_out. Raises
    UnusableSchema for what is not JSON, or nested too deeply.
    """
    try:
        text = json.dumps(parameters, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise UnusableSchema("", f"not a JSON value: {error}") from error
    for length, kept in KEPT:
        if len(text) <= length:
            return kept(text)
    return _compile_text(text)


def _compile_text(text: str) -> CompiledSchema:
    try:
        root = _normalise(json.loads(text), 0)
    except RecursionError as error:
        raise UnusableSchema("", "nested too deeply") from error
    drafts = (root["$schema"],) if root.get("$schema") in _DRAFTS else _DRAFTS
    candidates = [{**root, "$schema": draft} for draft in drafts]
    for candidate in candidates:
        with contextlib.suppress(UnusableSchema):
            _refuse_loops(candidate)
            return CompiledSchema(candidate)
    loose = [loosen(candidate, _find_fault) for candidate in candidates]
    kept, left_out = min(loose, key=lambda one: len(one[1]))
    return CompiledSchema(kept, tuple(left_out))


# The schemas that were used last, by their characters at most. A compiled one takes up to forty bytes of
# memory for each, so that all together are bounded.
KEPT = (
    (4_096, functools.lru_cache(maxsize=1024)(_compile_text)),
    (32_768, functools.lru_cache(maxsize=64)(_compile_text)),
    (262_144, functools.lru_cache(maxsize=8)(_compile_text)),
    (4_194_304, functools.lru_cache(maxsize=1)(_compile_text)),
)


def forget_longest() -> None:
    """Lets go of a schema of more characters than any that was written by hand. It takes tens of megabytes,
    and is of use while its request is worked on.
    """
    KEPT[-1][1].cache_clear()


def _find_fault(root: dict[str, Any]) -> tuple[str, str] | None:
    """A JSON pointer into the schema, "" where the place is not known, and what is wrong there."""
    try:
        _refuse_loops(root)
        _build(root)
    except UnusableSchema as error:
        return error.path, error.message
    return None


def _build(root: dict[str, Any]) -> jsonschema_rs.Validator:
    try:
        return jsonschema_rs.validator_for(root, offline=True, validate_formats=False)
    except jsonschema_rs.ValidationError as error:
        path = "".join(escape(token) for token in error.instance_path)
        raise UnusableSchema(path, error.message) from error
    except ValueError as error:
        raise UnusableSchema("", str(error)) from error


def _normalise(node: Any, depth: int, names: bool = False) -> Any:
    """The node with OpenAPI's `nullable: true`, which JSON Schema does not know, as a null type.

    names: the keys of `node` are names of the schema's author, not keywords.
    """
    if depth > LIMITS.nesting:
        raise UnusableSchema("", f"nested deeper than {LIMITS.nesting} levels")
    if isinstance(node, list):
        return [_normalise(item, depth + 1) for item in node]
    if not isinstance(node, dict):
        return node
    result = {
        key: item if key in _DATA and not names else _normalise(item, depth + 1, not names and key in _NAMED)
        for key, item in node.items()
    }
    if not names and node.get("nullable") is True and isinstance(node.get("type"), str):
        result["type"] = [node["type"], "null"]
        if isinstance(node.get("enum"), list) and None not in node["enum"]:
            result["enum"] = [*node["enum"], None]
    return result


def _branches(node: Any, inside: bool) -> bool:
    """Whether there is a `$ref` inside an `anyOf` or `oneOf`."""
    if isinstance(node, list):
        return any(_branches(item, inside) for item in node)
    if not isinstance(node, dict):
        return False
    if inside and "$ref" in node:
        return True
    return any(_branches(item, inside or key in ("anyOf", "oneOf")) for key, item in node.items())


def _refuse_loops(root: dict[str, Any]) -> None:
    """Raises UnusableSchema for a schema that refers to itself without consuming any of the instance: it has
    no meaning.
    """
    done: set[str] = set()
    for start in _references(root, ""):
        path: set[str] = set()
        stack = [(start, False)]
        while stack:
            pointer, leaving = stack.pop()
            if leaving:
                path.remove(pointer)
                done.add(pointer)
                continue
            if pointer in path:
                raise UnusableSchema(start + "/$ref", f"$ref loop through #{pointer}")
            if pointer in done:
                continue
            path.add(pointer)
            stack.append((pointer, True))
            stack.extend((target, False) for target in _same_instance(root, pointer))


def _references(node: Any, pointer: str, names: bool = False) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield pointer
        for key, item in node.items():
            if names or key not in _DATA:
                yield from _references(item, pointer + escape(key), not names and key in _NAMED)
    elif isinstance(node, list):
        for index, item in enumerate(node):
            yield from _references(item, f"{pointer}/{index}")


def _same_instance(root: dict[str, Any], pointer: str) -> Iterator[str]:
    """Pointers of the subschemas that judge the same instance as the schema at `pointer`."""
    try:
        node = lookup(root, pointer)
    except KeyError:
        return
    if not isinstance(node, dict):
        return
    target = node.get("$ref")
    if isinstance(target, str) and (target == "#" or target.startswith("#/")):
        yield target[1:]
    for key in _IN_PLACE_LISTS:
        items = node.get(key)
        if isinstance(items, list):
            yield from (f"{pointer}/{key}/{index}" for index in range(len(items)))
    for key in _IN_PLACE:
        if isinstance(node.get(key), dict):
            yield f"{pointer}/{key}"
