"""The prefix cache behind the core: what is reused, what is kept, and that nobody can tell from the text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import msgspec
import pytest

from engine import runner
from engine.config import EngineConfig
from engine.core import EngineCore
from engine.model import LoadedModel
from engine.tuning import CPU, DeviceTuning
from engine.types import Failed, Finished, FinishReason, GenerateRequest, Priority
from tests.engine.cache.test_layers import network
from tests.engine.drive import Told, alone, collect, request, run

SYSTEM = "You are the assistant of a long loop. " * 6


class Engines:
    """Cores of one model, closed at the end."""

    def __init__(self, loaded: LoadedModel, kind: str) -> None:
        self.kind = kind
        self._loaded = replace(loaded, network=network(kind, loaded))
        self.cores: list[EngineCore] = []

    def tune(self, tuning: DeviceTuning) -> None:
        """Cores that are made from now on are those of another device."""
        self._loaded = replace(self._loaded, tuning=tuning)

    def make(self, **config: Any) -> EngineCore:
        settings = {"prefill_step": 32, "prefill_step_min": 32, **config}
        self.cores.append(EngineCore(self._loaded, EngineConfig(model=self._loaded.info.path, **settings)))
        return self.cores[-1]


@pytest.fixture(params=["plain", "window", "hybrid"])
def engines(request: pytest.FixtureRequest, loaded: LoadedModel) -> Iterator[Engines]:
    engines = Engines(loaded, request.param)
    yield engines
    for core in engines.cores:
        core.close()


@pytest.fixture
def plain(loaded: LoadedModel) -> Iterator[Engines]:
    engines = Engines(loaded, "plain")
    yield engines
    for core in engines.cores:
        core.close()


def end_of(told: Told) -> Finished:
    assert isinstance(told.end, Finished), told.end
    return told.end


def next_prompt(before: GenerateRequest, told: Told, words: str) -> tuple[int, ...]:
    """The conversation with the answer in it, as an agent sends it back."""
    return before.prompt + end_of(told).completion + tuple(words.encode())


def loop(core: EngineCore, turns: int = 5, **sampling: Any) -> list[Told]:
    """An agent loop in which every prompt goes on from the last."""
    prompt = tuple(SYSTEM.encode())
    told = []
    for turn in range(turns):
        asked = request(f"t{turn}", prompt, max_tokens=8, ignore_eos=True, session="s", **sampling)
        told.append(alone(core, asked))
        prompt = next_prompt(asked, told[-1], f" result {turn};")
    return told


def test_a_turn_prefills_its_new_tokens_and_nothing_else(engines: Engines) -> None:
    core = engines.make()
    told = loop(core)
    for turn, one in enumerate(told[1:], 1):
        end = end_of(one)
        assert end.prompt_tokens - end.cached_tokens == len(f" result {turn - 1};")
        assert (end.cache.tier, end.cache.cause, end.cache.reused) == ("ram", "none", end.cached_tokens)
    assert core.stats().prefilled_tokens < end_of(told[-1]).prompt_tokens


@pytest.mark.parametrize(
    "sampling", [{}, {"temperature": 1.0, "seed": 3, "repetition_penalty": 1.2, "frequency_penalty": 0.3}]
)
def test_the_text_is_the_same_with_and_without(engines: Engines, sampling: dict[str, Any]) -> None:
    with_cache = loop(engines.make(), logprobs=2, **sampling)
    without = loop(engines.make(cache_ram=0), logprobs=2, **sampling)
    assert [end_of(one).cached_tokens for one in without] == [0] * 5
    for one, other in zip(with_cache, without, strict=True):
        assert end_of(one).completion == end_of(other).completion
        pairs = zip(logprobs(one), logprobs(other), strict=True)
        assert max(abs(a - b) for a, b in pairs) < 1e-4


def logprobs(told: Told) -> list[float]:
    return [one.chosen.logprob for chunk in told.chunks for one in chunk.logprobs]


def test_the_same_prompt_again_runs_one_token(plain: Engines) -> None:
    core = plain.make()
    first = alone(core, request("a", SYSTEM, ignore_eos=True))
    again = alone(core, request("b", SYSTEM, ignore_eos=True))
    assert end_of(again).cached_tokens == len(SYSTEM) - 1
    assert again.text == first.text


def test_many_at_once_go_on_from_one_beginning(engines: Engines) -> None:
    """Prompts in one batch with and without a beginning in the cache; each gets the text it gets alone."""
    asked = [request(f"r{n}", SYSTEM + "x" * n * 3, max_tokens=6, ignore_eos=True) for n in range(5)]
    asked.append(request("other", "o" * 100, max_tokens=6, ignore_eos=True))
    bare = engines.make(cache_ram=0)
    expected = {one.id: alone(bare, one).text for one in asked}
    core = engines.make()
    for _ in range(2):
        alone(core, request("first", SYSTEM + "#", max_tokens=1))
    told = run(core, *asked)
    assert {id: one.text for id, one in told.items()} == expected
    if engines.kind == "plain":
        assert [end_of(told[f"r{n}"]).cached_tokens for n in range(1, 5)] == [len(SYSTEM)] * 4


def test_found_on_disk_by_the_next_process(engines: Engines, tmp_path: Path) -> None:
    first = engines.make(cache_dir=str(tmp_path))
    asked = request("a", SYSTEM, max_tokens=8, ignore_eos=True)
    told = alone(first, asked)
    first.close()
    second = engines.make(cache_dir=str(tmp_path))
    prompt = next_prompt(asked, told, " and then?")
    again = alone(second, request("b", prompt, max_tokens=8, ignore_eos=True))
    assert end_of(again).cache.tier == "disk"
    assert end_of(again).cached_tokens == len(prompt) - len(" and then?")
    bare = alone(engines.make(cache_ram=0), request("b", prompt, max_tokens=8, ignore_eos=True))
    assert again.text == bare.text


def test_what_was_computed_before_an_abort_is_kept(engines: Engines) -> None:
    core = engines.make()
    core.submit(request("a", SYSTEM))
    for _ in range(4):
        core.step()
    core.abort("a")
    told = alone(core, request("b", SYSTEM, max_tokens=2))
    assert end_of(told).cached_tokens >= 96
    core.submit(request("c", SYSTEM + "c" * 40, max_tokens=50, ignore_eos=True))
    for _ in range(12):
        core.step()
    core.abort("c")
    again = end_of(alone(core, request("d", SYSTEM + "c" * 40 + "!", max_tokens=2)))
    assert again.cached_tokens >= (len(SYSTEM) + 39 if engines.kind == "plain" else 0)


def test_what_is_ephemeral_is_not_kept(plain: Engines) -> None:
    core = plain.make()
    alone(core, request("a", SYSTEM, max_tokens=2))
    alone(core, request("b", SYSTEM + "a hidden attempt", max_tokens=2, ephemeral=True))
    told = alone(core, request("c", SYSTEM + "a hidden attempt", max_tokens=2))
    assert end_of(told).cached_tokens in (len(SYSTEM), len(SYSTEM) + 1)


def test_a_prompt_can_be_prefilled_while_nobody_waits(engines: Engines) -> None:
    core = engines.make()
    told = alone(core, request("p", SYSTEM, prefill_only=True, priority=Priority.background))
    assert (told.text, told.tokens) == ("", 0)
    assert end_of(alone(core, request("q", SYSTEM, prefill_only=True))).cached_tokens == len(SYSTEM) - 1
    asked = end_of(alone(core, request("a", SYSTEM + "!", max_tokens=2)))
    assert asked.cached_tokens >= len(SYSTEM) - 1


def test_a_request_takes_over_a_prefill_under_way(engines: Engines) -> None:
    core = engines.make()
    told = {id: Told() for id in ("p", "a")}
    core.submit(request("p", SYSTEM, prefill_only=True, priority=Priority.background))
    for _ in range(4):
        collect(told, core.step())
    core.submit(request("a", SYSTEM + "!", max_tokens=2))
    while core.busy:
        collect(told, core.step())
    assert told["p"].tokens == 0
    assert end_of(told["a"]).cached_tokens >= 96
    assert core.stats().prefilled_tokens <= len(SYSTEM) + 1


def test_conversations_that_share_a_system_prompt(engines: Engines) -> None:
    """A model whose state cannot be cut keeps one where they part: the third conversation finds it."""
    core = engines.make()
    for id in ("a", "b"):
        alone(core, request(id, SYSTEM + id * 20, max_tokens=2))
    third = end_of(alone(core, request("c", SYSTEM + "c" * 20, max_tokens=2)))
    assert third.cached_tokens == len(SYSTEM)
    marked = end_of(alone(core, request("d", "another " * 20 + "d", max_tokens=2, marks=(160,))))
    assert marked.cached_tokens == 0
    assert end_of(alone(core, request("e", "another " * 20 + "e", max_tokens=2))).cached_tokens == 160


def test_a_changed_history_is_told_with_the_text_around_it(plain: Engines) -> None:
    core = plain.make()
    asked = request("a", SYSTEM + "the date is monday, do it", max_tokens=2, session="s")
    alone(core, asked)
    changed = request("b", SYSTEM + "the date is friday, do it", max_tokens=2, session="s")
    report = end_of(alone(core, changed)).cache
    assert (report.cause, report.at) == ("foreign-edit", len(SYSTEM + "the date is "))
    assert "monday" in report.was
    assert "friday" in report.now


def test_sessions_are_listed_pinned_and_dropped(plain: Engines) -> None:
    core = plain.make()
    loop(core, turns=3)
    (session,) = core.reuse.listed()
    assert (session.id, session.turns, session.branches, session.pinned) == ("s", 3, 1, False)
    assert session.ram_bytes > 0
    assert session.reused_tokens > session.prompt_tokens / 2
    assert core.reuse.handle("pin", "s")
    assert core.reuse.listed()[0].pinned
    assert core.reuse.handle("drop", "s")
    assert not core.reuse.handle("drop", "s")
    assert core.stats().cache.ram_bytes == 0


def test_what_a_request_starts_from_is_in_memory_once(plain: Engines) -> None:
    core = plain.make()
    first = request("first", SYSTEM, max_tokens=8, ignore_eos=True)
    prompt = next_prompt(first, alone(core, first), " and then?")
    core.rest()
    before = mx.get_active_memory()
    core.submit(request("second", prompt, max_tokens=8, ignore_eos=True))
    for _ in range(3):
        core.step()
    held = core.stats().cache_bytes
    assert held > len(SYSTEM) * 512
    assert mx.get_active_memory() - before < 1.5 * held


def test_a_step_that_fails_leaves_a_cache_that_can_be_trusted(plain: Engines) -> None:
    core = plain.make()
    alone(core, request("a", SYSTEM, max_tokens=4, ignore_eos=True))
    core.submit(request("b", SYSTEM + "more", max_tokens=4))
    core.step()
    assert [type(event) for event in core.fail_all("boom")] == [Failed]
    told = alone(core, request("c", SYSTEM + "more", max_tokens=4, ignore_eos=True))
    bare = alone(plain.make(cache_ram=0), request("c", SYSTEM + "more", max_tokens=4, ignore_eos=True))
    assert told.text == bare.text


def test_more_than_the_budget_is_never_held(plain: Engines) -> None:
    core = plain.make(cache_ram=300 * 512)
    for n in range(6):
        alone(core, request(f"r{n}", chr(65 + n) * 150, max_tokens=4))
        stats = core.stats().cache
        assert stats.ram_bytes <= 300 * 512
    assert stats.evicted > 0
    assert mx.get_active_memory() < 2**28


@pytest.fixture
def slow(engines: Engines, monkeypatch: pytest.MonkeyPatch) -> Engines:
    """What a newcomer has in the cache is put together when nobody decodes: there is a break till then."""
    engines.tune(replace(CPU, breaks=1e6))
    monkeypatch.setattr(runner, "JOIN_SHARE", 0.0)
    return engines


def known_and_stream(core: EngineCore) -> GenerateRequest:
    """A prompt of which most is known, and has to be copied; meanwhile a stream decodes."""
    first = request("first", SYSTEM, max_tokens=8, ignore_eos=True)
    prompt = next_prompt(first, alone(core, first), " and then?")
    for segment in list(core.reuse.cache.ram.buffered.values()):
        core.reuse.cache.ram.take_buffers(segment)
    core.submit(request("stream", "abc", max_tokens=24, ignore_eos=True))
    for _ in range(4):
        core.step()
    return request("newcomer", prompt, max_tokens=8, ignore_eos=True)


def test_a_prefix_is_put_together_between_the_steps_of_others(slow: Engines) -> None:
    fresh, core = slow.make(cache_ram=0), slow.make()
    newcomer = known_and_stream(core)
    core.submit(newcomer)
    told = {id: Told() for id in ("stream", "newcomer")}
    while core.busy:
        before = told["stream"].end
        collect(told, core.step())
        assert before is not None or not told["newcomer"].text, "a copy within a step of the stream"
    assert end_of(told["stream"]).reason is FinishReason.length
    assert end_of(told["newcomer"]).cached_tokens >= len(SYSTEM)
    expected = alone(fresh, msgspec.structs.replace(newcomer, id="again"))
    assert told["newcomer"].text == expected.text


def test_who_is_aborted_before_the_copy_is_done_leaves_nothing(slow: Engines) -> None:
    core = slow.make()
    newcomer = known_and_stream(core)
    core.submit(newcomer)
    for _ in range(3):
        core.step()
    core.abort("newcomer")
    told = {"stream": Told()}
    while core.busy:
        collect(told, core.step())
    assert end_of(told["stream"]).reason is FinishReason.length
    assert core.stats().running == 0
    again = alone(core, msgspec.structs.replace(newcomer, id="again"))
    assert end_of(again).cached_tokens >= len(SYSTEM)


def test_what_aborted_requests_leave_is_all_that_is_held(plain: Engines) -> None:
    """Where what they computed was known, nothing had evaluated the last one's buffers: they held on to those
    of the whole batch, which nobody counted.
    """
    core = plain.make()

    def uncounted() -> int:
        for n in range(8):
            core.submit(request(f"r{n}", chr(65 + n) * 150, max_tokens=60, ignore_eos=True))
        while min(one.tokens for one in core._sequences.values()) < 30:
            core.step()
        for n in range(8):
            core.abort(f"r{n}")
        while core.rest():
            pass
        mx.synchronize()
        assert core.reuse.cache.ram.buffered, "the last one leaves its buffers"
        return int(mx.get_active_memory()) - core.reuse.nbytes

    before = uncounted()
    assert uncounted() - before < 2**16
