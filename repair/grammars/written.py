"""Grammar of values that are not written as JSON (Python source, Gemma's notation), held to their schema."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from repair.grammars.rules import Rules, one_of
from repair.schema import escape, lookup

_INTEGER = "/-?(0|[1-9][0-9]*)/"
_NUMBER = r"/-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?/"
_TYPES = ("string", "integer", "number", "boolean", "null", "array", "object")
_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_UNCHECKED = (
    *("pattern", "format", "minLength", "maxLength", "minItems", "maxItems", "patternProperties", "allOf"),
)
_DEEPEST = 12


@dataclass(frozen=True, slots=True)
class Notation:
    """A notation of values.

    string: a rule for any string.
    constant: writes a value as text.
    key: writes a member's key and what separates it from its value.
    any_key: the same for a key that no schema declares.
    joint: between members or items.
    markers: of the notation itself, which are not text in what constant and key write.
    text: a rule for the text that the tool's argument of that name and schema must be; None where it need not
        follow one.
    """

    string: Callable[[Rules], str]
    constant: Callable[[Any], str]
    key: Callable[[str], str]
    any_key: Callable[[Rules], str]
    joint: str
    text: Callable[[Rules, str, str, Any], str | None]
    markers: tuple[str, ...] = ()


@dataclass(slots=True)
class Values:
    """Rules for the values of one reduced schema in one notation. name: of the tool, for left_out."""

    rules: Rules
    notation: Notation
    root: Mapping[str, Any]
    name: str
    _known: dict[str, str] = field(default_factory=dict)

    def value(self, node: Any, pointer: str, depth: int = 0) -> str:
        """An expression for every value that `node` accepts, and a few more (listed in left_out)."""
        if depth > _DEEPEST or not isinstance(node, Mapping):
            return self.anything()
        for key in _UNCHECKED:
            if key in node:
                self.rules.left_out.append(f"{self.name}{pointer}: {key}")
        if isinstance(node.get("$ref"), str):
            return self._reference(node["$ref"][1:], depth)
        if "const" in node:
            return self._data(self.notation.constant(node["const"]))
        if isinstance(node.get("enum"), list) and node["enum"]:
            return one_of([self._data(self.notation.constant(one)) for one in node["enum"]])
        for key in ("anyOf", "oneOf"):
            if isinstance(node.get(key), list) and node[key]:
                parts = [
                    self.value(one, f"{pointer}/{key}/{index}", depth + 1)
                    for index, one in enumerate(node[key])
                ]
                return one_of(list(dict.fromkeys(parts)))
        given = node.get("type", "object" if "properties" in node else None)
        kinds = [given] if isinstance(given, str) else given if isinstance(given, list) else []
        parts = [self._typed(kind, node, pointer, depth) for kind in kinds if kind in _TYPES]
        return one_of(list(dict.fromkeys(parts))) if parts else self.anything()

    def _typed(self, kind: str, node: Mapping[str, Any], pointer: str, depth: int) -> str:
        match kind:
            case "string":
                return self.string()
            case "integer" | "number":
                bounds = {key: node[key] for key in _BOUNDS if key in node}
                plain = _INTEGER if kind == "integer" else _NUMBER
                return self.rules.json({"type": kind, **bounds}) if bounds else plain
            case "boolean":
                return one_of([self._data(self.notation.constant(one)) for one in (True, False)])
            case "null":
                return self._data(self.notation.constant(None))
            case "array":
                items = self.value(node.get("items", True), f"{pointer}/items", depth + 1)
                return self._list(items)
        properties = node.get("properties")
        if not isinstance(properties, Mapping) or not properties:
            return self._open_object()
        body = self.members(node, pointer, self.notation.key, depth)
        return self.rules.add(f'"{{" {body} "}}"')

    def _reference(self, pointer: str, depth: int) -> str:
        if pointer not in self._known:
            name = self._known[pointer] = self.rules.add("")
            at = self.rules.lines.index(f"{name}: ")
            try:
                body = self.value(lookup(self.root, pointer), pointer, depth + 1)
            except (KeyError, IndexError, ValueError, TypeError):
                body = self.anything()
            self.rules.lines[at] = f"{name}: {body}"
        return self._known[pointer]

    def _list(self, item: str) -> str:
        joint = self.rules.literal(self.notation.joint)
        return self.rules.add(f'"[" ({item} ({joint} {item})*)? "]"')

    def members(
        self, node: Mapping[str, Any], pointer: str, write_key: Callable[[str], str], depth: int = 0
    ) -> str:
        """An expression for the members of an object in their schema's order."""
        properties = dict(node.get("properties") or {})
        required = [one for one in node.get("required") or [] if isinstance(one, str)]
        for one in required:
            properties.setdefault(one, True)
        joint = self.rules.literal(self.notation.joint)
        entry, rest, closed = "", '""', True
        for key in reversed(properties):
            inner = self._member(key, properties[key], pointer, depth)
            own = f"{self._data(write_key(key))} {inner} {rest}"
            entry = self.rules.add(own if key in required or not entry else f"{own} | {entry}")
            closed = closed and key not in required
            rest = self.rules.add(f'{joint} {entry} | ""' if closed else f"{joint} {entry}")
        if not entry:
            return '""'
        return self.rules.add(f'{entry} | ""' if closed else entry)

    def _member(self, key: str, node: Any, pointer: str, depth: int) -> str:
        text = None if pointer else self.notation.text(self.rules, self.name, key, node)
        return text or self.value(node, f"{pointer}/properties{escape(key)}", depth + 1)

    def _data(self, text: str) -> str:
        return self.rules.literal(text, self.notation.markers)

    def string(self) -> str:
        return self._shared("string", lambda: self.notation.string(self.rules))

    def anything(self) -> str:
        """Any value at all."""
        if "anything" not in self._known:
            name = self._known["anything"] = self.rules.add("")
            at = self.rules.lines.index(f"{name}: ")
            words = [self._data(self.notation.constant(one)) for one in (True, False, None)]
            parts = [self.string(), _NUMBER, *words, self._list(name), self._open_object()]
            self.rules.lines[at] = f"{name}: {' | '.join(parts)}"
        return self._known["anything"]

    def _open_object(self) -> str:
        return self._shared("object", self._any_object)

    def _any_object(self) -> str:
        joint = self.rules.literal(self.notation.joint)
        member = self.rules.add(f"{self.notation.any_key(self.rules)} {self.anything()}")
        return self.rules.add(f'"{{" ({member} ({joint} {member})*)? "}}"')

    def _shared(self, key: str, make: Callable[[], str]) -> str:
        if key not in self._known:
            self._known[key] = make()
        return self._known[key]
