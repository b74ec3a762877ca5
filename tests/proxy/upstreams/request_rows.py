"""What clients say in each dialect, and what of it an upstream gets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.proxy.upstreams.dialects import PATHS

ALL = tuple(PATHS)
TALKS = ("chat", "messages", "responses", "ollama")
OPENAI = ("chat", "responses", "completions")
LOCAL = ("chat", "responses", "completions", "messages")
MARK = {"cache_control": {"type": "ephemeral"}}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
FUNCTION = {"name": "look", "parameters": SCHEMA}
TOOL = {"type": "function", "function": FUNCTION}
SEARCH = {"type": "browser_search"}
CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
CALLED = {"role": "assistant", "content": None, "tool_calls": [CALL]}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "seen"}
PNG = "iVBORw0KGgo="
IMAGE = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
FORMAT = {"name": "place", "strict": True, "description": "a place", "schema": SCHEMA}
DETAILS = [{"type": "reasoning.encrypted", "data": "xyz", "index": 0}]
SIGNED = [{"type": "thinking", "thinking": "hm", "signature": "s"}]

# Fields that arrive under the name and with the value that the client sent.
SAME: dict[str, tuple[tuple[str, ...], Mapping[str, Any]]] = {
    "user": (OPENAI, {"user": "ann"}),
    "service_tier": (OPENAI, {"service_tier": "flex"}),
    "prompt_cache_key": (OPENAI, {"prompt_cache_key": "k1"}),
    "prompt_cache_retention": (OPENAI, {"prompt_cache_retention": "24h"}),
    "safety_identifier": (OPENAI, {"safety_identifier": "s1"}),
    "verbosity": (("chat",), {"verbosity": "low"}),
    "prediction": (("chat",), {"prediction": {"type": "content", "content": "as it was"}}),
    "modalities and audio": (("chat",), {"modalities": ["text"], "audio": {"voice": "a", "format": "wav"}}),
    "web_search_options": (("chat",), {"web_search_options": {"search_context_size": "low"}}),
    "store and metadata": (("chat",), {"store": True, "metadata": {"run": "7"}}),
    "min_tokens": (ALL, {"min_tokens": 3}),
    "structured_outputs": (ALL, {"structured_outputs": {"regex": "a+"}}),
    "guided_json": (ALL, {"guided_json": SCHEMA}),
    "stop_token_ids": (ALL, {"stop_token_ids": [7, 8]}),
    "skip_special_tokens": (ALL, {"skip_special_tokens": False}),
    "priority": (ALL, {"priority": 2}),
    "lora_path": (ALL, {"lora_path": "a"}),
    "cache_prompt and id_slot": (ALL, {"cache_prompt": True, "id_slot": 1}),
    "dry_multiplier": (ALL, {"dry_multiplier": 0.5}),
    "provider": (ALL, {"provider": {"order": ["a"], "allow_fallbacks": False}}),
    "transforms and models": (ALL, {"transforms": [], "models": ["a/b"]}),
    "a field of tomorrow": (ALL, {"field_of_tomorrow": {"deep": [1, None, "x"]}}),
    "temperature and top_p": (LOCAL, {"temperature": 0.3, "top_p": 0.9}),
    "top_k and min_p": (LOCAL, {"top_k": 5, "min_p": 0.1}),
    "seed": (LOCAL, {"seed": 11}),
    "penalties": (OPENAI, {"presence_penalty": 0.5, "frequency_penalty": -0.5}),
    "repetition_penalty": (OPENAI, {"repetition_penalty": 1.1}),
    "logit_bias": (OPENAI, {"logit_bias": {"5": 1.5}}),
    "ignore_eos": (OPENAI, {"ignore_eos": True}),
    "max_tokens": (("chat", "completions", "messages"), {"max_tokens": 77}),
    "max_completion_tokens": (("chat",), {"max_completion_tokens": 77}),
    "logprobs": (("chat",), {"logprobs": True, "top_logprobs": 2}),
    "response_format json_schema": (
        ("chat",),
        {"response_format": {"type": "json_schema", "json_schema": FORMAT}},
    ),
    "response_format json_object": (("chat",), {"response_format": {"type": "json_object"}}),
    "response_format of a server's own": (("chat",), {"response_format": {"type": "grammar", "value": "x"}}),
    "reasoning_effort": (("chat", "responses"), {"reasoning_effort": "high"}),
    "reasoning_effort none": (("chat",), {"reasoning_effort": "none"}),
    "reasoning of routers": (("chat",), {"reasoning": {"max_tokens": 5, "exclude": False}}),
    "thinking of some": (("chat",), {"thinking": {"type": "enabled"}}),
    "enable_thinking": (("chat", "responses", "messages"), {"enable_thinking": False}),
    "thinking_budget": (("chat", "responses"), {"thinking_budget": 9}),
    "thinking_token_budget": (("chat", "responses"), {"thinking_token_budget": 9}),
    "include_reasoning": (("chat", "responses"), {"include_reasoning": True}),
    "chat_template_kwargs": (
        ("chat", "responses", "messages"),
        {"chat_template_kwargs": {"enable_thinking": False, "x": 1}},
    ),
    "a tool's strict": (
        ("chat",),
        {"tools": [{"type": "function", "function": {**FUNCTION, "strict": True}}]},
    ),
    "a tool's strict false": (
        ("chat",),
        {"tools": [{"type": "function", "function": {**FUNCTION, "strict": False}}]},
    ),
    "a mark at a tool": (("chat", "ollama"), {"tools": [{**TOOL, **MARK}]}),
    "a tool's own fields": (
        ("chat", "ollama"),
        {"tools": [{"type": "function", "function": {**FUNCTION, "returns": SCHEMA}, "eager": True}]},
    ),
    "a tool that runs at the provider": (
        ("chat", "ollama"),
        {"tools": [TOOL, {"type": "web_search", "web_search": {"enable": True}}]},
    ),
    "such tools alone": (("chat", "ollama"), {"tools": [SEARCH]}),
    "such tools alone, one of them": (("chat",), {"tools": [SEARCH], "tool_choice": "required"}),
    "such tools alone, one at a time": (("chat",), {"tools": [SEARCH], "parallel_tool_calls": False}),
    "such tools alone, several": (("chat",), {"tools": [SEARCH], "parallel_tool_calls": True}),
    "the choice of such a tool": (("chat",), {"tools": [TOOL, SEARCH], "tool_choice": SEARCH}),
    "tool_choice required": (("chat",), {"tools": [TOOL], "tool_choice": "required"}),
    "tool_choice named": (
        ("chat",),
        {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "look"}}},
    ),
    "parallel_tool_calls false": (("chat", "ollama"), {"tools": [TOOL], "parallel_tool_calls": False}),
    "parallel_tool_calls true": (("chat",), {"tools": [TOOL], "parallel_tool_calls": True}),
}
# Messages of Chat Completions that arrive as they were sent.
MESSAGES: dict[str, list[dict[str, Any]]] = {
    "image": [{"role": "user", "content": [{"type": "text", "text": "see"}, IMAGE]}],
    "detail of an image": [
        {
            "role": "user",
            "content": [{"type": "image_url", "image_url": {"url": "https://a/b", "detail": "low"}}],
        }
    ],
    "audio": [
        {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}}]}
    ],
    "video": [{"role": "user", "content": [{"type": "video_url", "video_url": {"url": "https://a/v"}}]}],
    "file": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}, **MARK}]}],
    "a part of a server's own": [{"role": "user", "content": [{"type": "point", "x": 1}, IMAGE]}],
    "a mark in a part": [{"role": "system", "content": [{"type": "text", "text": "be kind", **MARK}]}],
    "a mark in a message": [{"role": "user", "content": "hi", **MARK}],
    "names": [
        {"role": "user", "content": "hi", "name": "ann"},
        {"role": "system", "content": "x", "name": "b"},
    ],
    "a role of a server's own": [{"role": "latest_reminder", "content": "2026-11-28"}],
    "reasoning_content": [{"role": "assistant", "content": "x", "reasoning_content": "hm"}, RESULT],
    "reasoning": [{"role": "assistant", "content": "x", "reasoning": "hm"}, RESULT],
    "reasoning_details": [{"role": "assistant", "content": "x", "reasoning_details": DETAILS}, RESULT],
    "thinking_blocks": [
        {"role": "assistant", "content": "x", "reasoning_content": "hm", "thinking_blocks": SIGNED},
        RESULT,
    ],
    "a refusal": [
        {"role": "assistant", "content": None, "refusal": "no"},
        {"role": "user", "content": "why?"},
    ],
    "the beginning of an answer": [{"role": "assistant", "content": "It is", "prefix": True}],
    "the same, as others call it": [{"role": "assistant", "content": "It is", "partial": True}],
    "spoken answers": [{"role": "assistant", "content": "x", "audio": {"id": "a1"}}, RESULT],
    "a signature of thoughts": [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{**CALL, "extra_content": {"google": {"thought_signature": "s"}}}],
        },
        RESULT,
    ],
    "a signature of a message": [
        {"role": "assistant", "content": "x", "extra_content": {"google": {"thought_signature": "s"}}},
        RESULT,
    ],
    "a named result": [CALLED, {**RESULT, "name": "look"}],
    "a picture in a result": [CALLED, {**RESULT, "content": [{"type": "text", "text": "seen"}, IMAGE]}],
    "a mark at a result": [CALLED, {**RESULT, **MARK}],
}
# In other dialects, where Chat Completions has other words: what is sent, and what arrives in the body.
OTHERWISE: dict[str, tuple[str, Mapping[str, Any], list[Any], Mapping[str, Any]]] = {
    "verbosity": ("responses", {"text": {"verbosity": "low"}}, [], {"verbosity": "low"}),
    "a format": (
        "responses",
        {"text": {"format": {"type": "json_schema", **FORMAT}}},
        [],
        {"response_format": {"type": "json_schema", "json_schema": FORMAT}},
    ),
    "an effort": ("responses", {"reasoning": {"effort": "low"}}, [], {"reasoning_effort": "low"}),
    "most tokens": ("responses", {"max_output_tokens": 77}, [], {"max_tokens": 77}),
    "a format of messages": (
        "messages",
        {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
        [],
        {"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}}},
    ),
    "a tool of messages": (
        "messages",
        {"tools": [{"name": "look", "input_schema": SCHEMA, **MARK}]},
        [],
        {"tools": [{**TOOL, **MARK}]},
    ),
    "a choice of messages": (
        "messages",
        {"tools": [{"name": "look", "input_schema": SCHEMA}], "tool_choice": {"type": "any"}},
        [],
        {"tool_choice": "required"},
    ),
    "options": (
        "ollama",
        {"options": {"temperature": 0.3, "num_predict": 77, "repeat_penalty": 1.1, "top_k": 5}},
        [],
        {"temperature": 0.3, "max_tokens": 77, "repetition_penalty": 1.1, "top_k": 5},
    ),
    "a format of ollama": (
        "ollama",
        {"format": SCHEMA},
        [],
        {"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}}},
    ),
    "none, where the history holds calls": (
        "chat",
        {"tools": [TOOL], "tool_choice": "none"},
        [CALLED, RESULT],
        {"tools": [TOOL], "tool_choice": "none"},
    ),
    "some of the tools": (
        "chat",
        {
            "tools": [TOOL, SEARCH, {"type": "web_search"}],
            "tool_choice": {"type": "allowed_tools", "mode": "required", "tools": [SEARCH]},
        },
        [],
        {"tools": [SEARCH], "tool_choice": "required"},
    ),
    "none, with tools that run at the provider": (
        "chat",
        {"tools": [TOOL, SEARCH], "tool_choice": "none"},
        [CALLED, RESULT],
        {"tools": [TOOL, SEARCH], "tool_choice": "none"},
    ),
    "a format of a server's own": (
        "responses",
        {"text": {"format": {"type": "grammar", "value": "x"}}},
        [],
        {"response_format": {"type": "grammar", "value": "x"}},
    ),
    "the same in messages": (
        "messages",
        {"output_config": {"format": {"type": "grammar", "value": "x"}}},
        [],
        {"response_format": {"type": "grammar", "value": "x"}},
    ),
    "none, in messages": (
        "messages",
        {"tools": [{"name": "look", "input_schema": SCHEMA}], "tool_choice": {"type": "none"}},
        [
            {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "look", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "seen"}]},
        ],
        {"tools": [TOOL], "tool_choice": "none"},
    ),
    "none, in responses": (
        "responses",
        {"tools": [{"type": "function", **FUNCTION}], "tool_choice": "none"},
        [
            {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "seen"},
        ],
        {"tools": [TOOL], "tool_choice": "none"},
    ),
    "further options of a stream": (
        "chat",
        {"stream_options": {"continuous_usage_stats": True}},
        [],
        {"stream_options": {"continuous_usage_stats": True, "include_usage": True}},
    ),
    "the same in completions": (
        "completions",
        {"stream_options": {"continuous_usage_stats": True, "include_usage": False}},
        [],
        {"stream_options": {"continuous_usage_stats": True, "include_usage": True}},
    ),
}
# The same picture, mark, refusal and result in the other dialects, and the message that arrives.
ELSEWHERE: dict[str, tuple[str, list[Any], list[dict[str, Any]]]] = {
    "image in messages": (
        "messages",
        [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "see", **MARK},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
                ],
            }
        ],
        [{"role": "user", "content": [{"type": "text", "text": "see", **MARK}, IMAGE]}],
    ),
    "image in responses": (
        "responses",
        [
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "see"},
                    {"type": "input_image", "image_url": IMAGE["image_url"]["url"]},  # type: ignore[index]
                ],
            }
        ],
        [{"role": "user", "content": [{"type": "text", "text": "see"}, IMAGE]}],
    ),
    "image in ollama": (
        "ollama",
        [{"role": "user", "content": "see", "images": [PNG]}],
        [{"role": "user", "content": [IMAGE, {"type": "text", "text": "see"}]}],
    ),
    "a refusal in responses": (
        "responses",
        [
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
            {"role": "user", "content": "?"},
        ],
        [{"role": "assistant", "content": None, "refusal": "no"}, {"role": "user", "content": "?"}],
    ),
    "signed thoughts in messages": (
        "messages",
        [
            {"role": "assistant", "content": [*SIGNED, {"type": "text", "text": "x"}]},
            {"role": "user", "content": "?"},
        ],
        [
            {"role": "assistant", "content": "x", "reasoning_content": "hm", "thinking_blocks": SIGNED},
            {"role": "user", "content": "?"},
        ],
    ),
    "developer is system": (
        "chat",
        [{"role": "developer", "content": "be kind"}],
        [{"role": "system", "content": "be kind"}],
    ),
    "a refusal among parts": (
        "chat",
        [{"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}, RESULT],
        [{"role": "assistant", "content": None, "refusal": "no"}, RESULT],
    ),
}
