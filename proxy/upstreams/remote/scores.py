"""The log probabilities that a server sends with its text, in both of OpenAI's forms."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from proxy.conversation.logprobs import Candidate, TokenLogprob

# OpenAI's API has this for a token that is all but impossible. Some servers write -Infinity, or null.
_IMPOSSIBLE = -9999.0


def read_scores(logprobs: Any) -> tuple[TokenLogprob, ...]:
    """The log probabilities in a choice's `logprobs`, which is an object or a dict; none where it holds
    something else.
    """
    if not logprobs:
        return ()
    if isinstance(logprobs, dict) and isinstance(logprobs.get("tokens"), list):
        return _listed(logprobs)
    content = _get(logprobs, "content")
    if not isinstance(content, list):
        return ()
    return tuple(
        TokenLogprob(_candidate(one), tuple(map(_candidate, _list(_get(one, "top_logprobs")))))
        for one in content
        if one is not None
    )


def _listed(logprobs: Mapping[str, Any]) -> tuple[TokenLogprob, ...]:
    """In the older form, which has a list of tokens, one of their log probabilities and one of the likeliest.
    A token that has none, as the first of a prompt, is left out.
    """
    tokens, chosen = logprobs["tokens"], _list(logprobs.get("token_logprobs"))
    tops = _list(logprobs.get("top_logprobs")) or [None] * len(tokens)
    return tuple(
        TokenLogprob(_named(token, score), tuple(_named(*one) for one in _best_first(top)))
        for token, score, top in zip(tokens, chosen, tops, strict=False)
        if score is not None
    )


def _best_first(top: Any) -> list[tuple[str, float]]:
    known = [(token, _number(score)) for token, score in top.items()] if isinstance(top, dict) else []
    return sorted(known, key=lambda one: -one[1])


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _named(token: Any, score: Any) -> Candidate:
    return Candidate(str(token).encode("utf-8", "replace"), _number(score))


def _candidate(token: Any) -> Candidate:
    raw = _get(token, "bytes")
    known = isinstance(raw, list) and raw and all(isinstance(one, int) and 0 <= one < 256 for one in raw)
    text = _get(token, "token")
    data = bytes(raw) if known else str("" if text is None else text).encode("utf-8", "replace")
    return Candidate(data, _number(_get(token, "logprob")))


def _number(value: Any) -> float:
    number = float(value) if isinstance(value, int | float) else _IMPOSSIBLE
    return _IMPOSSIBLE if math.isnan(number) else max(number, _IMPOSSIBLE)


def _get(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, dict) else getattr(value, key, None)
