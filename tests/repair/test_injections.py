"""Malformations with a label: the recoverable give the true call, the destroyed give none."""

from __future__ import annotations

import json
import random

import pytest

from repair.formats import FORMATS
from repair.tools import ToolSet
from repair.turn import Outcome, Turn
from repair.types import Verdict
from tests.repair.injections import DESTROYING, RECOVERABLE, Injection, Sample, draw_sample

ALL = tuple(sorted(FORMATS))
ROUNDS = 40


def run(sample: Sample) -> Outcome:
    turn = Turn(ToolSet.compile(sample.tools), sample.format)
    turn.feed(sample.text)
    return turn.close(sample.finish)


def is_true(outcome: Outcome, sample: Sample) -> bool:
    return [(one.name, json.loads(one.arguments)) for one in outcome.calls] == [("do_work", sample.arguments)]


def broken(injection: Injection, seed: int) -> list[Sample]:
    rng = random.Random(seed)
    samples = (injection(draw_sample(rng, ALL), rng) for _ in range(ROUNDS * 8))
    return [sample for sample in samples if sample is not None][:ROUNDS]


@pytest.mark.parametrize("injection", RECOVERABLE, ids=lambda one: one.__name__)
def test_what_is_recoverable_comes_back_true(injection: Injection) -> None:
    samples = broken(injection, 1)
    exact = 0
    for sample in samples:
        outcome = run(sample)
        assert not outcome.calls or is_true(outcome, sample), sample.text
        exact += bool(outcome.calls)
    assert samples
    assert exact >= 0.99 * len(samples) - 1


@pytest.mark.parametrize("injection", DESTROYING, ids=lambda one: one.__name__)
def test_what_is_destroyed_is_never_executed(injection: Injection) -> None:
    for sample in broken(injection, 2):
        outcome = run(sample)
        assert outcome.verdict is not Verdict.clean or is_true(outcome, sample), sample.text
        # a cut may fall behind the last byte that matters: then, and only then, the call is whole
        assert not outcome.calls or (injection.__name__ == "cut" and is_true(outcome, sample)), sample.text


def test_two_at_a_time_are_never_wrong() -> None:
    rng = random.Random(3)
    for _ in range(ROUNDS * 5):
        sample = draw_sample(rng, ALL)
        for injection in rng.sample(RECOVERABLE, 2):
            sample = injection(sample, rng) or sample
        outcome = run(sample)
        assert not outcome.calls or is_true(outcome, sample), sample.text
