"""How many characters of a text one token stands for at most, where a tokenizer's parts show a bound.

With it a text is known to be too long before it is encoded. A tokenizer that may leave characters out (white
space, what its vocabulary does not have) has no bound. The parts are those of tokenizer.json
(https://huggingface.co/docs/tokenizers/components).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

# Normalizers that make a text no shorter, and those that join characters: an accented letter may be written
# with four.
_KEEPING = {
    "Prepend": 1,
    "Replace": 1,
    "ByteLevel": 1,
    "Lowercase": 2,
    "NFC": 4,
    "NFKC": 4,
    "NFD": 1,
    "NFKD": 1,
}
# Pre-tokenizers that leave nothing out.
_WHOLE = frozenset({"ByteLevel", "Metaspace", "Digits", "Punctuation", "Split"})
_BYTES = 256


def longest_token(tokenizer: Any) -> int | None:
    """Characters; None where there is no bound. Texts are meant without white space at their ends, which some
    control tokens swallow. tokenizer: of the transformers library.
    """
    from tokenizers import Tokenizer

    backend = getattr(tokenizer, "backend_tokenizer", None)
    if not isinstance(backend, Tokenizer):
        return None
    described = json.loads(backend.to_str())
    joined = 1
    for part in _parts(described.get("normalizer"), "normalizers"):
        shortens = part["type"] == "Replace" and len(part.get("content", "")) < _length(part.get("pattern"))
        if part["type"] not in _KEEPING or shortens:
            return None
        joined *= _KEEPING[part["type"]]
    cut = list(_parts(described.get("pre_tokenizer"), "pretokenizers"))
    if any(one["type"] not in _WHOLE or one.get("behavior") == "Removed" for one in cut):
        return None
    if any(one["lstrip"] or one["rstrip"] for one in described["added_tokens"] if not one["special"]):
        return None  # a client may write them, and the white space that they swallow
    if not _keeps_all(described["model"], any(one["type"] == "ByteLevel" for one in cut)):
        return None
    return joined * max(map(len, backend.get_vocab(with_added_tokens=True)))


def _parts(part: Mapping[str, Any] | None, key: str) -> Iterator[Mapping[str, Any]]:
    if part is None:
        return
    if part["type"] == "Sequence":
        for one in part[key]:
            yield from _parts(one, key)
    else:
        yield part


def _length(pattern: Any) -> int:
    """Characters that a Replace takes for one match, at most; a pattern may take any number."""
    text = pattern.get("String") if isinstance(pattern, dict) else None
    return len(text) if isinstance(text, str) else 2**31


def _keeps_all(model: Mapping[str, Any], byte_level: bool) -> bool:
    """Whether every character becomes a token: as its bytes, where the vocabulary has nothing longer."""
    if model.get("type") not in ("BPE", "Unigram"):
        return False
    vocab = model["vocab"]
    names = vocab if isinstance(vocab, dict) else [entry[0] for entry in vocab]
    if model.get("byte_fallback"):
        spelled = sum(1 for name in names if name.startswith("<0x") and len(name) == 6)
    else:
        spelled = sum(1 for name in names if byte_level and len(name) == 1)
    return spelled >= _BYTES
