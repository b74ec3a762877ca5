"""JSON Schemas of the bodies that OpenAI's APIs take, for the OpenAPI document."""

from __future__ import annotations

from proxy.codecs.limits import MAX_INT
from proxy.codecs.schemas import (
    ANY,
    FLAG,
    MODEL,
    OBJECT,
    SAMPLING,
    TEXT,
    Schema,
    array,
    choice,
    either,
    integer,
    record,
)

_PART = record(type=choice("text", "image_url", "input_audio", "file", "refusal"), text=TEXT, image_url=ANY)
_CALL = record(
    id=TEXT,
    type=choice("function", "custom"),
    function=record("name", name={"type": "string"}, arguments=either(TEXT, OBJECT)),
    custom=record("name", name={"type": "string"}, input=TEXT),
)
MESSAGE = record(
    "role",
    role={"enum": ["system", "developer", "user", "assistant", "tool", "function"]},
    content=either(TEXT, array(_PART)),
    name=TEXT,
    tool_calls=array(_CALL),
    tool_call_id=TEXT,
    reasoning_content=TEXT,
)
_NAME: Schema = {"type": "string", "minLength": 1}
_FUNCTION = record("name", name=_NAME, description=TEXT, parameters=OBJECT, strict=FLAG)
TOOL = record("type function", type={"enum": ["function"]}, function=_FUNCTION)
_CUSTOM = record(
    "type custom",
    type={"enum": ["custom"]},
    custom=record("name", name=_NAME, description=TEXT, format=OBJECT),
)
_CHOICE = either(choice("auto", "none", "required"), record(type={"type": "string"}))

CHAT = record(
    "messages",
    **SAMPLING,
    model=MODEL,
    messages={"type": "array", "items": MESSAGE, "minItems": 1},
    tools=array(either(TOOL, _CUSTOM)),
    functions=array(_FUNCTION),
    tool_choice=_CHOICE,
    function_call=_CHOICE,
    parallel_tool_calls=FLAG,
    max_tokens=integer(-1),
    max_completion_tokens=integer(-1),
    n=integer(1, 16),
    stream=FLAG,
    stream_options=record(include_usage=FLAG),
    logprobs=FLAG,
    top_logprobs=integer(0, 20),
    response_format=record(type=choice("text", "json_object", "json_schema"), json_schema=OBJECT),
    reasoning_effort=TEXT,
    chat_template_kwargs=OBJECT,
    prompt_cache_key=TEXT,
    user=TEXT,
    metadata=OBJECT,
)

_TOKEN: Schema = {"type": "integer", "minimum": 0, "maximum": MAX_INT}
_TOKENS: Schema = {"type": "array", "items": {**_TOKEN, "maximum": 2**31 - 1}}
_PROMPT = either(
    {"type": "string"},
    {"type": "array", "items": {"type": "string"}, "minItems": 1},
    {**_TOKENS, "minItems": 1},
    {"type": "array", "items": _TOKENS, "minItems": 1},
)
COMPLETION = record(
    "prompt",
    **SAMPLING,
    model=MODEL,
    prompt=_PROMPT,
    suffix=TEXT,
    echo=FLAG,
    max_tokens=integer(-1),
    n=integer(1, 16),
    best_of=integer(1, 16),
    logprobs=integer(0, 20),
    stream=FLAG,
    stream_options=record(include_usage=FLAG),
    add_special_tokens=FLAG,
)
TOKENIZE = either(
    record("prompt", model=MODEL, prompt={"type": "string"}, return_token_strs=FLAG, add_special_tokens=FLAG),
    record("messages", model=MODEL, messages=array(MESSAGE), tools=array(TOOL), return_token_strs=FLAG),
)
DETOKENIZE = record("tokens", model=MODEL, tokens=_TOKENS)

_ITEM = record(
    type=choice(
        "message",
        "function_call",
        "function_call_output",
        "custom_tool_call",
        "custom_tool_call_output",
        "reasoning",
    ),
    role=choice("system", "developer", "user", "assistant"),
    content=either(TEXT, array(record(type=choice("input_text", "output_text", "input_image"), text=TEXT))),
    call_id=TEXT,
    name=TEXT,
    arguments=TEXT,
    input=TEXT,
    output=ANY,
    summary=array(record(type=choice("summary_text"), text=TEXT)),
    encrypted_content=TEXT,
)
RESPONSE = record(
    "input",
    **SAMPLING,
    model=MODEL,
    input=either({"type": "string"}, {"type": "array", "items": _ITEM}),
    instructions=TEXT,
    tools=array(
        record(
            "type",
            type={"enum": ["function", "custom", "namespace", "web_search"]},
            name=_NAME,
            description=TEXT,
            parameters=OBJECT,
            strict=FLAG,
            format=OBJECT,
            tools=array(_FUNCTION),
        )
    ),
    tool_choice=_CHOICE,
    parallel_tool_calls=FLAG,
    stream=FLAG,
    store=FLAG,
    previous_response_id=TEXT,
    max_output_tokens=integer(-1),
    top_logprobs=integer(0, 20),
    text=record(format=record(type=choice("text", "json_object", "json_schema"), schema=OBJECT)),
    reasoning=OBJECT,
    include=array({"type": "string"}),
    metadata=OBJECT,
    truncation=TEXT,
    prompt_cache_key=TEXT,
)
