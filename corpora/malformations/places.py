"""Finds values in the arguments, and what the schema says about each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from corpora.malformations.specimen import ELEMENTS, TAGGED, Specimen, resolve


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value is.

    path: keys and indexes from the arguments of call `call` down.
    schema: that of the value, resolved.
    optional: a member that its object does not require.
    """

    call: int
    path: tuple[str | int, ...]
    schema: Mapping[str, Any]
    value: Any
    optional: bool

    @property
    def kind(self) -> str:
        """The one type that the schema names, or "" for several, none, or a closed list of values."""
        kind = self.schema.get("type")
        return kind if isinstance(kind, str) and "enum" not in self.schema else ""


def places(specimen: Specimen) -> Iterator[Place]:
    """Every declared value of the written calls."""
    for index, one in enumerate(specimen.written):
        root = specimen.tool(index).parameters
        yield from _below(index, (), one.value, root, root, False)


def _below(
    call: int,
    path: tuple[str | int, ...],
    value: Any,
    schema: Mapping[str, Any],
    root: Mapping[str, Any],
    optional: bool,
) -> Iterator[Place]:
    schema = resolve(schema, root)
    if path:
        yield Place(call, path, schema, value, optional)
    if isinstance(value, dict):
        required = schema.get("required", ())
        for key, inner in schema.get("properties", {}).items():
            if key in value:
                yield from _below(call, (*path, key), value[key], inner, root, key not in required)
    elif isinstance(value, list) and isinstance(schema.get("items"), Mapping):
        for index, item in enumerate(value):
            yield from _below(call, (*path, index), item, schema["items"], root, False)


def pick(specimen: Specimen, rng: Random, fits: Callable[[Place], bool]) -> Place | None:
    """One of the places that fit."""
    found = [place for place in places(specimen) if fits(place)]
    return rng.choice(found) if found else None


def is_untyped(specimen: Specimen, place: Place) -> bool:
    """Whether the format writes this value without quotes, so that only the schema types it."""
    return specimen.format in ELEMENTS or (specimen.format in TAGGED and len(place.path) == 1)


def with_value(value: Any, path: tuple[str | int, ...], new: Any) -> Any:
    """`value` with `new` at `path`."""
    if not path:
        return new
    head, rest = path[0], path[1:]
    if isinstance(value, dict):
        inner = with_value(value.get(str(head)), rest, new)
        return {**value, str(head): inner}
    return [with_value(item, rest, new) if at == head else item for at, item in enumerate(value)]


def without(value: Any, path: tuple[str | int, ...]) -> Any:
    """`value` without the member at `path`."""
    if len(path) == 1:
        return {key: item for key, item in value.items() if key != path[0]}
    if isinstance(value, dict):
        return {key: without(item, path[1:]) if key == path[0] else item for key, item in value.items()}
    return [without(item, path[1:]) if at == path[0] else item for at, item in enumerate(value)]


def written_as(specimen: Specimen, place: Place, new: Any) -> Specimen:
    """The specimen with `new` written at `place`."""
    return specimen.valued(place.call, with_value(specimen.written[place.call].value, place.path, new))


def meant_as(specimen: Specimen, place: Place, new: Any) -> Specimen:
    """The specimen with `new` at `place`, both meant and written."""
    meant = specimen.meant(place.call, with_value(specimen.truth[place.call][1], place.path, new))
    return written_as(meant, place, new)
