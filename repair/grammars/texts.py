"""Texts that have a grammar of their own, in the place where a format writes them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from repair.grammars.lark import bounded, escaped
from repair.grammars.regexes import BeyondRewriting, Write
from repair.grammars.rules import Rules
from repair.schema import escape


def json_character(char: str) -> str:
    """As JSON writes it in a string."""
    return json.dumps(char, ensure_ascii=False)[1:-1]


def quoted_text(rules: Rules, tool: str, key: str, node: Any, write: Write) -> str | None:
    """An expression for the argument's text between quotes, without them; None where the schema has the last
    word, because the text has no grammar or none that can be rewritten. node: of the schema. write: how a
    character stands there.
    """
    return _nested(rules, tool, key, node, lambda lark: escaped(lark, write))


def raw_text(rules: Rules, tool: str, key: str, node: Any, end: str) -> str | None:
    """An expression for the argument's text as it is, without `end`, which follows it; or None, as above."""
    parts = rules.parts(end)
    marked = not parts or isinstance(parts[0], int)  # no text matches a token that is a marker
    return _nested(rules, tool, key, node, lambda lark: bounded(lark, "" if marked else end))


def json_text_object(rules: Rules, schema: Mapping[str, Any], tool: str) -> str | None:
    """An expression for arguments that are one text with a grammar; None for all others."""
    properties = schema.get("properties")
    if not isinstance(properties, Mapping) or len(properties) != 1:
        return None
    ((key, node),) = properties.items()
    if key not in schema.get("required", ()) or schema.get("additionalProperties") is not False:
        return None
    text = quoted_text(rules, tool, key, node, json_character)
    if text is None:
        return None
    name = json.dumps(key, ensure_ascii=False)
    opened = " | ".join(rules.data(f'{{{name}:{space}"') for space in (" ", ""))
    return rules.add(f"({opened}) {text} {rules.data(chr(34) + '}')}")


def _nested(rules: Rules, tool: str, key: str, node: Any, rewrite: Callable[[str], str]) -> str | None:
    rule = rules.texts.get((tool, key))
    if rule is None or (isinstance(node, Mapping) and "const" in node):
        return None
    try:
        return rules.nested(rewrite(rule.lark))
    except BeyondRewriting as error:
        rules.left_out.append(f"{tool}/properties{escape(key)}: grammar with {error}")
        return None
