"""Adds up the chunks of an upstream's stream into events: text and reasoning at once, calls whole at the end.

While a long call is written, its beginning is given out now and then.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from engine.repetition import CHARACTERS, TextRepetition
from proxy.conversation.events import Usage
from proxy.upstreams.base import (
    UpstreamEvent,
    UpstreamExtra,
    UpstreamFinish,
    UpstreamReasoning,
    UpstreamRefusal,
    UpstreamText,
)
from proxy.upstreams.remote.call_pieces import CallsInPieces
from proxy.upstreams.remote.content_parts import Said, read_said
from proxy.upstreams.remote.scores import read_scores
from proxy.upstreams.remote.surrogates import TextJoiner, with_whole_characters

# Any other reason counts as the ordinary end. Servers name these in several ways, some in capitals.
_REASONS = {
    "length": "length",
    "max_tokens": "length",
    "max_output_tokens": "length",
    "max_length": "length",
    "model_length": "length",
    "model_context_window_exceeded": "length",
    "token_limit": "length",
    "content_filter": "content_filter",
    "content-filter": "content_filter",
    "safety": "content_filter",
    "sensitive": "content_filter",
    "recitation": "content_filter",
    "prohibited_content": "content_filter",
    "blocklist": "content_filter",
}
# With these a server says that it broke off.
_BROKEN = frozenset(
    {"error", "network_error", "insufficient_system_resource", "abort", "aborted", "cancelled", "canceled"}
)
_CHARACTERS_OF_A_TOKEN = 4  # about
# The largest count and price that are believed; every reader of JSON has room for it.
_MOST = 2**53
# What of an answer goes to a client that knows it.
_EXTRA = ("annotations", "audio", "extra_content", "images", "reasoning_details")


class Assembly:
    """Takes the chunks of a stream in order, as objects with the attributes of OpenAI's chunks.

    end() is to be read after the last one.

    stop_repetition: whether to watch for text, reasoning or arguments that repeat themselves.
    expected: as ChatRequest.expected_tokens.
    """

    def __init__(self, stop_repetition: bool = False, expected: int | None = None) -> None:
        self._rule = CHARACTERS.for_length(None if expected is None else expected * _CHARACTERS_OF_A_TOKEN)
        self._watched: dict[object, TextRepetition] | None = {} if stop_repetition else None
        self._repeated = False
        self._pieces = 0
        self._calls = CallsInPieces()
        self._joiners = {"text": TextJoiner(), "reasoning": TextJoiner(), "refusal": TextJoiner()}
        self._in_deltas = False
        self._usage = Usage()
        self._reason = ""
        self._stop: str | None = None

    @property
    def finished(self) -> bool:
        """Whether the upstream has said why it ended."""
        return bool(self._reason) and not self.broken

    @property
    def broken(self) -> str:
        """The upstream's reason where it says that it broke off, else ""."""
        return self._reason if self._reason.lower() in _BROKEN else ""

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
        if (usage := getattr(choice, "usage", None)) is not None:
            self._usage = read_usage(usage)
        if choice.finish_reason is not None:
            self._reason = _reason_of(choice) or self._reason
            self._stop = self._stop or _stop_sequence(choice)
        delta = self._delta_of(choice)
        text = getattr(delta, "text_alone", "")
        if text:
            return self._said(Said(text), getattr(choice, "logprobs", None))
        events = self._said(
            read_said(delta, getattr(choice, "text", None)), getattr(choice, "logprobs", None)
        )
        extra = {name: value for name in _EXTRA if (value := getattr(delta, name, None))}
        if extra:
            events.append(UpstreamExtra(with_whole_characters(extra)))
        return events + self._called(delta)

    def _delta_of(self, choice: Any) -> Any:
        """What the chunk adds. Some servers call it `message`, others repeat the whole answer by that name
        behind the deltas.
        """
        if self._in_deltas or _says_something(choice.delta):
            self._in_deltas = True
            return choice.delta
        return getattr(choice, "message", None) or choice.delta

    def _said(self, said: Said, logprobs: Any) -> list[UpstreamEvent]:
        events: list[UpstreamEvent] = []
        if said.reasoning and (reasoning := self._joined("reasoning", said.reasoning)):
            events.append(UpstreamReasoning(reasoning))
        if said.text:
            content = self._joined("text", said.text)
            scores = read_scores(logprobs) if logprobs else ()
            if content or scores:
                events.append(UpstreamText(content, scores=scores))
        if said.refusal and (refusal := self._joined("refusal", said.refusal)):
            events.append(UpstreamRefusal(refusal))
        return events

    def _joined(self, kind: str, text: str) -> str:
        self._watch(kind, text)
        return self._joiners[kind].feed(text)

    def _called(self, delta: Any) -> list[UpstreamEvent]:
        pieces: Sequence[Any] = getattr(delta, "tool_calls", None) or ()
        older = getattr(delta, "function_call", None)
        if older is not None and not pieces:
            pieces = (_Older(older),)
        events: list[UpstreamEvent] = []
        for call, text in self._calls.add(pieces):
            self._watch(id(call), text)
            if (part := call.part()) is not None:
                events.append(part)
        return events

    def _watch(self, place: object, text: str) -> None:
        self._pieces += 1
        if self._watched is None:
            return
        if place not in self._watched:
            self._watched[place] = TextRepetition(self._rule)
        self._repeated = self._watched[place].push(text) or self._repeated

    def end(self, left: bool = False) -> list[UpstreamEvent]:
        """The calls in order, and the finish.

        Where the stream was left because it repeats itself, no call is known to be whole.

        left: the stream was left because no more was needed. Tokens are then counted by pieces, because most
            servers only tell them at the end.
        """
        repeated = self.repeated and not left
        events = self._halves()
        events += [call.end(not repeated) for call in self._calls.calls]
        usage = self._usage if self._usage.completion_tokens else Usage(completion_tokens=self._pieces)
        if repeated:
            return [*events, UpstreamFinish("length", usage, repeated=True)]
        if left:
            return [*events, UpstreamFinish("stop", usage)]
        reason = _REASONS.get(self._reason.lower(), "stop")
        return [*events, UpstreamFinish(reason, self._usage, stop_sequence=self._stop)]

    def _halves(self) -> list[UpstreamEvent]:
        """The halves of characters that nothing followed."""
        reasoning, text, refusal = (self._joiners[kind].end() for kind in ("reasoning", "text", "refusal"))
        found: list[UpstreamEvent] = []
        if reasoning:
            found.append(UpstreamReasoning(reasoning, 0))
        if text:
            found.append(UpstreamText(text, 0))
        if refusal:
            found.append(UpstreamRefusal(refusal, 0))
        return found


def _reason_of(choice: Any) -> str:
    """As text; some servers send a number, and in every chunk but the last the word "null"."""
    reason = choice.finish_reason
    return "" if reason in ("null", "None") else str(reason)


def _says_something(delta: Any) -> bool:
    names = ("content", "reasoning_content", "reasoning", "refusal", "tool_calls", "function_call")
    return any(getattr(delta, name, None) for name in names)


class _Older:
    """A piece of a call in the older form, which had one call and no index."""

    index = 0
    id = None

    def __init__(self, function: Any) -> None:
        self.function = function


def read_usage(usage: Any) -> Usage:
    """The usage, from an object with the attributes of OpenAI's usage. Cached tokens and the price stand
    where OpenAI, Moonshot, DeepSeek and OpenRouter put them.
    """
    prompt_details = getattr(usage, "prompt_tokens_details", None)
    completion_details = getattr(usage, "completion_tokens_details", None)
    cached = (
        getattr(prompt_details, "cached_tokens", None)
        or getattr(usage, "cached_tokens", None)
        or getattr(usage, "prompt_cache_hit_tokens", None)
    )
    cost = getattr(usage, "cost", None)
    return Usage(
        _count(usage.prompt_tokens),
        _count(usage.completion_tokens),
        _count(cached),
        _count(getattr(completion_details, "reasoning_tokens", None)),
        float(cost) if isinstance(cost, int | float) and abs(cost) <= _MOST else None,
    )


def _count(value: Any) -> int:
    """0 for what is no number of tokens, such as NaN."""
    return int(value) if isinstance(value, int | float) and 0 <= value <= _MOST else 0


def _stop_sequence(choice: Any) -> str | None:
    """The stop string that the server met, where it tells: vLLM in `stop_reason`, SGLang in `matched_stop`.
    Both also name tokens there, by number.
    """
    for name in ("stop_reason", "matched_stop"):
        if isinstance(told := getattr(choice, name, None), str) and told:
            return told
    return None
