"""Log probabilities of generated tokens, as they come and beside the text that the tokens make up."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Candidate:
    """A token that was or could have been chosen, in its own bytes, and its natural log probability."""

    raw: bytes
    logprob: float


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """One token of the answer. top: the likeliest tokens at its place, best first."""

    chosen: Candidate
    top: tuple[Candidate, ...] = ()


@dataclass(frozen=True, slots=True)
class Logprobs:
    """The tokens that the upstream just generated, where the request asks for them.

    They come before the text that is shown of them, and for text that is never shown too.
    """

    tokens: tuple[TokenLogprob, ...]


@dataclass(frozen=True, slots=True)
class TextWithLogprobs:
    """Text as in TextDelta, with the log probabilities of the tokens that end in it."""

    text: str
    tokens: tuple[TokenLogprob, ...]
