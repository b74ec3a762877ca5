"""Any drafter: what it says changes no token, and it costs nothing where there is none."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any
from unittest.mock import Mock

import mlx.core as mx
import pytest

from engine.constraints import Grammars
from engine.drafting import MOST_DRAFTED, DraftedNetwork, expected_tokens
from engine.lane import Lane, Live
from engine.model import LoadedModel
from engine.runner import Runner
from engine.sampling import UnexpectedRows, last_token
from engine.types import Finished
from tests.engine.calls import SAMPLINGS, long_stretch, pair, same
from tests.engine.drive import alone, request, run


class Liar:
    """A drafter that knows the answer and tells it wrongly now and then, or tells too much or nothing."""

    def __init__(self, answer: Sequence[int], rng: Random) -> None:
        self._answer = answer
        self._rng = rng
        self.place = 0

    def worth_asking(self, rows: int) -> bool:
        return True

    def draft(self, drawn: int | None, most: int) -> Sequence[int]:
        assert 0 < most <= MOST_DRAFTED
        truth = list(self._answer[self.place : self.place + self._rng.randrange(0, 2 * MOST_DRAFTED)])
        if truth and self._rng.random() < 0.5:
            truth[self._rng.randrange(len(truth))] = self._rng.randrange(256)
        return truth


@pytest.mark.parametrize("seed", range(6))
def test_a_drafter_that_is_wrong_changes_nothing(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Free texts, greedy and sampled, alone and together, with whatever a drafter says."""
    rng = Random(seed)
    asked = [
        request(f"r{n}", "abc" * (4 + n), max_tokens=40, ignore_eos=True, **rng.choice(SAMPLINGS[:5]))
        for n in range(rng.choice([1, 1, 2, 3]))
    ]
    ahead, plain = pair(loaded, cache_ram=0)
    expected = {one.id: alone(plain, one) for one in asked}
    begin = Runner._begin

    def with_liar(self: Runner, job: Any) -> Live:
        live = begin(self, job)
        end = expected[job.id].end
        assert isinstance(end, Finished)
        live.drafter = Liar(end.completion, rng)
        return live

    def told_the_place(self: Lane, shared: bool) -> Any:
        for live in self.members.values():
            assert isinstance(live.drafter, Liar)
            # one more is picked than has been reported, once it decodes
            live.drafter.place = live.made + (live in self.decoding)
        return step(self, shared)

    step = Lane.next
    monkeypatch.setattr(Runner, "_begin", with_liar)
    monkeypatch.setattr(Lane, "next", told_the_place)
    for one in asked:
        same(alone(ahead, one), expected[one.id])
    told = run(ahead, *asked)
    for one in asked:
        same(told[one.id], expected[one.id])
    alone_ = sum(one.tokens for one in expected.values())
    assert ahead.stats().steps < 1.8 * alone_, "nothing was computed ahead"


def test_free_text_costs_no_more_than_without(loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is drafted, no grammar is looked at, no token is read before a pass: each pass is the
    generator's own. Beside a call in the same batch too.
    """
    look = Grammars.known_tokens
    extra: list[str] = []

    def looked(*of: Any) -> list[int]:
        extra.append("looked")
        return look(*of)

    def was_read(*of: Any) -> int:
        extra.append("read")
        return last_token(*of)

    def drafted(*of: Any) -> list[list[int]]:
        drafts = expected_tokens(*of)
        extra.extend(["drafted"] * len(drafts))
        return drafts

    monkeypatch.setattr(Grammars, "known_tokens", looked)
    monkeypatch.setattr("engine.drafting.last_token", was_read)
    monkeypatch.setattr("engine.drafting.expected_tokens", drafted)
    texts = [request(f"t{n}", "x" * (3 + n), max_tokens=60, ignore_eos=True) for n in range(4)]
    call = request("call", "please", grammar=long_stretch(4), max_tokens=30)
    core, _ = pair(loaded, cache_ram=0)
    run(core, *texts)
    run(core, *texts, call)
    assert core.stats().peak_batch == 5
    assert extra == []
    run(core, call)
    assert set(extra) == {"looked", "read", "drafted"}, "nothing was counted"


def test_prompts_and_unannounced_rows_pass_through() -> None:
    seen: list[tuple[int, ...]] = []

    def network(inputs: mx.array, cache: Any = None) -> mx.array:
        seen.append(tuple(inputs.shape))
        return mx.zeros((*inputs.shape, 3))

    drafted = DraftedNetwork(network)
    assert drafted(mx.array([[1, 2, 3]]), cache=[]).shape == (1, 3, 3)
    assert drafted(mx.array([[1], [2]]), cache=[]).shape == (2, 1, 3)
    drafted.expect([Mock(drafter=None), Mock(drafter=None)])
    drafted(mx.array([[1], [2]]), cache=[])
    assert seen == [(1, 3), (2, 1), (2, 1)]
    assert not drafted.knows([])


def test_other_rows_than_announced_are_noticed() -> None:
    drafted = DraftedNetwork(lambda inputs, cache: mx.zeros((*inputs.shape, 3)))
    row = Mock(drafter=None)
    for inputs in ([[1, 2]], [[1], [2]]):
        drafted.expect([row])
        with pytest.raises(UnexpectedRows):
            drafted(mx.array(inputs), cache=[])


@pytest.mark.parametrize(("rows", "left", "width"), [(1, 400, 32), (4, 400, 31), (16, 400, 7), (2, 5, 5)])
def test_a_pass_is_bounded(rows: int, left: int, width: int) -> None:
    """By the tokens of a row, of all rows, and of what the first to end may still get."""
    drafter = Mock(draft=lambda drawn, most: range(500), worth_asking=lambda rows: True)
    every = [Mock(drafter=drafter, may_follow=left + n, row=Mock(drawn=None)) for n in range(rows)]
    assert {len(draft) for draft in expected_tokens(every, [])} == {width}
    every[-1].may_follow = -1
    assert expected_tokens(every, []) == []


class Counting:
    """A drafter that counts how often it is asked."""

    def __init__(self, likely: bool) -> None:
        self._likely = likely
        self.asked = 0

    def worth_asking(self, rows: int) -> bool:
        return rows <= 2 or self._likely

    def draft(self, drawn: int | None, most: int) -> Sequence[int]:
        self.asked += 1
        return [1, 2]


def test_one_row_that_expects_nothing_is_enough_to_ask_none() -> None:
    """No token is read then, for which the device would wait."""
    drafters = [Counting(likely=n != 3) for n in range(4)]
    rows = [Mock(drafter=drafter, may_follow=9, row=Mock(drawn=None)) for drafter in drafters]
    assert expected_tokens(rows, []) == []
    assert [drafter.asked for drafter in drafters] == [0] * 4
    assert expected_tokens(rows[:3], []) == [[1, 2]] * 3
    assert expected_tokens(rows[2:], []) == [[1, 2]] * 2
    assert [drafter.asked for drafter in drafters] == [1, 1, 2, 1]
