"""Warm prompts: beginnings of conversations in a file, computed before the first conversation comes."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from proxy.codecs.openai_chat import OpenAIChat
from proxy.conversation.errors import RequestError, SettingsError, StartError
from proxy.conversation.request import ChatRequest
from proxy.http.settings import Settings
from proxy.upstreams.base import Upstream

_log = logging.getLogger(__name__)

# The fields that decide how a prompt is written.
_FIELDS = frozenset({"messages", "tools", "model", "tool_choice", "response_format", "chat_template_kwargs"})


@dataclass(frozen=True, slots=True)
class WarmPrompt:
    """One prompt of the file. place: for messages about it: `FILE line 3`, `FILE entry 2`."""

    place: str
    body: bytes
    request: ChatRequest


def read_file(path: Path) -> list[WarmPrompt]:
    """Reads one JSON object, an array of objects, or one object on each line; empty lines are skipped.

    Raises StartError, which names the line or entry, and the field.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StartError(
            f"warm prompts: {path} cannot be read: {getattr(error, 'strerror', None) or error}"
        ) from None
    return [_read(place, value) for place, value in _values(path, text)]


def _values(path: Path, text: str) -> Iterator[tuple[str, Any]]:
    try:
        whole = json.loads(text)
    except ValueError as error:
        if text.lstrip().startswith("["):
            raise StartError(f"{path}: this is not valid JSON: {error}") from None
    else:
        entries = whole if isinstance(whole, list) else [whole]
        yield from ((f"{path} entry {number}", entry) for number, entry in enumerate(entries, 1))
        return
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            place = f"{path} line {number}"
            try:
                yield place, json.loads(line)
            except (ValueError, RecursionError) as error:
                raise StartError(f"{place}: this is not valid JSON: {error}") from None


def _read(place: str, value: Any) -> WarmPrompt:
    if not isinstance(value, dict):
        raise StartError(f"{place}: must be an object with messages, got {type(value).__name__}")
    unknown = sorted(value.keys() - _FIELDS)
    if unknown:
        raise StartError(
            f"{place}: unknown field {unknown[0]!r}; the fields are {', '.join(sorted(_FIELDS))}"
        )
    body = json.dumps(value).encode()
    try:
        return WarmPrompt(place, body, OpenAIChat().decode(body).request)
    except RequestError as error:
        raise StartError(f"{place}: {error.message}") from None


def warm_prompts(settings: Settings) -> list[WarmPrompt]:
    """The prompts that the settings name. Raises StartError."""
    if settings.warm_prompts is None:
        return []
    if settings.upstream:
        raise SettingsError("warm_prompts: only a model that is served here can be warmed, not an upstream")
    return read_file(settings.warm_prompts)


async def warm_up(upstream: Upstream, prompts: Sequence[WarmPrompt]) -> None:
    """Computes the prompts one after the other, where the upstream can; one that fails is logged."""
    prefiller = upstream.capabilities.prefiller
    if prefiller is None:
        return
    for prompt in prompts:
        try:
            done = await prefiller.warm(prompt.request)
        except RequestError as error:
            _log.warning("the warm prompt at %s was not computed: %s", prompt.place, error.message)
        else:
            _log.info(
                "%s: a prompt of %d tokens, of which %d were in the cache",
                prompt.place,
                done.prompt_tokens - 1,
                done.cached_tokens,
            )


def send(prompt: WarmPrompt, base_url: str, api_key: str) -> str:
    """Has a running server compute the prompt; returns what happened. Raises StartError."""
    headers = {"content-type": "application/json"}
    if api_key:
        headers["authorization"] = f"Bearer {api_key}"
    url = f"{base_url.rstrip('/')}/fortieth/warm"
    try:
        response = httpx.post(url, content=prompt.body, headers=headers, timeout=None, trust_env=False)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise StartError(f"{prompt.place}: {url} cannot be reached: {error}") from None
    try:
        answer = response.json()
        if response.status_code == 200:
            return f"{answer['tokens']} tokens, {answer['cached']} of them already in the cache"
        reason = answer["error"]["message"]
    except (ValueError, LookupError, TypeError):
        reason = response.text[:200]
    raise StartError(f"{prompt.place}: {url} answered {response.status_code}: {reason}")
