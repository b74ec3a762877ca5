"""JSON Schemas of request bodies, for the OpenAPI document.

They say which fields are read, of which type and in which range, and no more: unknown fields are accepted,
and null stands for a field that is not set. Whether a body is accepted is decided by its codec alone.
"""

from __future__ import annotations

from typing import Any

from proxy.codecs.limits import MAX_INT

Schema = dict[str, Any]

ANY: Schema = {}
TEXT: Schema = {"type": ["string", "null"]}
FLAG: Schema = {"type": ["boolean", "null"]}
OBJECT: Schema = {"type": ["object", "null"]}
TEXTS: Schema = {"type": ["array", "null"], "items": {"type": "string"}}
# the name of a served model; the document tells the names (proxy/http/openapi.py)
MODEL: Schema = {"$ref": "#/components/schemas/Model"}


def integer(low: int, high: int = MAX_INT) -> Schema:
    return {"type": ["integer", "null"], "minimum": low, "maximum": high}


def number(low: float, high: float) -> Schema:
    return {"type": ["number", "null"], "minimum": low, "maximum": high}


def choice(*values: str) -> Schema:
    return {"enum": [*values, None]}


def array(items: Schema) -> Schema:
    return {"type": ["array", "null"], "items": items}


def either(*schemas: Schema) -> Schema:
    return {"anyOf": list(schemas)}


def record(required: str = "", /, **fields: Schema) -> Schema:
    """An object. required: names of the fields that must be there, split at spaces."""
    schema: Schema = {"type": "object", "properties": fields, "additionalProperties": True}
    return {**schema, "required": required.split()} if required else schema


SAMPLING: dict[str, Schema] = {
    "temperature": number(0, 2),
    "top_p": number(0, 1),
    "top_k": integer(-1),
    "min_p": number(0, 1),
    "seed": integer(-MAX_INT - 1),
    "stop": either(TEXT, TEXTS),
    "presence_penalty": number(-2, 2),
    "frequency_penalty": number(-2, 2),
    "repetition_penalty": {"type": ["number", "null"], "exclusiveMinimum": 0, "maximum": 10},
    "logit_bias": OBJECT,
    "ignore_eos": FLAG,
    "timeout_s": {"type": ["number", "null"], "exclusiveMinimum": 0},
}
