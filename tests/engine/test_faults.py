"""Preemption, and steps that raise: the engine goes on, and says what happened."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from engine.config import EngineConfig
from engine.constraints import Grammars
from engine.core import EngineCore
from engine.model import LoadedModel
from engine.runner import Runner
from engine.sampling import UnexpectedRows
from engine.step import Job
from engine.types import Failed, Priority, SamplingParams
from tests.engine.drive import Told, alone, collect, request, run


@pytest.fixture
def small_steps(loaded: LoadedModel) -> EngineCore:
    """Without a prefix cache: a prompt that comes twice is prefilled twice."""
    config = EngineConfig(model=loaded.info.path, prefill_step=32, prefill_step_min=32, cache_ram=0)
    return EngineCore(loaded, config)


def test_a_paused_prompt_goes_on_and_gets_the_same_text(small_steps: EngineCore) -> None:
    core = small_steps
    long = request("long", "l" * 300, max_tokens=12, temperature=1.0, seed=9, frequency_penalty=0.5)
    expected = alone(core, long).text
    told = {id: Told() for id in ("long", "short", "talk")}
    core.submit(request("talk", "t", max_tokens=60, ignore_eos=True))
    core.submit(long)
    for _ in range(3):
        collect(told, core.step())
    core.submit(request("short", "s" * 10, max_tokens=2))
    order: list[str] = []
    while core.busy:
        before = {id for id, one in told.items() if one.text}
        collect(told, core.step())
        order += [id for id, one in told.items() if one.text and id not in before]
    assert order.index("short") < order.index("long")
    assert told["long"].text == expected
    assert core.stats().cache_bytes == 0


def test_a_paused_prompt_can_be_aborted(small_steps: EngineCore) -> None:
    core = small_steps
    core.submit(request("long", "l" * 300, priority=Priority.background))
    core.step()
    core.submit(request("short", "s" * 40))
    core.step()
    assert core.stats().running == 2, "one prefilling, one paused"
    core.abort("long")
    core.abort("short")
    assert not core.busy
    assert (core.stats().cache_bytes, core.stats().running) == (0, 0)
    assert alone(core, request(max_tokens=2)).tokens == 2


def test_rows_in_another_order_than_expected_are_noticed_before_a_token_is_let_out(
    loaded: LoadedModel,
) -> None:
    """As if an upgrade had changed the generator's order: nothing wrong is shown, and it works on."""
    eos, vocab_size = loaded.info.eos_token_ids, loaded.info.vocab_size
    grammars = Grammars(loaded.tokenizer, vocab_size, eos)
    runner = Runner(loaded.network, eos, vocab_size, 4, grammars, loaded.lane_worth)
    jobs = [
        Job(
            id,
            tuple(id.encode()) * 20,
            8,
            SamplingParams(max_tokens=8, temperature=1.0, seed=n, ignore_eos=True),
        )
        for n, id in enumerate(("a", "b"))
    ]

    def serve() -> dict[str, list[int]]:
        tokens: dict[str, list[int]] = {job.id: [] for job in jobs}
        for job in jobs:
            runner.insert(job)
        while sum(map(len, tokens.values())) < 16:
            for sampled in runner.step(2, 64).sampled:
                tokens[sampled.id].append(sampled.token)
        return tokens

    expected = serve()
    for job in jobs:
        runner.insert(job)
    for _ in range(3):
        runner.step(2, 64)
    runner._lanes[0].decoding.reverse()
    with pytest.raises(UnexpectedRows):
        runner.step(2, 64)
    runner.reset()
    assert serve() == expected


class Flaky:
    """A network that raises at the calls it is told to; otherwise the real one."""

    def __init__(self, network: Any, *fail_at: int) -> None:
        self._network = network
        self._fail_at = fail_at
        self._calls = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self._calls += 1
        if self._calls in self._fail_at:
            raise RuntimeError("[malloc] out of memory")
        return self._network(*args, **kwargs)

    @property
    def layers(self) -> Any:
        return self._network.layers


def drain(core: EngineCore, told: dict[str, Told]) -> None:
    while core.busy:
        collect(told, core.step())


def test_requests_that_were_still_waiting_outlive_a_fault(loaded: LoadedModel) -> None:
    flaky = replace(loaded, network=Flaky(loaded.network, 4))
    core = EngineCore(flaky, EngineConfig(model=loaded.info.path, max_batch=1))
    told = {id: Told() for id in ("running", "waiting")}
    for id in told:
        core.submit(request(id, max_tokens=20, ignore_eos=True))
    with pytest.raises(RuntimeError, match="out of memory"):
        drain(core, told)
    collect(told, core.fail_all("a model step failed"))
    drain(core, told)
    assert isinstance(told["running"].end, Failed)
    assert told["waiting"].tokens == 20


@pytest.mark.parametrize("fail_at", range(1, 9))
def test_a_step_that_raises_fails_the_live_requests_and_the_engine_serves_on(
    loaded: LoadedModel, fail_at: int
) -> None:
    flaky = replace(loaded, network=Flaky(loaded.network, fail_at))
    core = EngineCore(flaky, EngineConfig(model=loaded.info.path, prefill_step=32, prefill_step_min=32))
    told = {id: Told() for id in ("a", "b")}
    core.submit(request("a", "a" * 70, max_tokens=20, ignore_eos=True))
    core.submit(request("b", "b", max_tokens=20, ignore_eos=True))
    with pytest.raises(RuntimeError, match="out of memory"):
        drain(core, told)
    collect(told, core.fail_all("a model step failed: out of memory"))
    drain(core, told)
    failed = [one.end for one in told.values() if isinstance(one.end, Failed)]
    assert failed
    assert all(end.code == "engine_fault" for end in failed)
    assert all(one.tokens == 20 for one in told.values() if one.end not in failed)
    stats = core.stats()
    assert (stats.faults, stats.running, stats.waiting, stats.cache_bytes) == (1, 0, 0, 0)
    again = run(core, request("a", "a" * 70, max_tokens=4, ignore_eos=True), request("b", "b", max_tokens=4))
    assert again["a"].tokens == 4
