"""Completions over an upstream that plays scripts by the prompt's text."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from proxy.conversation.errors import RequestError
from proxy.conversation.events import Usage
from proxy.conversation.logprobs import Candidate, TokenLogprob
from proxy.conversation.request import ChatRequest
from proxy.upstreams.base import UpstreamEvent, UpstreamFinish, UpstreamStarted, UpstreamText
from proxy.upstreams.scripted import Script, ScriptedUpstream
from tests.proxy.live import LiveServer, serving

COMPLETION = {"model": "scripted", "prompt": "once"}
# what a guarded turn would take for thinking, a call and a stop
MARKUP = '<think>no</think>\n<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>\n'

STORY = Script(("upon", " a time"))


@dataclass(slots=True)
class Prompts:
    """Chooses the script by the prompt's text or tokens; STORY answers the rest."""

    scripts: dict[Any, Script]

    def __call__(self, request: ChatRequest) -> Script:
        assert request.raw is not None
        return self.scripts.get(request.raw.content, STORY)


@contextlib.contextmanager
def completing(scripts: dict[Any, Script] | None = None, **options: Any) -> Iterator[LiveServer]:
    with serving(ScriptedUpstream(Prompts(scripts or {})), **options) as server:
        yield server


def complete(server: LiveServer, path: str = "/completions", **fields: Any) -> httpx.Response:
    """fields: over those of COMPLETION."""
    with httpx.Client(verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), timeout=60) as client:
        return client.post(server.base_url + path, json={**COMPLETION, **fields})


def score(text: str | bytes, logprob: float, **others: float) -> TokenLogprob:
    """others: the likeliest tokens by their texts."""
    raw = text if isinstance(text, bytes) else text.encode()
    top = tuple(Candidate(name.encode(), value) for name, value in others.items())
    return TokenLogprob(Candidate(raw, logprob), top)


class ScoredGeneration:
    """Plays texts with the log probabilities of their tokens."""

    format = "auto"
    generation_prompt = ""

    def __init__(self, texts: Sequence[UpstreamText]) -> None:
        self._texts = texts

    async def __aiter__(self) -> Any:
        yield UpstreamStarted(3)
        for text in self._texts:
            yield text
        yield UpstreamFinish("stop", Usage(3, len(self._texts)))

    async def end(self) -> list[UpstreamEvent]:
        return [UpstreamFinish("stop", Usage(3, len(self._texts)))]

    async def aclose(self) -> None:
        """There is nothing to stop."""


class ScoredUpstream(ScriptedUpstream):
    """Answers every request with the same texts and scores."""

    def __init__(self, *texts: UpstreamText) -> None:
        super().__init__(lambda request: Script())
        self._texts = texts

    async def open(self, request: ChatRequest) -> Any:
        return ScoredGeneration(self._texts)


def refusing(error: RequestError) -> Script:
    return Script(refusal=error)
