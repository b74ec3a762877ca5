"""OpenAI's `custom` tools, which take free text (https://platform.openai.com/docs/guides/function-calling).

To the model such a tool is a function with one string. Chat Completions and Responses have them.
"""

from __future__ import annotations

import json
import logging
from typing import Any

from engine.text_grammar import TextGrammar, UnusableGrammar
from proxy.codecs.fields import Fields
from proxy.conversation.errors import BadRequest
from repair.types import TextRule, ToolDefinition

_log = logging.getLogger(__name__)

# The one argument of a custom tool.
INPUT = "input"
_SYNTAXES = ("lark", "regex")


def custom_tool(fields: Fields, name: str) -> ToolDefinition:
    """The function that a custom tool is to the model. The text follows a grammar where the tool has one,
    which the model is shown too. Raises BadRequest.
    """
    wanted = fields.object("format")
    if "grammar" in wanted.values:
        wanted = wanted.object("grammar")  # as Chat Completions nests it
    syntax, definition = wanted.string("syntax"), wanted.string("definition")
    text: dict[str, Any] = {"type": "string", "description": "The tool's whole input, as plain text."}
    texts: dict[str, TextRule] = {}
    if definition:
        text["description"] += f" It follows this {syntax or 'formal'} grammar:\n{definition}"
    if definition and syntax in _SYNTAXES:
        texts = _text_rule(wanted, syntax, definition)
    if syntax == "regex" and definition:
        text["pattern"] = f"^(?:{definition})$"
    parameters = {
        "type": "object",
        "properties": {INPUT: text},
        "required": [INPUT],
        "additionalProperties": False,
    }
    strict = bool(texts) or "pattern" in text
    return ToolDefinition(name, fields.string("description"), parameters, strict, texts, free=True)


def _text_rule(wanted: Fields, syntax: str, definition: str) -> dict[str, TextRule]:
    """A regex that is none in Rust's syntax, which OpenAI's API reads, may still be one of JSON Schema, which
    judges it then. Raises BadRequest for a Lark grammar that cannot be read: no call could be held to it.
    """
    try:
        return {INPUT: TextGrammar.of(syntax, definition)}
    except UnusableGrammar as error:
        if syntax == "regex":
            _log.info("%s: judged as a pattern of JSON Schema: %s", wanted.at("definition"), error)
            return {}
        at = wanted.at("definition")
        raise BadRequest(f"{at}: not a usable Lark grammar: {error}", param=at) from error


def custom_arguments(text: str) -> str:
    """The arguments of the function that a custom tool is to the model."""
    return json.dumps({INPUT: text}, ensure_ascii=False)


def custom_input(arguments: str) -> str:
    """The free text; what is no such call goes out as it is."""
    try:
        value = json.loads(arguments)
    except (ValueError, RecursionError):
        return arguments
    text = value.get(INPUT) if isinstance(value, dict) and len(value) == 1 else None
    return text if isinstance(text, str) else arguments
