"""Grammar of arguments in tags, `<parameter=k>text</parameter>`.

Free text ends at a closing tag that structure follows, as in the reader (repair.markup).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from repair.grammars.rules import ANY, Rules, one_of, regex
from repair.grammars.schemas import part_schema
from repair.grammars.texts import raw_text
from repair.schema import escape

_TEXT_ONLY = ("pattern", "format", "minLength", "maxLength")


@dataclass(frozen=True, slots=True)
class Tags:
    """The literals of tagged arguments.

    opening: before a key.
    middle: between key and value.
    closing: after a value.
    end: of the call.
    close: the closing tag without the white space around it.
    bounds: what makes it a closing tag if it follows.
    """

    opening: str
    middle: str
    closing: str
    end: str
    close: str
    bounds: tuple[str, ...]


def write_parameters(rules: Rules, tags: Tags, root: Mapping[str, Any], name: str) -> str:
    """An expression for all parameters, in their schema's order, and the end of the call.

    root: the tool's schema, reduced.
    """
    properties = dict(root.get("properties") or {})
    required = [one for one in root.get("required") or [] if isinstance(one, str)]
    for one in required:
        properties.setdefault(one, True)
    if not properties and root.get("additionalProperties") is not False:
        return _any_parameters(rules, tags)
    end, text = rules.literal(tags.end), _free_text(rules, tags)
    entry, follows, may_end = "", end, True
    for key in reversed(properties):
        value = raw_text(rules, name, key, properties[key], tags.closing)
        if value is None:
            value = _value(rules, tags, properties[key], root, name + "/properties" + escape(key))
        head = f"{rules.data(key)} {rules.literal(tags.middle)}"
        body = _before(rules, tags, value, text, entry, may_end, follows)
        own = rules.add(f"{head} {body}")
        entry = own if key in required or not entry else rules.add(f"{own} | {entry}")
        may_end = may_end and key not in required
        opened = f"{rules.literal(tags.opening)} {entry}"
        follows = rules.add(f"{opened} | {end}" if may_end else opened)
    return follows


def _free_text(rules: Rules, tags: Tags) -> str:
    """A terminal: text in which no closing tag stands that the reader would take for one."""
    bounds = "|".join(regex(one) for one in tags.bounds)
    return rules.terminal(f"{ANY} & ~/(?s:.*){regex(tags.close)}\\s*({bounds})(?s:.*)/")


def _before(
    rules: Rules, tags: Tags, value: str | None, text: str, entry: str, may_end: bool, follows: str
) -> str:
    """A value, its closing tag and what follows. value: None for free text."""
    if value is not None:
        return f"{value} {rules.literal(tags.closing)} {follows}"
    more, last = tags.closing + tags.opening, tags.closing + tags.end
    if not entry or not may_end:
        return f"{rules.until(more, text)} {entry}" if entry else rules.until(last, text)
    shared = _shared(rules.parts(more)[0], rules.parts(last)[0])
    if not shared:
        return f"({rules.until(more, text)} {entry} | {rules.until(last, text)})"
    rest = f"({rules.literal(more[len(shared) :])} {entry} | {rules.literal(last[len(shared) :])})"
    return f"{rules.until(shared, text)} {rest}"


def _shared(one: str | int, other: str | int) -> str:
    """The text at which both end a value, where one is the beginning of the other."""
    if isinstance(one, str) and isinstance(other, str):
        shorter, longer = sorted((one, other), key=len)
        return shorter if longer.startswith(shorter) else ""
    return ""


def _value(rules: Rules, tags: Tags, node: Any, root: Mapping[str, Any], at: str) -> str | None:
    """An expression for the value; None for free text."""
    if not isinstance(node, Mapping):
        return None
    options = [node["const"]] if "const" in node else node.get("enum")
    if isinstance(options, list) and options:
        return one_of([rules.data(one if isinstance(one, str) else json.dumps(one)) for one in options])
    kinds = _kinds(node, root, 0)
    if "string" not in kinds:
        return rules.json(part_schema(root, _key_of(at)))
    if kinds != {"string"}:
        rules.left_out.append(f"{at}: type")
    rules.left_out += [f"{at}: {key}" for key in _TEXT_ONLY if key in node]
    return None


def _key_of(at: str) -> str:
    return at.rsplit("/", 1)[1].replace("~1", "/").replace("~0", "~")


def _kinds(node: Any, root: Mapping[str, Any], depth: int) -> set[str]:
    """The types that a value may have; with `string` where that is not known."""
    if not isinstance(node, Mapping) or depth > 8:
        return {"string", "any"}
    given = node.get("type")
    if isinstance(given, str):
        return {given}
    if isinstance(given, list):
        return {one for one in given if isinstance(one, str)}
    for key in ("anyOf", "oneOf"):
        if isinstance(node.get(key), list):
            return {kind for one in node[key] for kind in _kinds(one, root, depth + 1)}
    if isinstance(node.get("$ref"), str):
        target: Any = root
        for part in node["$ref"].split("/")[1:]:
            target = (
                target.get(part.replace("~1", "/").replace("~0", "~"))
                if isinstance(target, Mapping)
                else None
            )
        return _kinds(target, root, depth + 1)
    return {"object"} if "properties" in node else {"string", "any"}


def _any_parameters(rules: Rules, tags: Tags) -> str:
    """Parameters of any name, all of free text."""
    key = rules.terminal(r"/[A-Za-z_][A-Za-z0-9_.-]*/")
    value = rules.until(tags.closing, _free_text(rules, tags))
    one = rules.add(f"{rules.literal(tags.opening)} {key} {rules.literal(tags.middle)} {value}")
    return rules.add(f"{one}* {rules.literal(tags.end)}")
