"""What a step is said to have taken, from which the size of the next chunks follows."""

from __future__ import annotations

import time
from typing import Any

import pytest

from engine.constraints import Grammars
from engine.lane import Lane
from engine.model import LoadedModel
from engine.runner import Runner
from engine.scheduler import Limits, Pace, Scheduler
from engine.step import Job
from engine.types import Priority, SamplingParams
from tests.engine.calls import long_stretch
from tests.engine.test_scheduler import find, submit


def test_the_time_of_putting_a_prefix_together_is_no_time_of_the_step(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a clock that only letting newcomers in moves, by a minute each time."""
    eos, vocab_size = loaded.info.eos_token_ids, loaded.info.vocab_size
    grammars = Grammars(loaded.tokenizer, vocab_size, eos)
    runner = Runner(loaded.network, eos, vocab_size, 4, grammars, loaded.lane_worth)
    now, let_in = [0.0], runner._let_in

    def slowly() -> None:
        now[0] += 60.0
        let_in()

    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(runner, "_let_in", slowly)
    runner.insert(Job("a", tuple(range(1, 60)), 4, SamplingParams(max_tokens=4, ignore_eos=True)))
    steps = [runner.step(1, 32) for _ in range(4)]
    assert [step.seconds for step in steps] == [0.0] * 4
    assert now[0] == 240.0
    assert sum(step.prefilled for step in steps) >= 58


def test_known_tokens_keep_others_waiting_no_longer_than_a_step(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call and a text in lanes of their own, at a clock that moves a second with each step of a lane."""
    eos, vocab_size = loaded.info.eos_token_ids, loaded.info.vocab_size
    grammars = Grammars(loaded.tokenizer, vocab_size, eos)
    runner = Runner(loaded.network, eos, vocab_size, 4, grammars, lane_worth=0)
    now, go_on = [0.0], Lane.next

    def slowly(lane: Lane, shared: bool) -> tuple[list[Any], list[Any]]:
        now[0] += 1.0
        return go_on(lane, shared)

    def ahead() -> int:
        tokens = 0
        while found := runner.step_ahead():
            assert {one.id for one in found} == {"call"}
            tokens += len(found)
        return tokens

    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(Lane, "next", slowly)
    matcher = grammars.compile(long_stretch()).result()
    sampling = SamplingParams(max_tokens=90, ignore_eos=True)
    text = runner.insert(Job("text", (1, 2, 3), 90, sampling))
    while not runner.decoding:
        runner.step(1, 32)
    runner.insert(Job("call", (4, 5), 90, sampling, matcher=matcher))
    steps = [(len(runner.step(1, 32).sampled), ahead()) for _ in range(7)]
    assert steps[-3:] == [(2, 3)] * 3, "two lanes take two seconds, so that a third is too much"
    runner.remove(text)
    runner.step(1, 32)
    assert ahead() > 3


def test_where_a_chunk_costs_something_by_itself_the_share_is_still_used_up() -> None:
    """20 ms a chunk and 0.6 ms a token, 7.5 steps of 6.4 ms: 46 tokens fit. Chunks of whole thirty-twos made
    small ones look dear, so that they stayed at 32.
    """
    scheduler = Scheduler(Limits(4, 8, 256, 16, 7.5), Pace(prefill_token=0.0005, decode_step=0.0064))
    submit(scheduler, "other", "", Priority.interactive, 1, 400, 0.0)
    scheduler.plan(0.0)
    scheduler.progress(find(scheduler, "other"), 0)
    scheduler.plan(0.0)
    submit(scheduler, "long", "", Priority.interactive, 4096, 4, 0.0)
    left, chunks = 4096, []
    while left:
        plan = scheduler.plan(0.0)
        chunk = min(left, plan.prefill_step)
        left -= chunk
        chunks.append(chunk)
        scheduler.pace.observe(0.0064 + 0.02 + 0.0006 * chunk, 1, chunk)
        scheduler.progress(find(scheduler, "long"), left)
    later = chunks[20:-1]
    assert min(later) >= 40
    assert max(later) <= 48
