"""Finds the generated tokens that make up the text shown to the client, so that each goes out with its text.

Guard and parser lie between the two: text may be held back, reasoning goes elsewhere, markers and calls are
not shown. What is shown is found again in the text of the tokens, in order.
"""

from __future__ import annotations

import codecs
from collections import deque
from collections.abc import AsyncIterator

from proxy.conversation.events import Event
from proxy.conversation.logprobs import Logprobs, TextWithLogprobs, TokenLogprob
from repair.types import ReasoningDelta, TextDelta


async def with_logprobs(events: AsyncIterator[Event]) -> AsyncIterator[Event]:
    """The same events, each text with the log probabilities of its tokens, without the Logprobs events."""
    pending = Pending()
    async for event in events:
        match event:
            case Logprobs(tokens):
                pending.add(tokens)
            case TextDelta(text):
                yield TextWithLogprobs(text, pending.take(text))
            case ReasoningDelta(text):
                pending.take(text)
                yield event
            case _:
                yield event


class Pending:
    """Tokens whose text has not been shown yet, as one text. It is decoded as the engine decodes it, so that
    a broken character looks the same in both.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        # each with the number of characters that it completed
        self._tokens: deque[tuple[TokenLogprob, int]] = deque()
        self._text = ""
        self._begun = 0  # characters of the first token that were already shown

    def add(self, tokens: tuple[TokenLogprob, ...]) -> None:
        for token in tokens:
            text = self._decoder.decode(token.chosen.raw)
            self._tokens.append((token, len(text)))
            self._text += text

    def take(self, text: str) -> tuple[TokenLogprob, ...]:
        """The tokens that end in this text, which is the next to be shown. Text before it was markers. A text
        that none of the tokens hold, as after a re-ask, takes none.
        """
        at = self._find(text)
        if at < 0:
            self._flush()
            at = self._find(text)
        if at < 0:
            return ()
        self._drop(at)
        taken = self._drop(len(text))
        self._text = self._text[at + len(text) :]
        return taken

    def _find(self, text: str) -> int:
        return 0 if self._text.startswith(text) else self._text.rfind(text)

    def _flush(self) -> None:
        """Completes the text; its end may be half a character."""
        rest = self._decoder.decode(b"", True)
        if rest and self._tokens:
            token, size = self._tokens.pop()
            self._tokens.append((token, size + len(rest)))
            self._text += rest

    def _drop(self, count: int) -> tuple[TokenLogprob, ...]:
        """Moves on by `count` characters; returns the tokens that end on the way."""
        ended: list[TokenLogprob] = []
        self._begun += count
        while self._begun > 0 and self._tokens and self._begun >= self._tokens[0][1]:
            token, size = self._tokens.popleft()
            self._begun -= size
            ended.append(token)
        return tuple(ended)
