"""A prompt that is too long for another server is told as agents look for it, with the numbers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.conversation.errors import BadRequest, ContextTooLong
from proxy.upstreams.remote.failures import read_failure
from proxy.upstreams.remote.refusals import refusal
from tests.proxy.upstreams.stage import Hosted
from tests.proxy.upstreams.wire import Reply

STATUSES = (400, 413, 422, 500)
# by server: what it says, and the numbers that the client is told first
TOLD: dict[str, tuple[str, tuple[int, int] | None]] = {
    "openai": (
        "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens. "
        "Please reduce the length of the messages.",
        (9000, 8192),
    ),
    "openai responses": (
        "Your input exceeds the context window of this model. Please adjust your input and try again.",
        None,
    ),
    "azure": (
        "This model's maximum context length is 8192 tokens, however you requested 9100 tokens (9000 in your "
        "prompt; 100 for the completion). Please reduce your prompt; or completion length.",
        (9100, 8192),
    ),
    "vllm": (
        "This model's maximum context length is 4096 tokens. However, you requested 5100 tokens (5000 in the "
        "messages, 100 in the completion).",
        (5100, 4096),
    ),
    "vllm, newer": (
        "You passed 5001 input tokens and requested 1 output tokens. However, the model's context length is "
        "only 4096 tokens, resulting in a maximum input length of 4095 tokens. Please reduce the length "
        "of the input prompt.",
        (5001, 4096),
    ),
    "vllm, of the engine": (
        "The decoder prompt (length 5000) is longer than the maximum model length of 4096. Make sure that "
        "`max_model_len` is no smaller than the number of text tokens.",
        None,
    ),
    "vllm, of the answer": (
        "'max_tokens' or 'max_completion_tokens' is too large: 2000. This model's maximum context length is "
        "4096 tokens and your request has 2104 input tokens (2000 > 4096 - 2104).",
        None,
    ),
    "sglang": (
        "Requested token count exceeds the model's maximum context length of 4096 tokens. You requested "
        "a total of 5100 tokens: 5000 tokens from the input messages and 100 tokens for the completion.",
        (5100, 4096),
    ),
    "sglang, of the input": (
        "The input (5000 tokens) is longer than the model's context length (4096 tokens).",
        (5000, 4096),
    ),
    "sglang, of the scheduler": (
        "Input length (5000 tokens) exceeds the maximum allowed length (4095 tokens). Use a shorter input or "
        "enable --allow-auto-truncate.",
        (5000, 4095),
    ),
    "llama.cpp": (
        "request (5000 tokens) exceeds the available context size (4096 tokens), try increasing it",
        (5000, 4096),
    ),
    "llama.cpp, older": (
        "the request exceeds the available context size. try increasing the context size or enable "
        "context shift",
        None,
    ),
    "llama-cpp-python": ("Requested tokens (5000) exceed context window of 4096", (5000, 4096)),
    "ollama": ("prompt too long; exceeded max context length by 904 tokens", None),
    "ollama, of embeddings": ("the input length exceeds the context length", None),
    "lm studio": (
        "The number of tokens to keep from the initial prompt is greater than the context length "
        "(n_keep: 5000>= n_ctx: 4096). Try to load the model with a larger context length, or provide a "
        "shorter input.",
        (5000, 4096),
    ),
    "lm studio, older": (
        "Trying to keep the first 5000 tokens when context the overflows. However, the model is loaded with "
        "context length of only 4096 tokens, which is not enough.",
        None,
    ),
    "groq": ("Please reduce the length of the messages or completion.", None),
    "cerebras": (
        "Please reduce the length of the messages or completion. Current length is 9000 while limit is 8192",
        (9000, 8192),
    ),
    "xai": (
        "This model's maximum prompt length is 131072 but the request contains 537812 tokens.",
        (537812, 131072),
    ),
    "kimi": ("Invalid request: Your request exceeded model token limit: 262144", None),
    "glm": ("Prompt exceeds max length", None),
    "dashscope": (
        "<400> InternalError.Algo.InvalidParameter: Range of input length should be [1, 129024]",
        None,
    ),
    "tgi": (
        "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000 "
        "`inputs` tokens and 20 `max_new_tokens`",
        (5000, 4096),
    ),
    "tgi, of the inputs": (
        "Input validation error: `inputs` must have less than 4096 tokens. Given: 5000",
        (5000, 4096),
    ),
    "copilot": ("prompt token count of 130000 exceeds the limit of 128000", (130000, 128000)),
    "tensorrt-llm": (
        "The sum of prompt length (5000.0), query length (0) should not exceed max_num_tokens (4096)",
        (5000, 4096),
    ),
    "tensorrt-llm, of triton": (
        "Prompt length (5000) exceeds maximum input length (4096). Set log level to info and check "
        "TRTGptModel logs for how maximum input length is set",
        (5000, 4096),
    ),
    "mistral": (
        "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context "
        "length",
        (40000, 32768),
    ),
    "fireworks": ("The prompt is too long: 140000, model maximum context length: 131071", (140000, 131071)),
    "deepseek": (
        "This model's maximum context length is 65536 tokens. However, you requested 70000 tokens (66000 "
        "in the messages, 4000 in the completion). Please reduce the length of the messages or completion.",
        (70000, 65536),
    ),
    "openrouter": (
        "This endpoint's maximum context length is 131072 tokens. However, you requested about 150000 tokens "
        "(140000 of text input, 10000 in the output). Please reduce the length of either one, or use the "
        '"middle-out" transform to compress your prompt automatically.',
        (150000, 131072),
    ),
    "bedrock": ("Input is too long for requested model.", None),
    "gemini": (
        "The input token count (1196265) exceeds the maximum number of tokens allowed (1048575).",
        (1196265, 1048575),
    ),
    "anthropic": ("prompt is too long: 210000 tokens > 200000 maximum", (210000, 200000)),
    "anthropic, with the answer": (
        "input length and `max_tokens` exceed context limit: 188240 + 21333 > 200000, decrease input "
        "length or `max_tokens` and try again",
        None,
    ),
    "minimax": ("invalid params, context window exceeds limit (2013)", None),
    "cohere": (
        "too many tokens: size limit exceeded by 4000 tokens. Try using shorter or fewer inputs.",
        None,
    ),
    "ds4": ("Prompt has 32769 tokens, but the configured context size is 32768 tokens", (32769, 32768)),
    "reversed": ("the context length of 2048 is exceeded by 3000 tokens of input", (3000, 2048)),
    "one number": ("context window exceeded: at most 2048 tokens", None),
}
# Servers that put it elsewhere: the whole body.
BODIES: dict[str, Any] = {
    "a code": {"error": {"message": "no", "code": "context_length_exceeded"}},
    "a code of copilot": {"error": {"message": "no", "code": "model_max_prompt_tokens_exceeded"}},
    "a number of glm": {"error": {"code": "1261", "message": "Prompt \u8d85\u957f"}},
    "a type of llama.cpp": {"error": {"code": 400, "message": "no", "type": "exceed_context_size_error"}},
    "lemonade": {
        "error": {
            "message": "llama-server request failed",
            "type": "backend_error",
            "details": {
                "status_code": 400,
                "response": {
                    "error": {
                        "code": 400,
                        "message": "request (5000 tokens) exceeds the available context size (4096 tokens)",
                        "type": "exceed_context_size_error",
                    }
                },
            },
        }
    },
    "openrouter, from behind": {
        "error": {
            "code": 400,
            "message": "Provider returned error",
            "metadata": {"raw": json.dumps({"error": {"message": TOLD["vllm"][0]}}), "provider_name": "x"},
        }
    },
    "vllm, older": {"object": "error", "message": TOLD["vllm"][0], "type": "BadRequestError", "code": 400},
    "fastapi": {"detail": TOLD["sglang"][0]},
    "tgi": {"error": TOLD["tgi"][0], "error_type": "validation"},
    "ollama": {"error": TOLD["ollama"][0]},
    "dashscope": {"code": "InvalidParameter", "message": TOLD["dashscope"][0], "request_id": "x"},
    "gemini": [{"error": {"code": 400, "message": TOLD["gemini"][0], "status": "INVALID_ARGUMENT"}}],
    "text alone": TOLD["llama.cpp"][0],
}
# By the status with which they come.
ELSE: dict[str, tuple[int, Any]] = {
    "groq's rate": (
        413,
        {
            "error": {
                "message": "Request too large for model `x` in organization `o` service tier `on_demand` on "
                "tokens per minute (TPM): Limit 6000, Requested 7500, please reduce your message size "
                "and try again.",
                "type": "tokens",
                "code": "rate_limit_exceeded",
            }
        },
    ),
    "openai's rate": (
        429,
        "Rate limit reached for gpt-4 on tokens per min (TPM): Limit 10000, Used 9000, Requested 5000. "
        "The input is too long for the rate limit.",
    ),
    "bedrock's rate": (400, "Too many tokens, please wait before trying again."),
    "a quota": (400, "The input token count exceeds the maximum quota of tokens per day"),
    "a value": (400, "top_p must be at most 1, got 7 tokens > 3"),
    "max_tokens": (400, "Range of max_tokens should be [1, 8192]"),
    "max_tokens of deepseek": (400, "Invalid max_tokens value, the valid range of max_tokens is [1, 8192]"),
    "max_tokens of openai": (
        400,
        "max_tokens is too large: 100000. This model supports at most 16384 completion tokens, whereas you "
        "provided 100000.",
    ),
    "an answer longer than the context": (
        400,
        "'max_tokens' or 'max_completion_tokens' is too large: 5000. This model's maximum context length "
        "is 4096 tokens and your request has 200 input tokens (5000 > 4096 - 200).",
    ),
    "a picture": (400, "Invalid image: the image is too large, the maximum is 20 MB"),
    "a string": (
        400,
        "Invalid 'messages[1].content': string too long. Expected a string with maximum length 1048576, "
        "but got a string with length 2000000 instead.",
    ),
    "tools": (400, "Invalid 'tools': array too long. Expected an array with maximum length 128"),
    "a body": (413, "<html><head><title>413 Request Entity Too Large</title></head></html>"),
    "memory": (500, "failed to allocate memory for a context size of 131072"),
    "a batch": (500, "input is too large to process. increase the physical batch size"),
    "a field": (400, "Unknown parameter: 'context_length'."),
}


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("name", TOLD)
def test_the_numbers_stand_in_front(name: str, status: int) -> None:
    said, numbers = TOLD[name]
    error = refusal(read_failure(status, {"error": {"message": said, "code": None}}, {}), "u")
    assert isinstance(error, ContextTooLong)
    first = f"{numbers[0]} tokens > {numbers[1]} maximum. upstream u: " if numbers else "upstream u: "
    assert error.message.startswith(f"prompt is too long: {first}")
    assert said in error.message


@pytest.mark.parametrize("name", BODIES)
def test_it_is_found_wherever_it_stands(chain: Hosted, name: str) -> None:
    for status in STATUSES:
        key = f"too long {name} {status}"
        said = BODIES[name] if isinstance(BODIES[name], str) else json.dumps(BODIES[name])
        chain.wire.plan(key, Reply((said.encode(),), status))
        response = chain.server.post({"messages": [{"role": "user", "content": key}]})
        assert (response.status_code, response.json()["error"]["code"]) == (400, "context_length_exceeded")
        assert len(chain.wire.asked(key)) == 1


def test_it_may_come_in_the_stream(chain: Hosted) -> None:
    event = {"error": {"code": 500, "message": TOLD["llama.cpp"][0], "type": "server_error"}}
    chain.wire.plan("too long, told late", Reply((b"data: " + json.dumps(event).encode() + b"\n\n",)))
    response = chain.server.post({"messages": [{"role": "user", "content": "too long, told late"}]})
    assert (response.status_code, response.json()["error"]["code"]) == (400, "context_length_exceeded")


@pytest.mark.parametrize("name", ELSE)
def test_what_looks_like_it_is_something_else(name: str) -> None:
    status, said = ELSE[name]
    body = {"error": {"message": said}} if isinstance(said, str) else said
    error = refusal(read_failure(status, body, {}), "u")
    assert not isinstance(error, ContextTooLong)
    assert "prompt is too long" not in error.message


def test_a_plain_refusal_stays_one() -> None:
    assert type(refusal(read_failure(400, ELSE["a value"][1], {}), "u")) is BadRequest
