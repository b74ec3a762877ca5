"""JSON Schemas of the bodies that Ollama's API takes, for the OpenAPI document."""

from __future__ import annotations

from proxy.codecs.schemas import ANY, FLAG, MODEL, OBJECT, TEXT, TEXTS, array, integer, number, record

_OPTIONS = record(
    temperature=number(0, 2),
    top_p=number(0, 1),
    top_k=integer(-1),
    seed=ANY,
    num_predict=ANY,
    stop=ANY,
    num_ctx=ANY,
)
_COMMON = {
    "model": MODEL,
    "stream": FLAG,
    "format": ANY,
    "options": _OPTIONS,
    "think": ANY,
    "keep_alive": ANY,
    "logprobs": FLAG,
    "top_logprobs": integer(0, 20),
}
_CALL = record(function=record("name", name={"type": "string"}, arguments=OBJECT))
CHAT = record(
    **_COMMON,
    messages=array(
        record(
            "role",
            role={"enum": ["system", "user", "assistant", "tool"]},
            content=TEXT,
            thinking=TEXT,
            images=TEXTS,
            tool_calls=array(_CALL),
            tool_name=TEXT,
        )
    ),
    tools=array(
        record(
            "function",
            type={"enum": ["function"]},
            function=record(
                "name", name={"type": "string", "minLength": 1}, description=TEXT, parameters=OBJECT
            ),
        )
    ),
)
GENERATE = record(**_COMMON, prompt=TEXT, system=TEXT, suffix=TEXT, raw=FLAG, images=TEXTS, template=TEXT)
SHOW = record("model", model=MODEL, verbose=FLAG)
