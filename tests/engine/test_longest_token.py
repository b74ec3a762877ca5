"""A bound on the characters of one token is told only where no text can be shorter in tokens."""

from __future__ import annotations

import random
from typing import Any

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from engine.detokenize import byte_alphabet
from engine.longest_token import longest_token

BYTES = byte_alphabet()
TAIL = {f"<0x{byte:02X}>": 300 + byte for byte in range(256)}


def tokenizer(
    model: Any = None, normalizer: Any = None, cut: Any = None, added: tuple[AddedToken, ...] = ()
) -> Any:
    made = Tokenizer(
        model or models.BPE(vocab=BYTES | {"ab": 256, "abab": 257}, merges=[("a", "b"), ("ab", "ab")])
    )
    if normalizer is not None:
        made.normalizer = normalizer
    made.pre_tokenizer = cut or pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.add_tokens(list(added))
    return PreTrainedTokenizerFast(tokenizer_object=made)


def cut_by(behavior: str) -> Any:
    return pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(r"\s+"), behavior), pre_tokenizers.ByteLevel(use_regex=False)]
    )


BOUND: dict[str, tuple[Any, int | None]] = {
    "bytes": (tokenizer(), 4),
    "an added token": (tokenizer(added=(AddedToken("<longer>"),)), 8),
    "accents are joined": (tokenizer(normalizer=normalizers.NFC()), 16),
    "a space becomes a sign": (tokenizer(normalizer=normalizers.Replace(" ", "▁")), 4),
    "spaces become one": (tokenizer(normalizer=normalizers.Replace(Regex(" +"), " ")), None),
    "a text is cut out": (tokenizer(normalizer=normalizers.Replace("ab", "a")), None),
    "stripped": (tokenizer(normalizer=normalizers.Strip()), None),
    "split": (tokenizer(cut=cut_by("isolated")), 4),
    "white space is left out": (tokenizer(cut=cut_by("removed")), None),
    "words": (tokenizer(cut=pre_tokenizers.Whitespace()), None),
    "a token takes the space behind it": (tokenizer(added=(AddedToken("<x>", rstrip=True),)), None),
    "unknown characters are joined": (
        tokenizer(models.BPE(vocab={"<unk>": 0, "a": 1}, merges=[], unk_token="<unk>", fuse_unk=True)),
        None,
    ),
    "unknown characters become bytes": (
        tokenizer(
            models.BPE(vocab={"a": 0, "<unk>": 1, **TAIL}, merges=[], unk_token="<unk>", byte_fallback=True),
            cut=pre_tokenizers.Metaspace(),
        ),
        6,
    ),
    "whole words only": (tokenizer(models.WordPiece(vocab={"a": 0, "[UNK]": 1})), None),
}


@pytest.mark.parametrize("name", BOUND)
def test_a_bound_is_told_where_there_is_one(name: str) -> None:
    given, bound = BOUND[name]
    assert longest_token(given) == bound


@pytest.mark.parametrize("name", [name for name, (_, bound) in BOUND.items() if bound])
def test_no_text_has_fewer_tokens(name: str) -> None:
    given, bound = BOUND[name]
    assert bound is not None
    drawn = random.Random(3)
    for size in (1, 9, 100, 3000):
        for letters in ("ab", "ab ", "aé\u0301", " \n", "<longer>", "한\u1112\u1161\u11ab"):
            text = "".join(drawn.choice(letters) for _ in range(size))
            tokens = given.encode(text, add_special_tokens=False)
            assert len(tokens) * bound >= len(text.strip())


def test_other_tokenizers_have_none() -> None:
    assert longest_token(object()) is None
