"""One streamed chat completion as any client would read it, with the times at which its pieces came."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import httpx

# A comment at the end of fortieth's streams tells the attempts: a figure of the table, which no judge sees.
_VERDICT_COMMENT = ": x-fortieth-verdict:"
_SHOWN = 300
_TOGETHER_S = 0.001
# What reading an event raises where it is none: another shape, a number without end, nesting without end.
_NO_EVENT = (ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError)
_MOST_TOKENS = 2**53


@dataclass(frozen=True, slots=True)
class AskOptions:
    """How every arm is asked. A limit of None is left out of the requests."""

    temperature: float = 0.7
    max_tokens: int | None = 512
    timeout_s: float = 600.0


@dataclass(frozen=True, slots=True)
class StreamedAnswer:
    """What a client got. Times are seconds from the moment of sending.

    calls: in OpenAI's form.
    times: of the pieces of text, reasoning or calls; pieces that came together are one.
    error: what went wrong; "" where the answer is whole.
    too_long: the error says that the prompt does not fit into the model's context.
    prompt_tokens, cached_tokens, completion_tokens, attempts: None where the server does not tell.
    """

    content: str = ""
    calls: tuple[Mapping[str, Any], ...] = ()
    finish: str = ""
    times: tuple[float, ...] = ()
    seconds: float = 0.0
    error: str = ""
    too_long: bool = False
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    completion_tokens: int | None = None
    attempts: int | None = None

    @property
    def ttft(self) -> float | None:
        return self.times[0] if self.times else None

    @property
    def gaps(self) -> tuple[float, ...]:
        return tuple(after - before for before, after in pairwise(self.times))

    @property
    def gap(self) -> float | None:
        return statistics.median(self.gaps) if self.gaps else None

    @property
    def message(self) -> dict[str, Any]:
        """The assistant's message, for the history of the next request."""
        message: dict[str, Any] = {"role": "assistant", "content": self.content}
        return {**message, "tool_calls": list(self.calls)} if self.calls else message


@dataclass(slots=True)
class AnswerInPieces:
    """An answer while it comes."""

    began: float
    content: list[str] = field(default_factory=list)
    calls: dict[int, dict[str, Any]] = field(default_factory=dict)
    finish: str = ""
    times: list[float] = field(default_factory=list)
    usage: Mapping[str, Any] = field(default_factory=dict)
    attempts: int | None = None
    error: str = ""
    whole: bool = False

    def take(self, line: str) -> None:
        """A line of the stream of events. Raises one of _NO_EVENT for what is none."""
        if line.startswith(_VERDICT_COMMENT) and "attempts=" in line:
            self.attempts = int(line.rpartition("attempts=")[2].split(";")[0])
        if not line.startswith("data:"):
            return
        data = line[5:].strip()
        if data == "[DONE]":
            self.whole = True
        else:
            self.take_event(json.loads(data))

    def take_event(self, event: Mapping[str, Any]) -> None:
        """A parsed event. Raises one of _NO_EVENT where a field has a type that no client reads."""
        if event.get("error"):
            self.error = json.dumps(event["error"], ensure_ascii=False)[:_SHOWN]
        self.usage = _object(event, "usage") or self.usage
        for choice in event.get("choices") or ():
            delta = _object(choice, "delta")
            text = _text(delta, "content")
            reasoning = delta.get("reasoning_content") or delta.get("reasoning")
            pieces = delta.get("tool_calls") or ()
            if text or reasoning or pieces:
                self.arrived(time.perf_counter() - self.began)
            self.content.append(text)
            for place, piece in enumerate(pieces):
                self.take_call(int(piece.get("index", place)), piece)
            self.finish = _text(choice, "finish_reason") or self.finish

    def arrived(self, at: float) -> None:
        """Notes a piece. What was sent in one packet is read within microseconds."""
        if not self.times or at - self.times[-1] > _TOGETHER_S:
            self.times.append(at)

    def take_call(self, index: int, piece: Mapping[str, Any]) -> None:
        empty = {"id": "", "type": "function", "function": {"name": "", "arguments": ""}}
        call = self.calls.setdefault(index, empty)
        call["id"] = _text(piece, "id") or call["id"]
        function = _object(piece, "function")
        for name in ("name", "arguments"):
            call["function"][name] += _text(function, name)

    def answer(self) -> StreamedAnswer:
        error = self.error.encode("utf-8", "replace").decode()  # half a surrogate pair can be printed nowhere
        if not error and not self.finish:
            error = "the stream ended without a finish reason"
        return StreamedAnswer(
            "".join(self.content),
            tuple(self.calls[index] for index in sorted(self.calls)),
            self.finish,
            tuple(self.times),
            time.perf_counter() - self.began,
            error,
            _says_too_long(error),
            *_counts(self.usage),
            self.attempts,
        )


def open_client(base_url: str, timeout_s: float, api_key: str = "") -> httpx.AsyncClient:
    """A client for ask_streamed(), with as many connections as it takes. The caller closes it."""
    return httpx.AsyncClient(
        base_url=base_url.rstrip("/") + "/",
        timeout=timeout_s,
        headers={"authorization": f"Bearer {api_key}"} if api_key else {},
        limits=httpx.Limits(max_connections=None),
    )


async def ask_streamed(
    client: httpx.AsyncClient,
    model: str,
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]],
    options: AskOptions,
    seed: int,
    extra: Mapping[str, Any] | None = None,
) -> StreamedAnswer:
    """Asks once, and never raises for what the server does. extra: further fields, such as `tool_choice`."""
    body: dict[str, Any] = {
        "model": model,
        "messages": list(messages),
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": options.temperature,
        "seed": seed,
    }
    if tools:
        body["tools"] = list(tools)
    if options.max_tokens is not None:
        body["max_tokens"] = options.max_tokens
    # escaped, as half a surrogate pair of a recorded history cannot be sent in any other way
    content = json.dumps({**body, **(extra or {})}).encode("ascii")
    headers = {"content-type": "application/json"}
    assembling = AnswerInPieces(time.perf_counter())
    try:
        async with client.stream("POST", "chat/completions", content=content, headers=headers) as response:
            if response.is_error:
                await response.aread()
                return _refused(assembling, response)
            if "text/event-stream" not in response.headers.get("content-type", ""):
                await response.aread()
                return _unstreamed(assembling, response)
            async for line in response.aiter_lines():
                assembling.take(line)
                if assembling.whole:
                    break
    except httpx.HTTPError as problem:
        assembling.error = f"{type(problem).__name__}: {problem}"[:_SHOWN]
    except _NO_EVENT as problem:
        assembling.error = f"not a stream of chat completions: {problem!r}"[:_SHOWN]
    return assembling.answer()


def _refused(assembling: AnswerInPieces, response: httpx.Response) -> StreamedAnswer:
    assembling.error = f"HTTP {response.status_code}: {response.text[:_SHOWN]}"
    return assembling.answer()


def _unstreamed(assembling: AnswerInPieces, response: httpx.Response) -> StreamedAnswer:
    """Some servers answer whole although a stream was asked for."""
    try:
        body = response.json()
        for choice in body["choices"]:
            choice["delta"] = choice["message"]
        assembling.take_event(body)
    except _NO_EVENT as problem:
        assembling.error = f"not a chat completion: {problem!r}: {response.text[:_SHOWN]}"
    return assembling.answer()


def _object(held: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The object of that name; an empty one for none. Raises TypeError for something else."""
    value = held.get(name)
    if value is not None and not isinstance(value, Mapping):
        raise TypeError(f"{name} must be an object, got {type(value).__name__}")
    return value or {}


def _text(held: Mapping[str, Any], name: str) -> str:
    """The text of that name; "" for none. Raises TypeError for something else."""
    value = held.get(name)
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{name} must be a string, got {type(value).__name__}")
    return value or ""


def _says_too_long(error: str) -> bool:
    """OpenAI's code for a prompt that is too long, or the words that other servers use for it."""
    words = ("context_length_exceeded", "context length", "context size", "maximum context", "n_ctx")
    return any(word in error for word in words)


def _counts(usage: Mapping[str, Any]) -> tuple[int | None, int | None, int | None]:
    """Tokens of the prompt, of these in the cache, and of the answer."""
    details = usage.get("prompt_tokens_details") or {}
    return (
        _count(usage, "prompt_tokens"),
        _count(details, "cached_tokens"),
        _count(usage, "completion_tokens"),
    )


def _count(counts: Mapping[str, Any], name: str) -> int | None:
    value = counts.get(name) if isinstance(counts, Mapping) else None
    return value if isinstance(value, int) and 0 <= value < _MOST_TOKENS else None
