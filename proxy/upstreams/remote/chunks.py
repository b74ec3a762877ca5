"""Reads the data of one event as servers really write it: a chunk, a whole answer, or an error."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from proxy.upstreams.remote.failures import ServerFailed, read_failure
from proxy.upstreams.remote.refusals import Failure


class Function(msgspec.Struct):
    name: str | None = None
    arguments: Any = None


class Piece(msgspec.Struct):
    """A piece of a call. arguments: text, but some servers send the object itself. Some leave `function` out
    and put its fields here.
    """

    index: Any = None
    id: Any = None
    function: Function | None = None
    name: str | None = None
    arguments: Any = None
    extra_content: Any = None
    provider_specific_fields: Any = None


class Delta(msgspec.Struct):
    """content, reasoning: text, or parts. function_call: a call in the older form."""

    content: str | list[Any] | dict[str, Any] | None = None
    reasoning_content: str | list[Any] | dict[str, Any] | None = None
    reasoning: str | list[Any] | dict[str, Any] | None = None
    refusal: str | None = None
    tool_calls: list[Piece | None] | None = None
    function_call: Function | None = None
    annotations: Any = None
    audio: Any = None
    extra_content: Any = None
    images: Any = None
    reasoning_details: Any = None

    @property
    def text_alone(self) -> str:
        """The content of a delta that holds nothing but text, as almost all do; "" for any other."""
        content = self.content
        if type(content) is not str or self.tool_calls or self.reasoning_content or self.reasoning:
            return ""
        beside = self.refusal or self.function_call or self.annotations or self.audio
        return "" if beside or self.extra_content or self.images or self.reasoning_details else content


class Counts(msgspec.Struct):
    """Token counts, all that is read of a request's usage."""

    prompt_tokens: float | None = None
    completion_tokens: float | None = None
    prompt_tokens_details: Counts | None = None
    completion_tokens_details: Counts | None = None
    cached_tokens: float | None = None
    reasoning_tokens: float | None = None
    prompt_cache_hit_tokens: float | None = None
    cost: float | None = None


class Choice(msgspec.Struct):
    """message: in place of delta, in a whole answer and from some servers in every chunk. text: in place of
    both, where a raw prompt is gone on from.
    """

    delta: Delta | None = None
    message: Delta | None = None
    finish_reason: str | int | float | None = None
    logprobs: Any = None
    stop_reason: Any = None
    matched_stop: Any = None
    text: str | None = None
    usage: Counts | None = None
    error: Any = None


class Chunk(msgspec.Struct):
    """One event of a stream. error, and the fields behind it: what an event holds in place of an answer."""

    choices: list[Choice] | None = None
    usage: Counts | None = None
    error: Any = None
    object: Any = None
    message: Any = None
    detail: Any = None
    code: Any = None


_decode = msgspec.json.Decoder(Chunk).decode


def parse_chunk(data: bytes) -> Chunk:
    """The chunk that the data are. Raises ValueError where they are none."""
    try:
        return _decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        try:
            return _parse_leniently(data)
        except (ValueError, RecursionError):
            raise ValueError(str(error)) from error


def _parse_leniently(data: bytes) -> Chunk:
    """Reads numbers that JSON does not have, half surrogate pairs, and one object where a list is due."""
    try:
        text = data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        text = data.decode("utf-8", "replace")
    value = json.loads(text)
    if isinstance(value, dict):
        _make_lists(value)
    try:
        return msgspec.convert(value, Chunk)
    except msgspec.MsgspecError as error:
        raise ValueError(str(error)) from error


def _make_lists(chunk: dict[str, Any]) -> None:
    if isinstance(chunk.get("choices"), dict):
        chunk["choices"] = [chunk["choices"]]
    for choice in chunk.get("choices") or ():
        for key in ("delta", "message"):
            said = choice.get(key) if isinstance(choice, dict) else None
            if isinstance(said, dict) and isinstance(said.get("tool_calls"), dict):
                said["tool_calls"] = [said["tool_calls"]]


def check_chunk(chunk: Chunk) -> Chunk:
    """The chunk itself. Raises ServerFailed for one that tells an error, by the names that servers have for
    it.
    """
    failed = chunk.error
    if chunk.choices:
        failed = failed or chunk.choices[0].error
    if failed:
        raise ServerFailed(read_failure(0, {"error": failed}, {}))
    if chunk.choices is None and chunk.usage is None:
        told = {"message": chunk.message, "detail": chunk.detail, "code": chunk.code}
        if chunk.object == "error" or chunk.detail or (chunk.message and isinstance(chunk.message, str)):
            raise ServerFailed(read_failure(0, told, {}))
    return chunk


def no_chunk(error: Exception) -> ServerFailed:
    return ServerFailed(Failure("", 0, f"it sent something that is not a chunk of an answer: {error}"))
