"""Turns token ids into text, one token at a time, in linear time, never half a character.

There are two ways: a table of each token's bytes (byte-level BPE, and SentencePiece vocabularies with byte
fallback, which covers nearly every model), or, for any other decoder, decoding a short window twice and
taking the difference.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Sequence
from typing import Protocol

from tokenizers import Tokenizer

from engine.types import Candidate, TokenLogprob

REPLACEMENT = "\ufffd"
SPACE_MARK = "\u2581"  # SentencePiece's visible space


class Detokenizer(Protocol):
    """The text of one request, token by token."""

    def push(self, token: int) -> str:
        """The text that is certain with this token; "" while a character is incomplete."""

    def flush(self) -> str:
        """The text that is still held back; an incomplete character becomes U+FFFD."""


def byte_alphabet() -> dict[str, int]:
    """The printable stand-ins of byte-level BPE for the 256 bytes.

    Printable Latin-1 characters stand for themselves, the others follow from U+0100 on, in order (GPT-2's
    encoder).
    """
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [b for b in range(256) if b not in set(shown)]
    return {chr(b): b for b in shown} | {chr(0x100 + n): b for n, b in enumerate(hidden)}


class BytesDetokenizer:
    """A detokenizer over a table of token bytes. Ids beyond the table (padded vocabularies) have no text."""

    def __init__(self, table: list[bytes], strip_first_space: bool = False) -> None:
        self._table = table
        self._strip = strip_first_space
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token: int) -> str:
        text = self._decoder.decode(self._table[token]) if token < len(self._table) else ""
        return self._first(text)

    def flush(self) -> str:
        return self._first(self._decoder.decode(b"", True))

    def _first(self, text: str) -> str:
        if not (self._strip and text):
            return text
        self._strip = False
        return text.removeprefix(" ")


class WindowDetokenizer:
    """A detokenizer for any tokenizer: the text of a window of tokens, less the text of the window before the
    new token.

    The window starts a few tokens back, because a decoder may join a token to its neighbours.
    """

    LONGEST_HOLD = 16  # tokens that decode to nothing certain; beyond that they are given out as they are

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._tokens: list[int] = []
        self._read = 0

    def push(self, token: int) -> str:
        self._tokens.append(token)
        before = self._decode(self._tokens[: self._read])
        now = self._decode(self._tokens)
        held = len(self._tokens) - self._read
        if len(now) <= len(before) or (now.endswith(REPLACEMENT) and held < self.LONGEST_HOLD):
            return ""
        self._tokens = self._tokens[-4:] if held <= 4 else self._tokens[self._read :]
        self._read = len(self._tokens)
        return now[len(before) :]

    def flush(self) -> str:
        before = self._decode(self._tokens[: self._read])
        now = self._decode(self._tokens)
        self._tokens, self._read = [], 0
        return now[len(before) :]

    def _decode(self, tokens: list[int]) -> str:
        return str(self._tokenizer.decode(tokens, skip_special_tokens=False))


class Detokenizers:
    """Makes a detokenizer for each request; the table is built once."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        kind, strip = decoder_kind(json.loads(tokenizer.to_str()).get("decoder"))
        self._strip = strip
        self._table = byte_table(tokenizer, kind) if kind else None

    def make(self) -> Detokenizer:
        if self._table is None:
            return WindowDetokenizer(self._tokenizer)
        return BytesDetokenizer(self._table, self._strip)

    def token_bytes(self, token: int) -> bytes:
        """The bytes of one token alone; none for ids beyond the vocabulary."""
        if self._table is None:
            return str(self._tokenizer.decode([token], skip_special_tokens=False)).encode()
        return self._table[token] if token < len(self._table) else b""

    def named(self, logprobs: Sequence[tuple[int, float]]) -> list[TokenLogprob]:
        """The chosen token and the likeliest, each with its bytes; empty where none were asked for."""
        named = [Candidate(token, self.token_bytes(token), logprob) for token, logprob in logprobs]
        return [TokenLogprob(named[0], tuple(named[1:]))] if named else []


def decoder_kind(decoder: object) -> tuple[str | None, bool]:
    """The kind of a tokenizer.json decoder ("byte-level", "sentencepiece" or None), and whether it drops a
    first space.
    """
    if not isinstance(decoder, dict):
        return None, False
    if decoder.get("type") == "ByteLevel":
        return "byte-level", False
    if decoder.get("type") != "Sequence":
        return None, False
    steps = [step for step in decoder.get("decoders", []) if isinstance(step, dict)]
    kinds = [step.get("type") for step in steps]
    if kinds == ["ByteLevel"]:
        return "byte-level", False
    marks = [step.get("pattern", {}).get("String") for step in steps if step.get("type") == "Replace"]
    if kinds[:3] != ["Replace", "ByteFallback", "Fuse"] or marks != [SPACE_MARK]:
        return None, False
    if kinds[3:] == ["Strip"] and steps[3].get("content") == " " and steps[3].get("start") == 1:
        return "sentencepiece", True
    return ("sentencepiece", False) if len(kinds) == 3 else (None, False)


def byte_table(tokenizer: Tokenizer, kind: str) -> list[bytes]:
    """The bytes of every token id. Added tokens stand for their own text, whatever the alphabet."""
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    added = {i: token.content for i, token in tokenizer.get_added_tokens_decoder().items()}
    alphabet = byte_alphabet()
    table = [b""] * (max(vocabulary.values(), default=-1) + 1)
    for token, i in vocabulary.items():
        if i in added:
            table[i] = added[i].encode()
        elif kind == "byte-level":
            table[i] = b"".join(
                bytes([alphabet[char]]) if char in alphabet else char.encode() for char in token
            )
        elif len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
            table[i] = bytes([int(token[3:5], 16)])
        else:
            table[i] = token.replace(SPACE_MARK, " ").encode()
    return table
