"""Long texts are encoded in pieces: to the same tokens, within a budget, and no further once they are
unwanted.
"""

from __future__ import annotations

import random
import string
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from engine.errors import ContextOverflow, Unwanted
from engine.long_text import Budget, encode_long

BUNDLED = Path(__file__).parents[2] / "engine/models/fortieth-tiny/tokenizer.json"
# The pattern by which Qwen's and Llama's vocabularies split a text (their tokenizer.json).
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
WORDS = [
    *"the quick brown fox jumps over a lazy dog def return self json".split(),
    *"12345 0.5 == != /* */ été 你好 \u0301 👋".split(),
]
SIGNS = ("\n", " ", "  ", "\t", "\n\n", "\r\n", ", ", '": "', "/", "\u3000", "")


def written(drawn: random.Random, words: int) -> str:
    return "".join(drawn.choice(WORDS) + drawn.choice(SIGNS) for _ in range(words))


def trained(tokenizer: Tokenizer, initial: list[str]) -> Tokenizer:
    trainer = trainers.BpeTrainer(vocab_size=900, initial_alphabet=initial, show_progress=False)
    tokenizer.train_from_iterator([written(random.Random(seed), 400) for seed in range(20)], trainer)
    return tokenizer


def split_by_pattern() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(pattern=Regex(SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return trained(tokenizer, pre_tokenizers.ByteLevel.alphabet())


def whole_words() -> Tokenizer:
    """As SentencePiece's vocabularies are written: a space before the text, and no splitting."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    return trained(tokenizer, sorted(set("".join((*WORDS, *SIGNS, string.printable)) + "▁")))


TOKENIZERS: dict[str, Callable[[], Tokenizer]] = {
    "bundled": lambda: Tokenizer.from_file(str(BUNDLED)),
    "by pattern": split_by_pattern,
    "whole words": whole_words,
}


@pytest.fixture(scope="module", params=TOKENIZERS)
def encode(request: pytest.FixtureRequest) -> Callable[[str], tuple[int, ...]]:
    tokenizer = TOKENIZERS[request.param]()
    return lambda text: tuple(tokenizer.encode(text, add_special_tokens=False).ids)


TEXTS: dict[str, str] = {
    "words": written(random.Random(1), 6000),
    "one line": "word " * 5000,
    "lines": "a\n" * 9000,
    "code": 'if x == 1:\n    return {"a": [1, 2]}\n' * 800,
    "chinese": "你好" * 6000,
    "nothing": "",
}
# Between equal signs tokens meet nearly anywhere, and where they do depends on where a tokenizer begins.
RUNS: dict[str, str] = {
    "blank": " " * 20_000 + "\n" * 9000,
    "letters": "x" * 20_000,
    "digits": "12345" * 4000,
}


@pytest.mark.parametrize("piece", [500, 3000])
@pytest.mark.parametrize("name", TEXTS)
def test_pieces_have_the_tokens_of_the_whole(
    encode: Callable[[str], tuple[int, ...]], name: str, piece: int
) -> None:
    text = TEXTS[name]
    assert encode_long(encode, text, piece=piece) == encode(text)


@pytest.mark.parametrize("name", RUNS)
def test_a_run_is_cut_somewhere(encode: Callable[[str], tuple[int, ...]], name: str) -> None:
    tokens, whole = encode_long(encode, RUNS[name], piece=1000), encode(RUNS[name])
    assert set(tokens) <= set(whole) | set(encode(RUNS[name][:1001]) + encode(RUNS[name][-1001:]))
    assert len(whole) <= len(tokens) <= len(whole) * 1.02 + 3


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), words=st.integers(0, 900), piece=st.integers(100, 900))
def test_any_text_has_the_tokens_of_the_whole(
    encode: Callable[[str], tuple[int, ...]], seed: int, words: int, piece: int
) -> None:
    text = written(random.Random(seed), words)
    assert encode_long(encode, text, piece=piece) == encode(text)


def test_nothing_is_encoded_far_beyond_the_budget() -> None:
    asked: list[int] = []

    def encode(text: str) -> tuple[int, ...]:
        asked.append(len(text))
        return tuple(map(ord, text))

    budget = Budget(999, 1000)
    text = "word " * 200_000
    budget.expect(len(text))
    with pytest.raises(ContextOverflow) as caught:
        encode_long(encode, text, budget, piece=2000)
    assert sum(asked) < 10_000
    assert (caught.value.limit, caught.value.estimated) == (1000, True)
    assert 990_000 < caught.value.tokens <= 1_010_000, "estimated by the part that was read"


def test_a_budget_holds_for_all_texts_of_a_prompt() -> None:
    budget = Budget(10, 11)
    budget.expect(12)
    for _ in range(2):
        encode_long(lambda text: tuple(map(ord, text)), "12345", budget)
    with pytest.raises(ContextOverflow) as caught:
        encode_long(lambda text: tuple(map(ord, text)), "12", budget)
    assert (caught.value.tokens, caught.value.estimated) == (12, False)


def test_it_can_be_stopped_from_another_thread() -> None:
    begun, asked = threading.Event(), []
    budget = Budget()

    def encode(text: str) -> tuple[int, ...]:
        asked.append(text)
        if len(asked) == 20:
            begun.set()
            stopping.join()
        return tuple(map(ord, text))

    def stop() -> None:
        begun.wait()
        budget.stop()

    stopping = threading.Thread(target=stop)
    stopping.start()
    with pytest.raises(Unwanted):
        encode_long(encode, "word " * 100_000, budget, piece=1000)
    assert len(asked) < 30
