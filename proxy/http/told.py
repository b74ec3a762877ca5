"""The type of the texts that each field of settings.py carries: help, default, example, page of the docs.

`--help`, docs/settings.md and error messages repeat them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pydantic.fields import FieldInfo

_HOW = re.compile(r", unable to .*$|, got .*$", re.DOTALL)  # how it was read, which its reader does not ask
_ONE_OF = re.compile(r"^'[^']*' is not one of ")


@dataclass(frozen=True, slots=True)
class Told:
    """The texts of one setting.

    help: what the setting is, without a full stop.
    default: in words, where the value alone says too little.
    example: an environment variable's value, or a line of the file.
    page: the page of the docs that says more.
    """

    help: str
    default: str = ""
    example: str = ""
    page: str = ""


def told(field: FieldInfo) -> Told:
    """The texts at this field. Raises StopIteration where there are none."""
    return next(one for one in field.metadata if isinstance(one, Told))


def default_of(field: FieldInfo) -> str:
    """The field's default, as the file would have it."""
    words = told(field).default
    if words:
        return words
    value = field.default
    if value is None or value == () or value == {}:
        return "none"
    return (
        str(value).lower()
        if isinstance(value, bool)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )


def plain_reason(message: str) -> str:
    """The reason that pydantic gives, in words of ours: `must be a valid integer`."""
    reason = _HOW.sub("", message.removeprefix("Value error, ")).rstrip(".")
    reason = _ONE_OF.sub("must be one of ", reason)
    for subject in ("Input should", "String should", "List should", "Tuple should"):
        reason = reason.replace(subject, "must", 1)
    return reason[:1].lower() + reason[1:]


def sentence(field: FieldInfo) -> str:
    """The field's text for `--help`: what it is, an example and the default."""
    one = told(field)
    shown = f" For example: {one.example}." if one.example else ""
    return f"{one.help[0].upper()}{one.help[1:]}.{shown} Default: {default_of(field)}."
