"""A tokenizer of an upstream that has no model: what it says is told by what it is asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from proxy.conversation.errors import BadRequest
from proxy.conversation.request import ChatRequest

SIZE = 256


def byte_tokens(request: ChatRequest) -> tuple[int, ...]:
    """Of a raw prompt's text each byte is one; messages are written one behind the other."""
    raw = request.raw
    if raw is None:
        return tuple("".join(message.text for message in request.messages).encode())
    return tuple(raw.content.encode()) if isinstance(raw.content, str) else raw.content


@dataclass(frozen=True, slots=True)
class ByteTokenizer:
    """asked: gives the tokens of a request."""

    asked: Callable[[ChatRequest], tuple[int, ...]] = byte_tokens

    async def tokenize(self, request: ChatRequest) -> tuple[int, ...]:
        return self.asked(request)

    async def detokenize(self, tokens: tuple[int, ...]) -> str:
        if any(token >= SIZE for token in tokens):
            raise BadRequest(f"tokens must be in [0, {SIZE})", param="tokens")
        return bytes(tokens).decode("utf-8", "replace")

    async def spell(self, tokens: tuple[int, ...]) -> tuple[str, ...]:
        return tuple(f"<{token}>" for token in tokens)
