"""Texts that repeat themselves: found where the rule says, and nowhere else."""

from __future__ import annotations

import base64
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.config import EngineConfig
from engine.core import EngineCore
from engine.model import load_model
from engine.repetition import (
    CHARACTERS,
    TOKENS,
    RepetitionRule,
    TextRepetition,
    TokenRepetition,
    period,
    repetition_of,
    without_repetition,
)
from engine.types import FinishReason, SamplingParams
from tests.engine.drive import alone, request, run
from tests.engine.tiny import make_model

SMALL = RepetitionRule(longest=8, least=20, times=4, every=1)


def plainly(text: str, rule: RepetitionRule) -> int:
    """The rule as its definition reads."""
    for distance in range(1, rule.longest + 1):
        length = max(rule.least, rule.times * distance)
        tail = text[-length:]
        if len(tail) == length and all(tail[i] == tail[i - distance] for i in range(distance, length)):
            return distance
    return 0


def nearly_periodic(rng: random.Random) -> Iterator[str]:
    """Words of few letters, whose periods contain shorter ones, with a break here and there."""
    for _ in range(400):
        word = "".join(rng.choice("ab") for _ in range(rng.randint(1, 9)))
        text = list(word * 12)[: rng.randint(1, 60)]
        for _ in range(rng.choice((0, 0, 1, 2))):
            text[rng.randrange(len(text))] = rng.choice("abc")
        yield rng.choice(("", "a", "ba", word[1:])) + "".join(text)


def test_what_is_found_is_what_the_rule_says() -> None:
    found = set[int]()
    for text in nearly_periodic(random.Random(1)):
        for end in range(1, len(text) + 1):
            tail = text[max(0, end - SMALL.reach) : end]
            found.add(expected := plainly(tail, SMALL))
            assert period(tail, SMALL) == expected, tail
    assert found >= {0, 1, 2, 3, 5, 8}


@pytest.mark.parametrize("length", [1, 2, 3, 31, 64, 100, 511, 512])
def test_tokens_that_repeat_are_found_soon(length: int) -> None:
    rng = random.Random(length)
    words = [rng.randrange(200_000) for _ in range(length)]
    watched = TokenRepetition()
    assert not any(watched.push(rng.randrange(200_000)) for _ in range(777))
    stopped = next(n for n in range(4000) if watched.push(words[n % length]))
    due = max(TOKENS.least, TOKENS.times * length)
    assert due - 1 <= stopped < due + TOKENS.every


@pytest.mark.parametrize(
    ("expected", "least"), [(None, TOKENS.least), (0, 256), (256, 256), (300, 300), (5000, TOKENS.least)]
)
def test_what_should_be_short_is_stopped_sooner(expected: int | None, least: int) -> None:
    watched = repetition_of(SamplingParams(max_tokens=1, stop_repetition=True, expected_tokens=expected))
    assert watched is not None
    rng = random.Random(3)
    assert not any(watched.push(rng.randrange(200_000)) for _ in range(64))
    assert least - 1 <= next(n for n in range(4000) if watched.push(7)) < least + TOKENS.every


@pytest.mark.parametrize("rule", [SMALL, TOKENS, CHARACTERS])
def test_a_rule_for_what_should_be_short_is_one_whose_proof_holds(rule: RepetitionRule) -> None:
    for expected in range(2 * rule.least):
        one = rule.for_length(expected)
        assert rule.least // 4 <= one.least <= rule.least
        assert one.longest <= rule.longest
        assert one.least >= min(expected, rule.least)
    assert rule.for_length(None) == rule.for_length(rule.least) == rule


def test_a_period_beyond_the_longest_and_a_counter_are_no_repetition() -> None:
    rng = random.Random(2)
    words = [rng.randrange(200_000) for _ in range(TOKENS.longest + 1)]
    long, counted = TokenRepetition(), TokenRepetition()
    assert not any(long.push(words[n % len(words)]) for n in range(8000))
    assert not any(counted.push(n // 16 if n % 16 == 0 else n % 16) for n in range(8000))


@pytest.mark.parametrize("size", [1, 7, 300, 100_000])
@pytest.mark.parametrize("length", [1, 40, 2048])
def test_text_that_repeats_is_found_however_it_is_cut(length: int, size: int) -> None:
    rng = random.Random(length)
    lead = base64.b64encode(rng.randbytes(3000)).decode()
    text = lead + "".join(rng.choice("abcdefgh ") for _ in range(length)) * (12_000 // length)
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    watched = TextRepetition()
    at = next(number for number, piece in enumerate(pieces) if watched.push(piece))
    due = len(lead) + max(CHARACTERS.least, CHARACTERS.times * length)
    assert due - size <= at * size < due + CHARACTERS.every
    fresh = TextRepetition()
    assert not any(fresh.push(lead[n : n + size]) for n in range(0, len(lead), size))


def test_a_model_is_told_what_it_repeated_twice() -> None:
    lead, words = "All of it:\n", "go on, and then "
    assert without_repetition(lead + words * 400) == lead + words * 2
    assert without_repetition(lead + words * 100 + "]") == lead + words * 2
    assert without_repetition(lead + words * 20) == lead + words * 2
    assert without_repetition(lead + words * 3) == lead + words * 3


def test_a_rule_whose_proof_does_not_hold_is_refused() -> None:
    with pytest.raises(ValueError, match="at least twice"):
        RepetitionRule(longest=512, least=1000, times=4, every=64)


def test_whoever_asks_for_all_tokens_gets_them() -> None:
    assert repetition_of(SamplingParams(max_tokens=1, stop_repetition=True)) is not None
    assert repetition_of(SamplingParams(max_tokens=1)) is None
    assert repetition_of(SamplingParams(max_tokens=1, stop_repetition=True, ignore_eos=True)) is None


def test_a_generation_that_repeats_itself_is_ended_and_its_neighbours_go_on(tmp_path: Path) -> None:
    config = EngineConfig(model=str(make_model(tmp_path / "tiny", context=2048)))
    core = EngineCore(load_model(config, "none"), config)
    looping = {"logit_bias": {65: 100.0}, "max_tokens": 1150}
    free = request("free", "hello", max_tokens=1150, temperature=1.5, seed=3, stop_repetition=True)
    before = alone(core, free)
    told = run(
        core, request("a", "abc", **looping, stop_repetition=True), request("b", "abc", **looping), free
    )
    assert told["a"].reason is FinishReason.repetition
    assert TOKENS.least <= told["a"].tokens < TOKENS.least + TOKENS.every
    assert told["a"].text == "A" * told["a"].tokens
    assert (told["b"].reason, told["b"].tokens) == (FinishReason.length, 1150)
    assert told["free"].text == before.text
    assert told["free"].reason is not FinishReason.repetition
