"""The curriculum of the bundled model: stages, rows of tokens, and batches of few shapes.

There are seven courses: "base" begins with nothing, and "agents", "drills", "crowds", "errands", "closings"
and "lengths" each go on from the weights before.
Rows are drawn in pools.
A pool depends only on the course, the seed and its number, so that several processes can draw pools at once,
a run can continue from any pool, and the number of processes changes nothing.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Generator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import count
from multiprocessing import get_context, parent_process
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from corpora.conversations import FIRST_STEPS, LONG, WHOLE, Conversation, Difficulty, draw_conversation
from corpora.lessons.draw import draw_lesson
from corpora.lessons.marks import mark
from corpora.rendering import render_spans
from corpora.slips import stumble
from corpora.world import TOOLBOXES
from corpora.world.script import to_conversation, write_script

Row = tuple[list[int], list[float]]
BESIDE = 0.1  # loss weight of everything that the assistant did not say
_CALL = "<tool_call>"
_CHOICE = re.compile(r'(?<=, ")|(?<=[{\[]")|(?<=": )|(?<=": ")|[,}\]]')  # in JSON as calls have it
SCRIPT_TURNS = ((1, 1), (2, 6), (7, 20), (25, 60))
SCRIPT_WEIGHTS = (40, 45, 12, 3)


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of the curriculum: difficulty, shares of repeated spans, of long conversations and of scripts of
    the tool world, the longest row in tokens, the share of conversations that end in a corrected slip, that
    of lessons of room, manners and correction, which mix of them, the share of conversations in which
    values stand in backticks, and the loss weight of the tokens at which a call can go on in several ways.
    """

    level: Difficulty
    spans: float
    long: float
    longest: int
    world: float = 0.0
    slips: float = 0.0
    lessons: float = 0.0
    mix: str = "agents"
    marks: float = 0.0
    choices: float = 1.0


@dataclass(frozen=True, slots=True)
class Course:
    """Stages, each from so many tokens on. pool: steps that a pool is good for."""

    stages: tuple[tuple[int, Stage], ...]
    pool: int


#: from so many tokens on
STAGES: tuple[tuple[int, Stage], ...] = (
    (0, Stage(FIRST_STEPS, 0.25, 0.0, 448)),
    (2_000_000, Stage(Difficulty(3, 3, 4, 0.3, 0.03, 0.04, 0.15), 0.05, 0.0, 576)),
    (5_000_000, Stage(Difficulty(), 0.02, 0.0, 768)),
    (9_000_000, Stage(WHOLE, 0.2, 0.02, 2048, world=0.2)),
    (18_000_000, Stage(WHOLE, 0.2, 0.02, 8192, world=0.24, slips=0.06)),
)
#: what the last stage of the base course had goes on, so that nothing is forgotten, at a smaller share
AGENT_STAGES: tuple[tuple[int, Stage], ...] = (
    (0, Stage(WHOLE, 0.05, 0.02, 8192, world=0.2, slips=0.06, lessons=0.5)),
    (6_000_000, Stage(WHOLE, 0.05, 0.02, 16_384, world=0.2, slips=0.06, lessons=0.5)),
    (10_000_000, Stage(WHOLE, 0.05, 0.02, 32_768, world=0.2, slips=0.06, lessons=0.5)),
)
#: nested calls and corrections in short rows, of which a token teaches several times as many
DRILL_STAGES: tuple[tuple[int, Stage], ...] = (
    (0, Stage(WHOLE, 0.05, 0.02, 8192, world=0.2, slips=0.06, lessons=0.65, mix="drills")),
)
#: calls of one of many tools that share their words, in longer rows then; at the end more of the base course,
#: whose calls are forgotten over it, and values in backticks
CROWD_STAGES: tuple[tuple[int, Stage], ...] = (
    (0, Stage(WHOLE, 0.02, 0.02, 8192, world=0.3, slips=0.06, lessons=0.75, mix="crowds")),
    (15_000_000, Stage(WHOLE, 0.02, 0.02, 16_384, world=0.3, slips=0.06, lessons=0.75, mix="crowds")),
    (17_000_000, Stage(WHOLE, 0.02, 0.02, 8192, world=0.3, slips=0.06, lessons=0.25, mix="crowds")),
    (19_200_000, Stage(WHOLE, 0.02, 0.02, 8192, 0.3, slips=0.06, lessons=0.25, mix="crowds", marks=0.4)),
)
#: things to look up by sentences and by shells, arguments alone and the hardest corrections; then more of the
#: base course, and at the end of manners
ERRAND_STAGES: tuple[tuple[int, Stage], ...] = (
    (0, Stage(WHOLE, 0.02, 0.02, 8192, 0.3, slips=0.06, lessons=0.75, mix="errands", marks=0.1)),
    (11_000_000, Stage(WHOLE, 0.02, 0.02, 8192, 0.3, slips=0.06, lessons=0.4, mix="errands", marks=0.1)),
    (13_000_000, Stage(WHOLE, 0.02, 0.02, 8192, 0.25, slips=0.06, lessons=0.35, mix="manners", marks=0.1)),
)
#: errands that end by a call, a command, in a form or at once; then more of the base course and of manners in
#: long rows, and at the end corrections, which were forgotten over it
CLOSING_STAGES: tuple[tuple[int, Stage], ...] = (
    (0, Stage(WHOLE, 0.02, 0.02, 16_384, 0.3, slips=0.06, lessons=0.75, mix="closings", marks=0.1)),
    (1_000_000, Stage(WHOLE, 0.02, 0.02, 10_240, 0.3, slips=0.06, lessons=0.8, mix="closings", marks=0.1)),
    (8_500_000, Stage(WHOLE, 0.02, 0.02, 16_384, 0.3, slips=0.06, lessons=0.5, mix="polish", marks=0.1)),
    (10_600_000, Stage(WHOLE, 0.02, 0.02, 8192, 0.3, slips=0.06, lessons=0.5, mix="mending", marks=0.1)),
)
#: all of it once more in short rows, then loops and errands in rows as long as agents' conversations, then
#: corrections and the base course, which were forgotten over it; from the second on what is chosen in a call
#: weighs more
LENGTH_STAGES: tuple[tuple[int, Stage], ...] = (
    (0, Stage(WHOLE, 0.02, 0.02, 8192, 0.3, slips=0.06, lessons=0.8, mix="rounds", marks=0.1)),
    (5_000_000, Stage(WHOLE, 0.02, 0.02, 8192, 0.3, 0.06, 0.8, mix="rounds", marks=0.1, choices=3.0)),
    (6_000_000, Stage(WHOLE, 0.02, 0.02, 40_960, 0.3, 0.06, 0.8, mix="lengths", marks=0.1, choices=3.0)),
    (6_800_000, Stage(WHOLE, 0.02, 0.02, 8192, 0.3, 0.06, 0.65, mix="returns", marks=0.1, choices=3.0)),
    (7_900_000, Stage(WHOLE, 0.02, 0.02, 4096, 0.3, 0.06, 0.3, mix="returns", marks=0.1, choices=3.0)),
)
COURSES: Mapping[str, Course] = {
    "base": Course(STAGES, 32),
    "agents": Course(AGENT_STAGES, 8),
    "drills": Course(DRILL_STAGES, 8),
    "crowds": Course(CROWD_STAGES, 8),
    "errands": Course(ERRAND_STAGES, 8),
    "closings": Course(CLOSING_STAGES, 8),
    "lengths": Course(LENGTH_STAGES, 8),
}


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


def stage(seen: int, course: str = "base") -> Stage:
    """The curriculum after `seen` tokens of a course."""
    return next(one for start, one in reversed(COURSES[course].stages) if seen >= start)


def encode(tokenizer: Tokenizer, conversation: Conversation, choices: float = 1.0) -> Row:
    """Token ids and the loss weight of each. choices: that of a call's tokens where a key, a value or the end
    of one is chosen; the rest of a key or value is copied.
    """
    tokens: list[int] = []
    weights: list[float] = []
    for text, learned in render_spans(conversation):
        encoded = tokenizer.encode(text, add_special_tokens=False)
        tokens += encoded.ids
        if not (learned and (_CALL in text or text.startswith("{"))):
            weights += [1.0 if learned else BESIDE] * len(encoded.ids)
            continue
        chosen = {found.start() for found in _CHOICE.finditer(text)}
        for start, end in encoded.offsets:
            weights.append(choices if not chosen.isdisjoint(range(start, end)) else 1.0)
    return tokens, weights


def repeated_span(rng: Random, vocabulary: int) -> Row:
    """Random tokens said twice with noise between: only copying predicts the second half."""
    span = [rng.randrange(3, vocabulary - 6) for _ in range(rng.randint(10, 60))]
    noise = [rng.randrange(3, vocabulary - 6) for _ in range(rng.randint(0, 30))]
    tokens = span + noise + span
    return tokens, [0.0] * (len(span) + len(noise)) + [0.5] * len(span)


def draw_row(rng: Random, now: Stage, tokenizer: Tokenizer) -> Row | None:
    """One row of the stage; None where it came out too long. Scripts and lessons are cut off instead."""
    if now.lessons and rng.random() < now.lessons:
        tokens, weights = encode(
            tokenizer, _marked(rng, now, draw_lesson(rng, now.longest, now.mix)), now.choices
        )
        return tokens[: now.longest], weights[: now.longest]
    roll = rng.random()
    if roll < now.spans:
        return repeated_span(rng, tokenizer.get_vocab_size())
    scripted = roll < now.spans + now.world
    conversation = _script(rng) if scripted else _invented(rng, now)
    slip = stumble(rng, conversation) if rng.random() < now.slips else None
    tokens, weights = encode(tokenizer, _marked(rng, now, slip or conversation), now.choices)
    if len(tokens) <= now.longest:
        return tokens, weights
    return (tokens[: now.longest], weights[: now.longest]) if scripted else None


def _marked(rng: Random, now: Stage, conversation: Conversation) -> Conversation:
    return mark(rng, conversation) if now.marks and rng.random() < now.marks else conversation


def _script(rng: Random) -> Conversation:
    turns = rng.randint(*rng.choices(SCRIPT_TURNS, SCRIPT_WEIGHTS)[0])
    return to_conversation(
        write_script(rng, rng.choice(TOOLBOXES), turns, talk_share=0.15 if turns < 3 else 0.06)
    )


def _invented(rng: Random, now: Stage) -> Conversation:
    return draw_conversation(rng, LONG if rng.random() < now.long else now.level)


def room(length: int) -> int:
    """The padded length of a row: few different ones, so that a GPU can keep a recorded step for each."""
    steps = ((512, 32), (1024, 64), (2048, 128), (4096, 256), (8192, 512), (16_384, 1024))
    step = next((step for longest, step in steps if length <= longest), 2048)
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


def draw_pool(tokenizer: Tokenizer, number: int, size: int, seed: int, course: str = "base") -> list[Batch]:
    """The batches of pool `number`, shuffled."""
    rng, tokens = Random(seed * 1_000_003 + number), COURSES[course].pool * size
    now, rows, held = stage(number * tokens, course), list[Row](), 0
    while held < tokens:
        row = draw_row(rng, now, tokenizer)
        if row is not None:
            rows.append(row)
            held += len(row[0])
    batches = group(rows, size)
    rng.shuffle(batches)
    return batches


def pools(
    tokenizer: Path, first: int, size: int, seed: int, workers: int, course: str = "base", step: int = 1
) -> Generator[list[Batch], None, None]:
    """Each `step`-th pool from number `first` on, without end; drawn by so many processes ahead, or by none
    but this. Raises BrokenProcessPool where one of them is killed.
    """
    if workers == 0:
        words = Tokenizer.from_file(str(tokenizer))
        yield from (draw_pool(words, number, size, seed, course) for number in count(first, step))
        return
    ahead = first + 3 * workers * step
    crew = ProcessPoolExecutor(workers, get_context("spawn"), _open, (tokenizer, size, seed, course))
    try:
        waiting = [crew.submit(_drawn, number) for number in range(first, ahead, step)]
        for number in count(ahead, step):
            yield waiting.pop(0).result()
            waiting.append(crew.submit(_drawn, number))
    finally:
        # what is being drawn is waited for: processes that are ended in the middle of an answer can leave a
        # lock behind for which the one that ends them waits for ever
        crew.shutdown(cancel_futures=True)


class _Drawing:
    """What a drawing process holds."""

    tokenizer: Tokenizer
    size: int
    seed: int
    course: str


def _open(tokenizer: Path, size: int, seed: int, course: str) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _Drawing.tokenizer = Tokenizer.from_file(str(tokenizer))
    _Drawing.size, _Drawing.seed, _Drawing.course = size, seed, course


def _end_with_parent() -> None:
    """Ends this process when the one that started it is gone, killed or not."""
    if (parent := parent_process()) is not None:
        parent.join()
        os._exit(1)


def _drawn(number: int) -> list[Batch]:
    return draw_pool(_Drawing.tokenizer, number, _Drawing.size, _Drawing.seed, _Drawing.course)
