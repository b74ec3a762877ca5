"""The wire formats: a table of modules, and which of them a model's text is read with."""

from __future__ import annotations

from repair.formats import bare_json, hermes, qwen_xml
from repair.regions import Format

FORMATS: dict[str, Format] = {one.NAME: one for one in (hermes, qwen_xml, bare_json)}
AUTO = "auto"

_NEIGHBOURS = {"hermes": ("qwen_xml",), "qwen_xml": ("hermes",)}
_TEMPLATE_MARKS = (
    ("<function=", "qwen_xml"),
    ("<tool_call>", "hermes"),
)


def formats_for(name: str) -> tuple[Format, ...]:
    """The formats that text of a model of format `name` is read with, in order.

    `auto` is all of them; a named format is itself, the ones that its models slip into, and bare JSON.
    Raises KeyError for a name that is not in the table.
    """
    if name == AUTO:
        return tuple(FORMATS.values())
    names = dict.fromkeys((name, *_NEIGHBOURS.get(name, ()), "bare_json"))
    return tuple(FORMATS[one] for one in names)


def detect_format(chat_template: str | None) -> str:
    """The format that a chat template (Jinja text) teaches; `auto` where it shows none that we know."""
    if not chat_template:
        return AUTO
    return next((name for mark, name in _TEMPLATE_MARKS if mark in chat_template), AUTO)
