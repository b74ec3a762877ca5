"""What a step is said to have taken, from which the size of the next chunks follows."""

from __future__ import annotations

import time

import pytest

from engine.constraints import Grammars
from engine.model import LoadedModel
from engine.runner import Job, Runner
from engine.types import SamplingParams


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
