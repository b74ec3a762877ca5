"""The type of the texts that each field of settings.py carries: help, default, example, page of the docs.

`--help`, docs/operations.md and error messages repeat them.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic.fields import FieldInfo


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


def sentence(field: FieldInfo) -> str:
    """The field's text for `--help`: what it is, an example and the default."""
    one = told(field)
    shown = f" For example: {one.example}." if one.example else ""
    return f"{one.help[0].upper()}{one.help[1:]}.{shown} Default: {default_of(field)}."
