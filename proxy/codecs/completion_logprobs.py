"""Log probabilities as completions have them: lists that run beside each other."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import Any

from proxy.conversation.logprobs import Candidate, TokenLogprob


class CompletionLogprobs:
    """Of one answer, in pieces or whole. text_offset is where a token begins in the text of the answer."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._offset = 0

    def object(self, tokens: Sequence[TokenLogprob]) -> dict[str, Any] | None:
        """Of the tokens that follow those of the call before; None where there are none."""
        if not tokens:
            return None
        offsets = []
        for token in tokens:
            offsets.append(self._offset)
            self._offset += len(self._decoder.decode(token.chosen.raw))
        return {
            "tokens": [_name(token.chosen) for token in tokens],
            "token_logprobs": [token.chosen.logprob for token in tokens],
            "top_logprobs": [_top(token) for token in tokens],
            "text_offset": offsets,
        }


def _top(token: TokenLogprob) -> dict[str, float]:
    """With the chosen one, which may be one more than were asked for, as OpenAI documents it."""
    return {_name(one): one.logprob for one in (*token.top, token.chosen)}


def _name(candidate: Candidate) -> str:
    """Its text; a part of a character is told by its bytes, so that two parts do not look the same."""
    try:
        return candidate.raw.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in candidate.raw)
