"""The JSON Schema of the body of a Messages request, for the OpenAPI document."""

from __future__ import annotations

from proxy.codecs.schemas import (
    ANY,
    FLAG,
    MODEL,
    OBJECT,
    SAMPLING,
    TEXT,
    TEXTS,
    array,
    choice,
    either,
    integer,
    record,
)

_SOURCE = record(type=choice("base64", "url", "text"), media_type=TEXT, data=TEXT, url=TEXT)
_BLOCK = record(
    "type",
    type={"enum": ["text", "image", "document", "tool_use", "tool_result", "thinking", "redacted_thinking"]},
    text={"type": "string"},
    thinking=TEXT,
    signature=TEXT,
    source=_SOURCE,
    id=TEXT,
    name=TEXT,
    input=OBJECT,
    tool_use_id=TEXT,
    content=ANY,
    is_error=FLAG,
    cache_control=OBJECT,
)
_CONTENT = either({"type": "string"}, {"type": "array", "items": _BLOCK})
MESSAGES = record(
    "messages",
    **{name: SAMPLING[name] for name in ("temperature", "top_p", "top_k", "min_p", "seed")},
    model=MODEL,
    messages={
        "type": "array",
        "minItems": 1,
        "items": record("role content", role={"enum": ["user", "assistant", "system"]}, content=_CONTENT),
    },
    system=either(TEXT, array(record(type={"enum": ["text"]}, text={"type": "string"}))),
    max_tokens=integer(1),
    tools=array(
        record(
            "name",
            name={"type": "string", "minLength": 1},
            type=choice("custom"),
            description=TEXT,
            input_schema=OBJECT,
            defer_loading=FLAG,
            strict=FLAG,
        )
    ),
    tool_choice=record(type=choice("auto", "any", "tool", "none"), name=TEXT, disable_parallel_tool_use=FLAG),
    stop_sequences=TEXTS,
    stream=FLAG,
    thinking=record(type=choice("enabled", "disabled", "adaptive"), budget_tokens=integer(-1)),
    output_config=record(format=OBJECT, effort=TEXT),
    metadata=record(user_id=TEXT),
)
