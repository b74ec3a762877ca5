"""The curriculum of the bundled model: stages, rows of tokens, and batches of few shapes.

Rows are drawn in pools. A pool depends only on the seed and its number, so that several processes can draw
pools at once, a run can continue from any pool, and the number of processes changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from corpora.conversations import FIRST_STEPS, LONG, WHOLE, Conversation, Difficulty, draw_conversation
from corpora.rendering import render_spans
from corpora.slips import stumble
from corpora.world import TOOLBOXES
from corpora.world.script import to_conversation, write_script

Row = tuple[list[int], list[float]]
POOL = 32  # steps that a pool is good for
BESIDE = 0.1  # loss weight of everything that the assistant did not say
SCRIPT_TURNS = ((1, 1), (2, 6), (7, 20), (25, 60))
SCRIPT_WEIGHTS = (40, 45, 12, 3)


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of the curriculum: difficulty, shares of repeated spans, of long conversations and of scripts of
    the tool world, the longest row in tokens, and the share of conversations that end in a corrected slip.
    """

    level: Difficulty
    spans: float
    long: float
    longest: int
    world: float = 0.0
    slips: float = 0.0


#: from so many tokens on
STAGES: tuple[tuple[int, Stage], ...] = (
    (0, Stage(FIRST_STEPS, 0.25, 0.0, 448)),
    (2_000_000, Stage(Difficulty(3, 3, 4, 0.3, 0.03, 0.04, 0.15), 0.05, 0.0, 576)),
    (5_000_000, Stage(Difficulty(), 0.02, 0.0, 768)),
    (9_000_000, Stage(WHOLE, 0.2, 0.02, 2048, world=0.2)),
    (18_000_000, Stage(WHOLE, 0.2, 0.02, 8192, world=0.24, slips=0.06)),
)


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch of rows.

    tokens: (rows, length).
    weights: of the loss, in the same shape.
    true: tokens that are not padding.
    """

    tokens: NDArray[np.int64]
    weights: NDArray[np.float32]
    true: int


def stage(seen: int) -> Stage:
    """The curriculum after `seen` tokens."""
    return next(one for start, one in reversed(STAGES) if seen >= start)


def encode(tokenizer: Tokenizer, conversation: Conversation) -> Row:
    """Token ids and the loss weight of each."""
    tokens: list[int] = []
    weights: list[float] = []
    for text, learned in render_spans(conversation):
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        tokens += ids
        weights += [1.0 if learned else BESIDE] * len(ids)
    return tokens, weights


def repeated_span(rng: Random, vocabulary: int) -> Row:
    """Random tokens said twice with noise between: only copying predicts the second half."""
    span = [rng.randrange(3, vocabulary - 6) for _ in range(rng.randint(10, 60))]
    noise = [rng.randrange(3, vocabulary - 6) for _ in range(rng.randint(0, 30))]
    tokens = span + noise + span
    return tokens, [0.0] * (len(span) + len(noise)) + [0.5] * len(span)


def draw_row(rng: Random, now: Stage, tokenizer: Tokenizer) -> Row | None:
    """One row of the stage; None where it came out too long. Scripts are cut off instead."""
    roll = rng.random()
    if roll < now.spans:
        return repeated_span(rng, tokenizer.get_vocab_size())
    scripted = roll < now.spans + now.world
    conversation = _script(rng) if scripted else _invented(rng, now)
    slip = stumble(rng, conversation) if rng.random() < now.slips else None
    tokens, weights = encode(tokenizer, slip or conversation)
    if len(tokens) <= now.longest:
        return tokens, weights
    return (tokens[: now.longest], weights[: now.longest]) if scripted else None


def _script(rng: Random) -> Conversation:
    turns = rng.randint(*rng.choices(SCRIPT_TURNS, SCRIPT_WEIGHTS)[0])
    return to_conversation(
        write_script(rng, rng.choice(TOOLBOXES), turns, talk_share=0.15 if turns < 3 else 0.06)
    )


def _invented(rng: Random, now: Stage) -> Conversation:
    return draw_conversation(rng, LONG if rng.random() < now.long else now.level)


def room(length: int) -> int:
    """The padded length of a row: few different ones, so that a GPU can keep a recorded step for each."""
    steps = ((512, 32), (1024, 64), (2048, 128), (4096, 256))
    step = next((step for longest, step in steps if length <= longest), 512)
    return -(-length // step) * step


def group(rows: list[Row], size: int) -> list[Batch]:
    """Rows of similar length together, each batch of `size` tokens, padding counted, or of one longer row."""
    rest, batches = sorted(rows, key=lambda r: len(r[0])), list[Batch]()
    while rest:
        length = room(len(rest[-1][0]))
        height = max(1, size // length)
        taken, rest = rest[-height:], rest[:-height]
        tokens, weights = np.zeros((height, length), np.int64), np.zeros((height, length), np.float32)
        for i, (ids, marks) in enumerate(taken):
            tokens[i, : len(ids)], weights[i, : len(ids)] = ids, marks
        batches.append(Batch(tokens, weights, sum(len(r[0]) for r in taken)))
    return batches


def draw_pool(tokenizer: Tokenizer, number: int, size: int, seed: int) -> list[Batch]:
    """The batches of pool `number`, shuffled."""
    rng = Random(seed * 1_000_003 + number)
    now, rows, held = stage(number * POOL * size), list[Row](), 0
    while held < POOL * size:
        row = draw_row(rng, now, tokenizer)
        if row is not None:
            rows.append(row)
            held += len(row[0])
    batches = group(rows, size)
    rng.shuffle(batches)
    return batches


def pools(tokenizer: Path, first: int, size: int, seed: int, workers: int) -> Iterator[list[Batch]]:
    """Pools from number `first` on, without end; drawn by so many processes ahead, or by none but this."""
    if workers == 0:
        words = Tokenizer.from_file(str(tokenizer))
        yield from (draw_pool(words, number, size, seed) for number in count(first))
        return
    with get_context("spawn").Pool(workers, _open, (tokenizer, size, seed)) as crew:
        waiting = [crew.apply_async(_drawn, (number,)) for number in range(first, first + 3 * workers)]
        for number in count(first + 3 * workers):
            yield waiting.pop(0).get()
            waiting.append(crew.apply_async(_drawn, (number,)))


class _Drawing:
    """What a drawing process holds."""

    tokenizer: Tokenizer
    size: int
    seed: int


def _open(tokenizer: Path, size: int, seed: int) -> None:
    _Drawing.tokenizer = Tokenizer.from_file(str(tokenizer))
    _Drawing.size, _Drawing.seed = size, seed


def _drawn(number: int) -> list[Batch]:
    return draw_pool(_Drawing.tokenizer, number, _Drawing.size, _Drawing.seed)
