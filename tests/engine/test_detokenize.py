"""Token by token must give what decoding everything at once gives, and as early as is certain."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models

from engine.detokenize import BytesDetokenizer, Detokenizer, Detokenizers, WindowDetokenizer, byte_alphabet

MARKS = ("<|end|>", "<tool_call>")


def byte_level() -> Tokenizer:
    """256 bytes, a few merges that cut characters apart, and two added tokens."""
    vocabulary = byte_alphabet()
    merges = [("Ġ", "a"), ("Ã", "©"), ("ð", "Ł"), ("Ġa", "b")]
    for left, right in merges:
        vocabulary[left + right] = len(vocabulary)
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(MARKS[0], special=True)])
    tokenizer.add_tokens([AddedToken(MARKS[1], special=False)])
    return tokenizer


def sentencepiece(strip: bool) -> Tokenizer:
    """Words with visible spaces, and all bytes to fall back on."""
    words = ["<unk>", "▁", "▁Hello", "▁world", "ing", "é", "▁▁", "東"]
    vocabulary = {word: i for i, word in enumerate(words)}
    for byte in range(256):
        vocabulary[f"<0x{byte:02X}>"] = len(vocabulary)
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>", byte_fallback=True))
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    tokenizer.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)] if strip else steps)
    tokenizer.add_special_tokens([AddedToken(MARKS[0], special=True)])
    return tokenizer


def word_pieces() -> Tokenizer:
    """A decoder that is neither: it joins pieces and puts spaces between words."""
    words = ["[UNK]", "un", "##believ", "##able", "story", "a", "##s", "."]
    tokenizer = Tokenizer(models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.decoder = decoders.WordPiece(cleanup=False)
    return tokenizer


def write(detokenizer: Detokenizer, tokens: list[int]) -> str:
    return "".join(detokenizer.push(token) for token in tokens) + detokenizer.flush()


def token_lists(tokenizer: Tokenizer) -> st.SearchStrategy[list[int]]:
    """Tokens of texts, whose characters may take several, and tokens that are text by themselves: most others
    are single bytes, of which hardly any list is a text.
    """
    whole = [id for id in range(tokenizer.get_vocab_size()) if "\ufffd" not in tokenizer.decode([id])]
    written = st.text(max_size=8).map(lambda text: list(tokenizer.encode(text, add_special_tokens=False).ids))
    pieces = st.one_of(written, st.lists(st.sampled_from(whole), max_size=8))
    return st.lists(pieces, max_size=6).map(lambda lists: [id for ids in lists for id in ids])


TOKENIZERS: list[tuple[Callable[[], Tokenizer], type]] = [
    (byte_level, BytesDetokenizer),
    (lambda: sentencepiece(True), BytesDetokenizer),
    (lambda: sentencepiece(False), BytesDetokenizer),
    (word_pieces, WindowDetokenizer),
]


@pytest.mark.parametrize(("make", "kind"), TOKENIZERS, ids=["byte-level", "strip", "sentencepiece", "other"])
def test_token_by_token_is_the_same_as_at_once(make: Callable[[], Tokenizer], kind: type) -> None:
    tokenizer = make()
    detokenizers = Detokenizers(tokenizer)
    assert type(detokenizers.make()) is kind

    @given(token_lists(tokenizer))
    def check(tokens: list[int]) -> None:
        whole = tokenizer.decode(tokens, skip_special_tokens=False)
        # how many U+FFFD a broken character makes is each decoder's own business
        assume("\ufffd" not in whole)
        assert write(detokenizers.make(), tokens) == whole

    check()


@given(st.text(max_size=60))
def test_any_text_comes_back_from_its_bytes(text: str) -> None:
    tokens = list(text.encode())
    assert write(Detokenizers(byte_level()).make(), tokens) == text


@pytest.mark.parametrize("character", ["é", "東", "😀", "👩‍👩‍👧"])
def test_half_a_character_is_held_back_and_never_longer_than_needed(character: str) -> None:
    detokenizer = Detokenizers(byte_level()).make()
    shown = ""
    for n, byte in enumerate(character.encode(), 1):
        shown += detokenizer.push(byte)
        assert shown == character.encode()[:n].decode(errors="ignore")
    assert shown == character


def test_bytes_that_are_no_character_do_not_hold_up_what_follows() -> None:
    detokenizer = Detokenizers(byte_level()).make()
    assert detokenizer.push(0xFF) == "\ufffd"
    assert detokenizer.push(0xE6) == ""
    assert detokenizer.push(ord("x")) == "\ufffdx"
    assert detokenizer.push(0xE6) == ""
    assert detokenizer.flush() == "\ufffd"


def test_ids_beyond_the_vocabulary_have_no_text() -> None:
    tokenizer = byte_level()
    detokenizer = Detokenizers(tokenizer).make()
    assert detokenizer.push(tokenizer.get_vocab_size() + 5) == ""


def test_added_tokens_are_shown_as_written() -> None:
    tokenizer = byte_level()
    tokens = [tokenizer.get_vocab()[mark] for mark in MARKS]
    assert write(Detokenizers(tokenizer).make(), tokens) == "".join(MARKS)


def test_a_window_lets_go_of_what_stays_broken() -> None:
    window = WindowDetokenizer(byte_level())
    shown = "".join(window.push(0xFF) for _ in range(40))
    assert 0 < len(shown) <= 40
    assert "ok" in write(window, list(b"ok"))
