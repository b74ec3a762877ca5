"""Decodes the body of a completions request (https://platform.openai.com/docs/api-reference/completions).

As in the other dialects a field is refused only if its type is wrong, its value is out of range, or ignoring
it would change what the answer means.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from proxy.codecs.as_sent import further_fields
from proxy.codecs.base import Decoded
from proxy.codecs.fields import Fields, describe, parse_object, refuse
from proxy.codecs.openai_request import MAX_TOP_LOGPROBS, decode_sampling, decode_timeout
from proxy.conversation.errors import BadRequest
from proxy.conversation.request import ChatRequest, RawPrompt, Sampling
from proxy.conversation.session_id import from_body

_log = logging.getLogger(__name__)

_READ = frozenset(
    "model prompt suffix echo stream stream_options max_tokens temperature top_p top_k min_p seed stop "
    "logit_bias presence_penalty frequency_penalty repetition_penalty ignore_eos n best_of logprobs "
    "add_special_tokens response_format timeout_s prompt_cache_key user metadata".split()
)
# What OpenAI documents for this route, and vLLM and SGLang do: its clients rely on short answers.
_DEFAULT_MAX_TOKENS = 16
_MAX_CHOICES = 16
# Of all prompts together. Each is a request of its own to the engine.
_MAX_ANSWERS = 64
_MAX_TOKEN = 2**31 - 1
_EXPECTED = "a string, an array of strings, an array of token ids or an array of arrays of token ids"


@dataclass(frozen=True, slots=True)
class CompletionShape:
    """include_usage: a stream ends with a chunk of token counts. echoes: the text that stands before each
    answer, in their order.
    """

    include_usage: bool
    echoes: tuple[str, ...]


def decode_request(data: bytes) -> Decoded:
    """Its shape is a CompletionShape. Raises BadRequest naming the field."""
    body = Fields(parse_object(data))
    for path in body.unknown(_READ):
        _log.debug("%s: unknown field, for an upstream alone", path)
    _refuse_what_would_change_the_answer(body)
    n = body.integer("n", 1, _MAX_CHOICES) or 1
    contents = _contents(body.values.get("prompt"))
    if n * len(contents) > _MAX_ANSWERS:
        raise BadRequest(
            f"prompt: at most {_MAX_ANSWERS} answers in one request, got {len(contents)} prompts with n {n}",
            param="prompt",
        )
    _check_best_of(body, n)
    logprobs = body.integer("logprobs", 0, MAX_TOP_LOGPROBS)
    suffix, special = body.string("suffix"), body.boolean("add_special_tokens", True)
    request = ChatRequest(
        model=body.string("model"),
        messages=(),
        prompts=tuple(RawPrompt(content, suffix, special) for content in contents),
        sampling=_sampling(body, logprobs),
        stream=body.boolean("stream"),
        n=n,
        timeout_s=decode_timeout(body),
        session=from_body(body.values),
        further=further_fields(body, "completions", _READ),
    )
    include_usage = body.object("stream_options").boolean("include_usage")
    echoed = _echoed(body, contents, logprobs)
    return Decoded(request, CompletionShape(include_usage, tuple(one for one in echoed for _ in range(n))))


def _sampling(body: Fields, logprobs: int | None) -> Sampling:
    sampling = decode_sampling(body, ("max_tokens",), logprobs)
    if body.values.get("max_tokens") is None:
        return replace(sampling, max_tokens=_DEFAULT_MAX_TOKENS)
    return sampling


def _refuse_what_would_change_the_answer(body: Fields) -> None:
    if body.object("response_format").string("type", "text") != "text":
        raise BadRequest(
            "response_format: only answers to conversations can be asked to be JSON; "
            "send messages to /v1/chat/completions",
            param="response_format",
        )


def _check_best_of(body: Fields, n: int) -> None:
    best_of = body.integer("best_of", 1, _MAX_CHOICES)
    if best_of is not None and best_of != n:
        raise BadRequest(
            f"best_of: answers are not ranked here, so that it can only be n, which is {n}; got {best_of}",
            param="best_of",
        )


def _echoed(body: Fields, contents: Sequence[str | tuple[int, ...]], logprobs: int | None) -> list[str]:
    """The text that stands before the answers to each prompt."""
    if not body.boolean("echo"):
        return ["" for _ in contents]
    if logprobs is not None:
        raise BadRequest(
            "echo: the log probabilities of a prompt are not computed here; leave out echo or logprobs",
            param="echo",
        )
    texts = [content for content in contents if isinstance(content, str)]
    if len(texts) < len(contents):
        raise BadRequest("echo: a prompt of token ids has no text to repeat; send it as text", param="echo")
    return texts


def _contents(value: Any) -> list[str | tuple[int, ...]]:
    match value:
        case str():
            return [value]
        case None | []:
            found = "nothing" if value is None else "an empty array"
            raise BadRequest(f"prompt: expected {_EXPECTED}, got {found}", param="prompt")
        case [int() | float(), *_]:
            return [token_ids("prompt", value)]
        case list():
            return [_content(f"prompt[{i}]", item) for i, item in enumerate(value)]
        case _:
            refuse("prompt", _EXPECTED, value)


def _content(path: str, value: Any) -> str | tuple[int, ...]:
    match value:
        case str():
            return value
        case list():
            return token_ids(path, value)
        case _:
            refuse(path, "a string or an array of token ids", value)


def token_ids(path: str, values: Sequence[Any]) -> tuple[int, ...]:
    """Whether the model has them is not asked here. path: of the array. Raises BadRequest."""
    for i, token in enumerate(values):
        if isinstance(token, bool) or not isinstance(token, int):
            refuse(f"{path}[{i}]", "a token id", token)
        if not 0 <= token <= _MAX_TOKEN:
            told = f"{path}[{i}]: a token id is in [0, {_MAX_TOKEN}], got {describe(token)}"
            raise BadRequest(told, param=f"{path}[{i}]")
    return tuple(values)
