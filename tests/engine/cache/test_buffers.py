"""The next turn writes into the buffers of the last one, and nobody can tell from the text."""

from __future__ import annotations

import mlx.core as mx
import pytest

from engine.cache.manager import LEAST_AHEAD
from engine.core import EngineCore
from engine.model import LoadedModel
from engine.types import GenerateRequest, Priority
from tests.engine.cache.test_engine import SYSTEM, Engines, end_of, loop, next_prompt
from tests.engine.cache.test_parts import buffers
from tests.engine.drive import Told, alone, collect, request, run

on_host = pytest.mark.skipif(
    mx.default_device().type != mx.DeviceType.cpu, reason="addresses are those of the host"
)


def turn(core: EngineCore, asked: GenerateRequest) -> tuple[Told, list[int]]:
    """What is answered, and where the keys of each layer were in memory when the answer began."""
    told = {asked.id: Told()}
    core.submit(asked)
    places: list[int] = []
    while core.busy:
        collect(told, core.step())
        if not places and told[asked.id].text:
            places = [address for address, _ in buffers(core, asked.id)]
    return told[asked.id], places


def asked(prompt: str | tuple[int, ...], id: str = "r", **more: object) -> GenerateRequest:
    return request(id, prompt, **{"max_tokens": 8, "ignore_eos": True, "session": "s", **more})


def fresh(engines: Engines, one: GenerateRequest) -> str:
    return alone(engines.make(cache_ram=0), one).text


def kept(core: EngineCore) -> list[int]:
    """How many tokens each sequence has whose buffers are kept."""
    return [segment.end for segment in core.reuse.cache.ram.buffered.values()]


@on_host
def test_the_next_turn_writes_where_the_last_one_did(core: EngineCore) -> None:
    first = asked(SYSTEM)
    told, before = turn(core, first)
    assert kept(core) == [len(SYSTEM) + 8]
    second = asked(next_prompt(first, told, " go on"))
    told, after = turn(core, second)
    assert len(before) == len(after) > 0
    assert before == after
    assert end_of(told).cached_tokens == end_of(told).prompt_tokens - len(" go on")


@on_host
def test_what_is_computed_ahead_is_written_there_too(core: EngineCore) -> None:
    first = asked(SYSTEM[:200])
    told, before = turn(core, first)
    prompt = next_prompt(first, told, "x" * (LEAST_AHEAD + 1))
    alone(core, asked(prompt, prefill_only=True, priority=Priority.background))
    assert kept(core) == [len(prompt) - 1]
    few = asked((*prompt, 1, 2), prefill_only=True, priority=Priority.background)
    alone(core, few)  # not worth computing ahead
    assert kept(core) == [len(prompt) - 1]
    _, after = turn(core, asked((*prompt, 1, 2)))
    assert before == after


def test_each_turn_of_a_loop_finds_and_leaves_buffers(engines: Engines) -> None:
    core = engines.make()
    texts = [one.text for one in loop(core)]
    assert texts == [one.text for one in loop(engines.make(cache_ram=0))]
    held = core.reuse.cache.ram
    assert (len(held.buffered), held.dropped) == (1, 0)
    (segment,) = held.buffered.values()
    assert held.used == sum(one.nbytes for one in held.held.values()) + segment.buffer_bytes
    assert segment.buffer_bytes >= sum(one.nbytes for one in held.held.values()) // 2
    assert core.reuse.handle("drop", "s")
    assert (kept(core), core.stats().cache.ram_bytes) == ([], 0)


def test_two_at_once_on_one_prefix(engines: Engines) -> None:
    core = engines.make()
    first = asked(SYSTEM)
    told = alone(core, first)
    both = [asked(next_prompt(first, told, f" {n}, and so on"), f"r{n}") for n in range(2)]
    answers = run(core, *both)
    assert {id: one.text for id, one in answers.items()} == {one.id: fresh(engines, one) for one in both}
    again = [asked(next_prompt(one, answers[one.id], " more"), one.id) for one in both]
    for one in again:
        assert alone(core, one).text == fresh(engines, one)


def test_who_diverges_gets_a_copy_and_leaves_the_buffers_to_the_others(engines: Engines) -> None:
    core = engines.make()
    first = asked(SYSTEM)
    told = alone(core, first)
    before = kept(core)
    other = asked(SYSTEM + " another question", session="t")
    assert alone(core, other).text == fresh(engines, other)
    assert kept(core)[:1] == before
    second = asked(next_prompt(first, told, " go on"))
    assert alone(core, second).text == fresh(engines, second)
    assert before[0] not in kept(core)


def test_who_writes_the_last_answer_otherwise_leaves_none_behind(core: EngineCore) -> None:
    """No turn of its session goes on there; and one such turn after the other had filled the memory. Both
    where the new turn leaves the path at the end of a segment, and within one.
    """
    prompt: str | tuple[int, ...] = SYSTEM
    for turn in range(4):
        told = alone(core, asked(prompt))
        assert len(kept(core)) == 1
        whole = next_prompt(asked(prompt), told, "")
        prompt = (*whole[: -turn - 1], *f"{turn} was said, or something like it. Go on".encode())


@pytest.mark.parametrize("steps", [1, 4, 9, 12])
def test_who_goes_away_leaves_what_the_next_can_use(engines: Engines, steps: int) -> None:
    core = engines.make()
    first = asked(SYSTEM)
    told = alone(core, first)
    second = asked(next_prompt(first, told, " a long result, of several chunks" * 4))
    core.submit(second)
    for _ in range(steps):
        core.step()
    core.abort(second.id)
    assert len(kept(core)) <= 2
    for _ in range(2):
        assert alone(core, second).text == fresh(engines, second)


def test_a_step_that_fails_leaves_no_buffers(engines: Engines) -> None:
    core = engines.make()
    first = asked(SYSTEM)
    second = asked(next_prompt(first, alone(core, first), " go on"))
    core.submit(second)
    core.step()
    core.fail_all("boom")
    assert kept(core) == []
    assert alone(core, second).text == fresh(engines, second)


def test_a_hidden_attempt_leaves_none(core: EngineCore) -> None:
    alone(core, asked(SYSTEM, ephemeral=True))
    assert kept(core) == []


def test_they_are_the_first_to_go(loaded: LoadedModel) -> None:
    """A budget for two conversations, one of them twice."""
    engines = Engines(loaded, "plain")
    core = engines.make(cache_ram=1100 * 512)
    for n in range(3):
        alone(core, asked(chr(65 + n) * 200, session=str(n), max_tokens=4))
        stats = core.stats().cache
        assert stats.ram_bytes <= 1100 * 512
    assert (stats.evicted, len(kept(core))) == (0, 1)
    prompts = [asked(chr(65 + n) * 200 + "!", session=str(n), max_tokens=4) for n in range(3)]
    for one in prompts:
        told = alone(core, one)
        assert end_of(told).cached_tokens == 200
        assert told.text == fresh(engines, one)
        assert core.stats().cache.ram_bytes <= 1100 * 512
    for core in engines.cores:
        core.close()
