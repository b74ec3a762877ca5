"""What the bundled model is trained on comes in the same batches however it is drawn, and none is lost."""

from __future__ import annotations

from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing import active_children
from pathlib import Path
from random import Random

import numpy as np
import pytest
from tokenizers import Tokenizer

from corpora.conversations import Conversation, draw_conversation
from corpora.rendering import render_spans
from corpora.training.curriculum import (
    BESIDE,
    COURSES,
    Row,
    draw_pool,
    draw_row,
    encode,
    group,
    pools,
    room,
    stage,
)
from corpora.world.base import Call
from corpora.world.script import to_message

WORDS = Path(__file__).parents[3] / "engine" / "models" / "fortieth-tiny" / "tokenizer.json"
SIZE = 1024


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(WORDS))


PLACES = [(course, start) for course, told in COURSES.items() for start, _ in told.stages]


@pytest.mark.parametrize(("course", "start"), PLACES)
def test_rows_keep_to_their_stage(tokenizer: Tokenizer, course: str, start: int) -> None:
    now, rng = stage(start, course), Random(start)
    assert stage(start + 1, course) is now
    rows = [row for _ in range(60) if (row := draw_row(rng, now, tokenizer))]
    assert len(rows) > 30
    for tokens, weights in rows:
        assert len(tokens) == len(weights) <= now.longest
        assert set(weights) <= {0.0, BESIDE, 0.5, 1.0, now.choices}


def test_only_what_the_assistant_says_has_full_weight(tokenizer: Tokenizer) -> None:
    conversation = draw_conversation(Random(4))
    tokens, weights = encode(tokenizer, conversation)
    learned = [token for token, weight in zip(tokens, weights, strict=True) if weight == 1.0]
    said = "".join(text for text, own in render_spans(conversation) if own)
    assert tokenizer.decode(learned, skip_special_tokens=False) == said


def rows_of(lengths: list[int]) -> list[Row]:
    return [([number + 1] * length, [1.0] * length) for number, length in enumerate(lengths)]


def test_where_a_call_can_go_on_in_several_ways_weighs_more(tokenizer: Tokenizer) -> None:
    arguments = {"city": "Oslo", "days": 3, "tags": ["a{b", "c"], "on": None}
    said = to_message((Call("get_sky", arguments),), ["call_0"])
    asked = {"role": "user", "content": 'a {"city": "Oslo", "days": 3} of the user'}
    conversation = Conversation((), (asked, said, {"role": "assistant", "content": "It is 3, as {it} was."}))
    tokens, plain = encode(tokenizer, conversation)
    same, weights = encode(tokenizer, conversation, choices=3.0)
    assert tokens == same
    pairs = list(zip(plain, weights, strict=True))
    assert set(pairs) == {(BESIDE, BESIDE), (1.0, 1.0), (1.0, 3.0)}
    assert pairs[-9:-1] == [(1.0, 1.0)] * 8  # words, although there are braces and commas
    text, heavy = "", set[int]()
    for token, (before, after) in zip(tokens, pairs, strict=True):
        piece = tokenizer.decode([token], skip_special_tokens=False)
        heavy |= set(range(len(text), len(text) + len(piece))) if after != before else set()
        text += piece
    call = text.index("<tool_call>")
    for chosen in ("get_sky", "city", "Oslo", "days", "3,", "tags", "a{b", "on", "null", "}}"):
        assert text.index(chosen, call) in heavy, chosen
    for copied in ("sky", "lo", "tool_call>"):
        assert text.index(copied, call) not in heavy, copied


@pytest.mark.parametrize(
    "lengths",
    [[1], [5000], [30, 30, 31, 700, 9], [1024, 1025, 3], [10] * 300],
    ids=lambda v: f"{len(v)} rows",
)
def test_grouping_loses_no_row_and_cuts_none(lengths: list[int]) -> None:
    batches = group(rows_of(lengths), SIZE)
    assert sum(batch.true for batch in batches) == sum(lengths)
    found: dict[int, int] = {}
    for batch in batches:
        height, width = batch.tokens.shape
        assert batch.weights.shape == batch.tokens.shape
        assert height == max(1, SIZE // width)
        assert ((batch.weights > 0) == (batch.tokens > 0)).all()
        for row in batch.tokens:
            if row.any():
                found[int(row[0])] = int((row == row[0]).sum())
    assert found == {number + 1: length for number, length in enumerate(lengths)}


def test_few_lengths_that_hold_every_row() -> None:
    lengths = {room(length) for length in range(1, 32_769)}
    assert len(lengths) < 80
    assert all(0 <= room(length) - length < max(32, length // 4) for length in range(1, 32_769))


@pytest.mark.parametrize("course", COURSES)
def test_a_pool_is_the_same_alone_and_from_several_processes(tokenizer: Tokenizer, course: str) -> None:
    alone = [draw_pool(tokenizer, number, SIZE, 40, course) for number in (3, 4, 5)]
    for workers in (0, 2):
        drawn = list(islice(pools(WORDS, 3, SIZE, 40, workers, course), 3))
        for one, other in zip(alone, drawn, strict=True):
            assert len(one) == len(other)
            for batch, same in zip(one, other, strict=True):
                np.testing.assert_array_equal(batch.tokens, same.tokens)
                np.testing.assert_array_equal(batch.weights, same.weights)
    every_second = list(islice(pools(WORDS, 3, SIZE, 40, 0, course, step=2), 2))
    for one, other in zip(alone[::2], every_second, strict=True):
        assert [batch.tokens.tobytes() for batch in one] == [batch.tokens.tobytes() for batch in other]
    first = [batch.tokens.tobytes() for batch in alone[0]]
    assert first != [batch.tokens.tobytes() for batch in draw_pool(tokenizer, 3, SIZE, 41, course)]


def test_a_drawing_process_that_is_killed_ends_the_drawing() -> None:
    """And nothing waits for it; what the others still draw is waited for."""
    drawn = pools(WORDS, 0, SIZE, 40, 2)
    next(drawn)
    crew = active_children()
    assert len(crew) == 2
    crew[0].kill()
    with pytest.raises(BrokenProcessPool):
        list(islice(drawn, 20))
    for one in crew:
        one.join(30)
    assert not any(one.is_alive() for one in crew)


def test_drawing_may_be_left_off_while_answers_are_on_their_way() -> None:
    """They are larger than a pipe holds. A process that `multiprocessing.Pool` ended in the middle of one
    held a lock, now and then, for which it waited for ever.
    """
    drawn = pools(WORDS, 0, 16 * SIZE, 40, 2)
    next(drawn)
    crew = active_children()
    drawn.close()
    assert len(crew) == 2
    assert not any(one.is_alive() for one in crew)
