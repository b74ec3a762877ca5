"""Adds up the chunks of an upstream's stream into events: text and reasoning at once, calls whole at the end.

While a long call is written, its beginning is given out now and then.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.repetition import TextRepetition
from proxy.conversation.events import Usage
from proxy.conversation.logprobs import Candidate, TokenLogprob
from proxy.upstreams.base import (
    UpstreamCall,
    UpstreamCallPart,
    UpstreamEvent,
    UpstreamFinish,
    UpstreamReasoning,
    UpstreamText,
)

# After so many characters of a call its beginning is given out, and again each time it has grown by half.
_FIRST_PART = 300

# Any other reason counts as the ordinary end.
_REASONS = {"length": "length", "content_filter": "content_filter"}


@dataclass(slots=True)
class _Call:
    id: str = ""
    name: str = ""
    arguments: str = ""
    pieces: int = 0
    next_part: int = _FIRST_PART

    def part(self) -> UpstreamCallPart | None:
        """The beginning of the call, where it has grown enough; the cost is linear in its length."""
        size = len(self.name) + len(self.arguments)
        if size < self.next_part:
            return None
        self.next_part = size + max(size // 2, 64)
        tokens, self.pieces = self.pieces, 0
        return UpstreamCallPart(self.name, self.arguments, tokens)


class Assembly:
    """Takes the chunks of a stream in order, as objects with the attributes of OpenAI's chunks.

    end() is to be read after the last one.

    stop_repetition: whether to watch for text, reasoning or arguments that repeat themselves.
    """

    def __init__(self, stop_repetition: bool = False) -> None:
        self._watched: dict[object, TextRepetition] | None = {} if stop_repetition else None
        self._repeated = False
        self._pieces = 0
        self._calls: list[_Call] = []
        self._by_index: dict[int, _Call] = {}
        self._usage = Usage()
        self._reason = ""
        self._stop: str | None = None

    @property
    def finished(self) -> bool:
        """Whether the upstream has said why it ended."""
        return bool(self._reason)

    @property
    def tokens(self) -> int:
        """Generated tokens, as counted by the upstream."""
        return self._usage.completion_tokens

    @property
    def repeated(self) -> bool:
        """Whether the stream should be left, because it repeats itself and has not ended."""
        return self._repeated and not self._reason

    def feed(self, chunk: Any) -> list[UpstreamEvent]:
        """The events that can be passed on at once."""
        if (usage := getattr(chunk, "usage", None)) is not None:
            self._usage = read_usage(usage)
        if not chunk.choices:
            return []
        choice = chunk.choices[0]
        self._reason = choice.finish_reason or self._reason
        self._stop = self._stop or _stop_sequence(choice)
        events: list[UpstreamEvent] = []
        delta = choice.delta
        reasoning = getattr(delta, "reasoning_content", None) or getattr(delta, "reasoning", None)
        if reasoning:
            events.append(UpstreamReasoning(reasoning))
            self._watch("reasoning", reasoning)
        if content := getattr(delta, "content", None) or getattr(choice, "text", None):
            events.append(UpstreamText(content, scores=_scores(getattr(choice, "logprobs", None))))
            self._watch("text", content)
        for piece in getattr(delta, "tool_calls", None) or ():
            part = self._add(piece).part()
            if part is not None:
                events.append(part)
        return events

    def _watch(self, place: object, text: str) -> None:
        self._pieces += 1
        if self._watched is None:
            return
        if place not in self._watched:
            self._watched[place] = TextRepetition()
        self._repeated = self._watched[place].push(text) or self._repeated

    def _add(self, piece: Any) -> _Call:
        """Finds the call that a piece belongs to, by index. Some servers give every call index 0: there a new
        id begins a new call.
        """
        index = piece.index if isinstance(piece.index, int) else 0
        call = self._by_index.get(index)
        if call is None or (piece.id and call.id and piece.id != call.id):
            call = self._by_index[index] = _Call()
            self._calls.append(call)
        call.id = call.id or piece.id or ""
        name = getattr(piece.function, "name", None) or ""
        if name != call.name:  # some servers repeat the name with every piece
            call.name += name
        arguments = getattr(piece.function, "arguments", None) or ""
        arguments = arguments if isinstance(arguments, str) else json.dumps(arguments)
        call.arguments += arguments
        call.pieces += 1
        self._watch(id(call), arguments)
        return call

    def end(self, left: bool = False) -> list[UpstreamEvent]:
        """The calls in order, and the finish.

        Where the stream was left because it repeats itself, no call is known to be whole.

        left: the stream was left because no more was needed. Tokens are then counted by pieces, because most
            servers only tell them at the end.
        """
        repeated = self.repeated and not left
        events: list[UpstreamEvent] = [
            UpstreamCall(call.name, call.arguments, not repeated, call.pieces) for call in self._calls
        ]
        usage = self._usage if self._usage.completion_tokens else Usage(completion_tokens=self._pieces)
        if repeated:
            return [*events, UpstreamFinish("length", usage, repeated=True)]
        if left:
            return [*events, UpstreamFinish("stop", usage)]
        reason = _REASONS.get(self._reason, "stop")
        return [*events, UpstreamFinish(reason, self._usage, stop_sequence=self._stop)]


def read_usage(usage: Any) -> Usage:
    """The usage, from an object with the attributes of OpenAI's usage."""
    prompt_details = getattr(usage, "prompt_tokens_details", None)
    completion_details = getattr(usage, "completion_tokens_details", None)
    return Usage(
        int(usage.prompt_tokens or 0),
        int(usage.completion_tokens or 0),
        int(getattr(prompt_details, "cached_tokens", None) or 0),
        int(getattr(completion_details, "reasoning_tokens", None) or 0),
    )


def _stop_sequence(choice: Any) -> str | None:
    """The stop string that the server met, where it tells: vLLM in `stop_reason`, SGLang in `matched_stop`.
    Both also name tokens there, by number.
    """
    for name in ("stop_reason", "matched_stop"):
        if isinstance(told := getattr(choice, name, None), str) and told:
            return told
    return None


def _scores(logprobs: Any) -> tuple[TokenLogprob, ...]:
    """The log probabilities in a choice's `logprobs`, which is an object or a dict."""
    if isinstance(logprobs, dict) and isinstance(logprobs.get("tokens"), list):
        return _listed_scores(logprobs)
    content = _get(logprobs, "content") if logprobs else None
    return tuple(
        TokenLogprob(_candidate(one), tuple(_candidate(top) for top in _get(one, "top_logprobs") or ()))
        for one in content or ()
    )


def _listed_scores(logprobs: Mapping[str, Any]) -> tuple[TokenLogprob, ...]:
    """In the older form, which has a list of tokens, one of their log probabilities and one of the likeliest.
    A token that has none, as the first of a prompt, is left out.
    """
    tokens, chosen = logprobs["tokens"], logprobs.get("token_logprobs") or ()
    tops = logprobs.get("top_logprobs") or [None] * len(tokens)
    return tuple(
        TokenLogprob(_named(token, score), tuple(_named(*one) for one in _best_first(top)))
        for token, score, top in zip(tokens, chosen, tops, strict=False)
        if score is not None
    )


def _best_first(top: Mapping[str, float] | None) -> list[tuple[str, float]]:
    return sorted((top or {}).items(), key=lambda one: -one[1])


def _named(token: Any, score: Any) -> Candidate:
    return Candidate(str(token).encode("utf-8", "replace"), float(score))


def _candidate(token: Any) -> Candidate:
    raw: Sequence[int] | None = _get(token, "bytes")
    data = bytes(raw) if raw else str(_get(token, "token")).encode("utf-8", "replace")
    return Candidate(data, float(_get(token, "logprob")))


def _get(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, dict) else getattr(value, key, None)
