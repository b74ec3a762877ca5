"""Wrong values and wrong keys: what the schema alone can put right, or nothing can."""

from __future__ import annotations

import json
from random import Random
from typing import Any

from corpora.malformations.places import (
    Place,
    is_untyped,
    meant_as,
    pick,
    with_value,
    without,
    written_as,
)
from corpora.malformations.specimen import JSON_FORMATS, PYTHON, Label, Malformation, Specimen, Stage
from corpora.malformations.tools import is_plain

_WRAPPERS = ("arguments", "parameters", "args", "input")
_NO_SUCH = ("zzqx", "maximal", "unspecified", "sort of")


def number_as_string(specimen: Specimen, rng: Random) -> Specimen | None:
    place = pick(specimen, rng, lambda one: one.kind in ("integer", "number"))
    return written_as(specimen, place, json.dumps(place.value)) if place else None


def boolean_as_string(specimen: Specimen, rng: Random) -> Specimen | None:
    place = pick(specimen, rng, lambda one: one.kind == "boolean")
    text = rng.choice((str.lower, str.title, str.upper))(str(place.value)) if place else ""
    return written_as(specimen, place, text) if place else None


def integer_as_float(specimen: Specimen, rng: Random) -> Specimen | None:
    place = pick(specimen, rng, lambda one: one.kind == "integer" and abs(one.value) < 2**53)
    return written_as(specimen, place, float(place.value)) if place else None


def id_as_integer(specimen: Specimen, rng: Random) -> Specimen | None:
    place = pick(specimen, rng, lambda one: one.kind == "string")
    number = rng.randint(0, 10**9)
    return written_as(meant_as(specimen, place, str(number)), place, number) if place else None


def integer_as_words(specimen: Specimen, rng: Random) -> Specimen | None:
    place = pick(specimen, rng, lambda one: one.kind in ("integer", "number"))
    word = rng.choice(("1,234", "five", "12 pieces", "~3", "0x1F", "1/2", "", "12abc"))
    return written_as(specimen, place, word).labelled(Label.destroying) if place else None


def fraction_for_integer(specimen: Specimen, rng: Random) -> Specimen | None:
    place = pick(specimen, rng, lambda one: one.kind == "integer")
    value = rng.choice((2.5, "2.5", -0.1))
    return written_as(specimen, place, value).labelled(Label.destroying) if place else None


def word_for_boolean(specimen: Specimen, rng: Random) -> Specimen | None:
    place = pick(specimen, rng, lambda one: one.kind == "boolean")
    word = rng.choice(("yes", "no", "1", "0", "on", "off", 1, 0, "y", "enabled"))
    return written_as(specimen, place, word).labelled(Label.destroying) if place else None


def container_as_string(specimen: Specimen, rng: Random) -> Specimen | None:
    place = pick(specimen, rng, lambda one: one.kind in ("array", "object"))
    return written_as(specimen, place, json.dumps(place.value)) if place else None


def container_as_python(specimen: Specimen, rng: Random) -> Specimen | None:
    """Only where Python writes no escapes: those have other meanings in JSON."""
    place = pick(specimen, rng, lambda one: one.kind in ("array", "object"))
    if place is None or "\\" in repr(place.value) or not place.value:
        return None
    return written_as(specimen, place, repr(place.value))


def scalar_for_array(specimen: Specimen, rng: Random) -> Specimen | None:
    place = pick(specimen, rng, lambda one: one.kind == "array" and _wraps(specimen, one))
    return written_as(specimen, place, place.value[0]) if place else None


def _wraps(specimen: Specimen, place: Place) -> bool:
    if len(place.value) != 1 or isinstance(place.value[0], list | dict) or place.value[0] is None:
        return False
    if not isinstance(place.schema.get("items", {}).get("type"), str):
        return False
    return not isinstance(place.value[0], str) or is_plain(place.value[0])


def list_in_one_string(specimen: Specimen, rng: Random) -> Specimen | None:
    """Two items joined by a comma: to split them would be a guess, and so would it be not to."""
    place = pick(specimen, rng, lambda one: one.kind == "array" and len(one.value) > 1)
    if place is None or place.schema.get("items", {}).get("type") not in ("string", "integer"):
        return None
    text = rng.choice((", ", ",", "; ")).join(str(item) for item in place.value)
    if text.lstrip()[:1] in ("[", "{"):
        return None
    return written_as(specimen, place, text).labelled(Label.destroying)


def enum_case(specimen: Specimen, rng: Random) -> Specimen | None:
    place = pick(specimen, rng, lambda one: "enum" in one.schema and isinstance(one.value, str))
    if place is None:
        return None
    text = rng.choice((str.lower, str.upper, str.swapcase, str.title))(place.value)
    unique = sum(text.casefold() == str(one).casefold() for one in place.schema["enum"]) == 1
    return written_as(specimen, place, text) if unique and text != place.value else None


def enum_synonym(specimen: Specimen, rng: Random) -> Specimen | None:
    place = pick(specimen, rng, lambda one: "enum" in one.schema and isinstance(one.value, str))
    return written_as(specimen, place, rng.choice(_NO_SUCH)).labelled(Label.destroying) if place else None


def null_for_optional(specimen: Specimen, rng: Random) -> Specimen | None:
    """Written null, meant: left out. Unquoted, `null` is a string to a schema that takes strings."""
    place = pick(specimen, rng, lambda one: one.optional and bool(one.kind))
    if place is None or (is_untyped(specimen, place) and place.kind == "string"):
        return None
    meant = specimen.meant(place.call, without(specimen.truth[place.call][1], place.path))
    damaged = written_as(meant, place, None)
    open_end = is_untyped(specimen, place) and place.kind == "array"
    return damaged.labelled(Label.undecided) if open_end else damaged


def null_for_required(specimen: Specimen, rng: Random) -> Specimen | None:
    place = pick(specimen, rng, lambda one: not one.optional and bool(one.kind) and one.kind != "array")
    if place is None or not isinstance(place.path[-1], str):
        return None
    if is_untyped(specimen, place) and place.kind == "string":
        return None
    return written_as(specimen, place, None).labelled(Label.destroying)


def missing_required(specimen: Specimen, rng: Random) -> Specimen | None:
    place = pick(specimen, rng, lambda one: not one.optional and isinstance(one.path[-1], str))
    if place is None:
        return None
    value = without(specimen.written[place.call].value, place.path)
    return specimen.valued(place.call, value).labelled(Label.destroying)


def extra_key(specimen: Specimen, rng: Random) -> Specimen | None:
    """An undeclared key: part of the call where the schema allows it, else the call says more than it may."""
    call = rng.randrange(len(specimen.written))
    closed = specimen.tool(call).parameters.get("additionalProperties") is False
    extra = {rng.choice(("units_hint", "explanation", "zz_top")): "because of rain"}
    damaged = specimen.valued(call, {**specimen.written[call].value, **extra})
    if closed:
        return damaged.labelled(Label.destroying)
    return damaged.meant(call, {**specimen.truth[call][1], **extra})


def near_miss_key(specimen: Specimen, rng: Random) -> Specimen | None:
    """A key almost right. Refused: it is unknown, or a required one is missing."""
    call = rng.randrange(len(specimen.written))
    schema, value = specimen.tool(call).parameters, specimen.written[call].value
    closed = schema.get("additionalProperties") is False
    keys = [key for key in value if closed or key in schema.get("required", ())]
    if not keys:
        return None
    key = rng.choice(keys)
    other = rng.choice((key + "s", key[:-1], key.upper(), key.title(), f"{key}_", key[1:], f"the_{key}"))
    if other in schema["properties"] or other == key or not other.isidentifier():
        return None
    renamed = {other if one == key else one: item for one, item in value.items()}
    return specimen.valued(call, renamed).labelled(Label.destroying)


def wrapper_key(specimen: Specimen, rng: Random) -> Specimen | None:
    """All arguments below one key more; a declared parameter of that name makes it a wrong value."""
    if specimen.format not in JSON_FORMATS | PYTHON:
        return None
    call = rng.randrange(len(specimen.written))
    schema, value = specimen.tool(call).parameters, specimen.written[call].value
    key = rng.choice(_WRAPPERS)
    declared = schema["properties"].get(key)
    damaged = specimen.valued(call, {key: value})
    if declared is None:
        misread = not schema.get("required") and schema.get("additionalProperties") is not False
        return None if misread else damaged
    only = set(schema.get("required", ())) <= {key}
    return None if only else damaged.labelled(Label.destroying)


def schema_as_value(specimen: Specimen, rng: Random) -> Specimen | None:
    """The schema of a parameter where its value is due."""
    place = pick(specimen, rng, lambda one: one.kind not in ("", "object"))
    if place is None or (is_untyped(specimen, place) and place.kind == "string"):
        return None
    echoed: dict[str, Any] = {"type": place.kind, "description": "what it is"}
    return written_as(specimen, place, echoed).labelled(Label.destroying)


def schema_as_arguments(specimen: Specimen, rng: Random) -> Specimen | None:
    """The whole schema where the arguments are due."""
    call = rng.randrange(len(specimen.written))
    schema = dict(specimen.tool(call).parameters)
    if set(schema.get("required", ())) <= {"type", "properties", "required"}:
        return None
    return specimen.valued(call, schema).labelled(Label.destroying)


def nested_boolean(specimen: Specimen, rng: Random) -> Specimen | None:
    """A list where one boolean, number or string is due: which item was meant?"""
    place = pick(specimen, rng, lambda one: one.kind in ("boolean", "integer", "number"))
    if place is None:
        return None
    return written_as(specimen, place, [place.value, place.value]).labelled(Label.destroying)


def changed_everywhere(specimen: Specimen, rng: Random) -> Specimen | None:
    """Every number and boolean of one call as a string."""
    call = rng.randrange(len(specimen.written))
    value: Any = specimen.written[call].value
    schema = specimen.tool(call).parameters
    for key, item in value.items():
        if schema["properties"].get(key, {}).get("type") in ("integer", "number", "boolean"):
            value = with_value(value, (key,), json.dumps(item))
    return specimen.valued(call, value)


_TABLE = {
    "number as a string": number_as_string,
    "boolean as a string": boolean_as_string,
    "3.0 for an integer": integer_as_float,
    "5 for a string": id_as_integer,
    "scalars all as strings": changed_everywhere,
    "words for a number": integer_as_words,
    "2.5 for an integer": fraction_for_integer,
    "yes for a boolean": word_for_boolean,
    "container as a JSON string": container_as_string,
    "container as a Python string": container_as_python,
    "scalar for an array": scalar_for_array,
    "list joined by commas": list_in_one_string,
    "list for a scalar": nested_boolean,
    "enum in another case": enum_case,
    "enum synonym": enum_synonym,
    "null for an optional": null_for_optional,
    "null for a required": null_for_required,
    "missing required": missing_required,
    "extra key": extra_key,
    "argument key near miss": near_miss_key,
    "wrapper key": wrapper_key,
    "schema as a value": schema_as_value,
    "schema as the arguments": schema_as_arguments,
}
VALUES = tuple(Malformation(name, Stage.value, one) for name, one in _TABLE.items())
