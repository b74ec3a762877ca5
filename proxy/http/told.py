"""How a setting is told to people. It stands at the setting's field, and help, docs and errors repeat it."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic.fields import FieldInfo


@dataclass(frozen=True, slots=True)
class Told:
    """help: what it is, without a full stop. default: in words, where the value alone says too little.
    example: as a variable of the environment has it, or as a line of the file. page: of the docs, that says
    more.
    """

    help: str
    default: str = ""
    example: str = ""
    page: str = ""


def told(field: FieldInfo) -> Told:
    """What stands at this field. Raises StopIteration where nothing does."""
    return next(one for one in field.metadata if isinstance(one, Told))


def default_of(field: FieldInfo) -> str:
    """Its default, as the file would have it."""
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
    """For `--help`: what it is, an example and the default."""
    one = told(field)
    shown = f" For example: {one.example}." if one.example else ""
    return f"{one.help[0].upper()}{one.help[1:]}.{shown} Default: {default_of(field)}."
