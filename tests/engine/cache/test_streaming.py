"""Conversations larger than RAM: what it has no room for comes from the disk, or what fits is used."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest

from engine.cache.layers import Kept
from engine.cache.radix import as_tokens
from engine.model import LoadedModel
from tests.engine.cache.computing import PER_TOKEN, Bench, conversation, made, text, written
from tests.engine.cache.test_engine import SYSTEM, Engines, end_of, loop, next_prompt
from tests.engine.cache.test_sessions import Desk
from tests.engine.drive import Told, alone, collect, request

TURNS = 8


@pytest.fixture
def plain(loaded: LoadedModel) -> Iterator[Bench]:
    bench = Bench(loaded.network)
    yield bench
    for cache in bench.caches:
        cache.close()


@pytest.mark.parametrize("in_time", [True, False], ids=["written", "pending"])
def test_a_conversation_that_outgrew_ram_comes_back_from_disk(
    bench: Bench, tmp_path: Path, in_time: bool
) -> None:
    turns = conversation(1, TURNS)
    cache = bench.open(tmp_path, ram=bench.size(turns[2]) + 100)
    reused = []
    for turn in turns:
        reused.append(bench.turn(cache, turn).length)
        assert cache.ram.used <= cache.ram.budget
        if in_time:
            written(cache)
    assert reused == [0, *(len(turn) for turn in turns[:-1])]


def test_a_prompt_larger_than_ram_comes_back_from_disk(bench: Bench, tmp_path: Path) -> None:
    prompt = text(2, 300)
    cache = bench.open(tmp_path, ram=1000)
    bench.turn(cache, prompt)
    written(cache)
    taken = bench.turn(cache, [*prompt, 1, 2])
    assert (taken.length, taken.tier, cache.ram.used) == (300, "disk", 0)


def test_what_is_on_disk_is_not_kept_again_each_turn(
    plain: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = conversation(3, TURNS)
    cache = plain.open(tmp_path, ram=plain.size(turns[1]) + 100)
    computed: list[tuple[int, int]] = []
    add = cache._settler.add

    def noted(segment: Any, kept: Kept) -> None:
        computed.append((kept.start, kept.end))
        add(segment, kept)

    monkeypatch.setattr(cache._settler, "add", noted)
    for turn in turns:
        plain.turn(cache, turn)
        written(cache)
    assert len(computed) == len(set(computed)) == TURNS


def test_without_a_disk_ram_keeps_what_fits_and_the_cause_is_ram(plain: Bench) -> None:
    desk = Desk(plain, ram=150 * PER_TOKEN + 100)
    prompt = text(4, 400)
    assert desk.turn("a", prompt).cause == "cold"
    for more in (410, 440):
        reason = desk.turn("a", [*prompt, *text(5, more - 400)])
        assert (reason.cause, reason.at) == ("ram", 150)
    assert desk.cache.ram.used <= desk.cache.ram.budget


def test_streaming_takes_the_memory_of_one_segment_more(plain: Bench, tmp_path: Path) -> None:
    turns = [text(6, 400 * (turn + 1)) for turn in range(TURNS)]
    cache = plain.open(tmp_path, ram=400 * PER_TOKEN + 100)
    caches, _ = plain.compute(turns[-1])
    for turn in turns:
        cache.keep(turn, caches)
        cache.settle()
        written(cache)
    del caches
    taken = plain.take(cache, [*turns[-1], 1])
    mx.clear_cache()
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    _, length = made(taken)
    assert length == len(turns[-1])
    room = 260 + 32  # for an answer, and what the buffers of the layers differ by
    assert mx.get_peak_memory() - before <= (length + room + 400 + 100) * PER_TOKEN


def streamed(bench: Bench, folder: Path) -> tuple[Any, list[int]]:
    """A cache that has to stream the last 90 of 180 tokens, and a prompt that goes on."""
    turns = conversation(7, 4)
    cache = bench.open(folder, ram=bench.size(turns[0]) + 100)
    for turn in turns:
        bench.turn(cache, turn)
        written(cache)
    return cache, [*turns[-1], 1, 2]


def test_damage_on_the_way_shortens_what_is_reused(bench: Bench, tmp_path: Path) -> None:
    cache, prompt = streamed(bench, tmp_path)
    taken = bench.take(cache, prompt)
    assert taken.length == 180
    pieces = cache.radix.match(as_tokens(prompt), len(prompt)).pieces
    cache.archive.folder.remove(pieces[2].segment.name)
    caches, length = made(taken)
    assert length in ((120,) if cache.layout.sliceable else (0, 90))
    if caches:
        logits = bench.model(mx.array([prompt[length:]]), cache=caches)
        _, other = bench.compute(prompt)
        assert mx.allclose(logits[0, -1], mx.array(other), atol=1e-4)
    cache.tick()
    assert bench.turn(cache, prompt).length <= 120


def test_a_disk_that_is_too_slow_is_not_waited_for(
    plain: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, prompt = streamed(plain, tmp_path)
    goes_on = threading.Event()
    load: Callable[..., Kept | None] = cache.archive._load

    def slow(name: bytes, whole: bool) -> Kept | None:
        goes_on.wait(30)
        return load(name, whole)

    monkeypatch.setattr(cache.archive, "_load", slow)
    waiting = cache.look(as_tokens(prompt), lambda _: 0.05)
    taken = cache.take(waiting)
    assert taken.length == 180
    *_, last = taken.join()
    goes_on.set()
    assert (last.length, last.late) == (90, True)
    short = cache.fell_short(taken, last.length, last.late)
    assert (short.length, short.late, cache.counts.late) == (90, True, 1)


def test_a_loop_that_outgrew_ram_computes_its_new_tokens_only(engines: Engines, tmp_path: Path) -> None:
    core = engines.make(cache_ram=260 * PER_TOKEN, cache_dir=str(tmp_path))
    told = loop(core, TURNS)
    fresh = loop(engines.make(cache_ram=0), TURNS)
    for turn, (one, other) in enumerate(zip(told, fresh, strict=True)):
        end = end_of(one)
        assert end.completion == end_of(other).completion
        if turn:
            assert end.prompt_tokens - end.cached_tokens == len(f" result {turn - 1};")
            assert end.cache.cause == "none"
    assert end_of(told[-1]).cache.tier == "disk"
    assert core.stats().cache.ram_bytes <= 260 * PER_TOKEN


def test_others_decode_on_while_a_conversation_is_streamed(engines: Engines, tmp_path: Path) -> None:
    core = engines.make(cache_ram=100 * PER_TOKEN, cache_dir=str(tmp_path))
    first = request("first", SYSTEM, max_tokens=8, ignore_eos=True)
    prompt = next_prompt(first, alone(core, first), " and then?")
    told = {id: Told() for id in ("stream", "newcomer")}
    core.submit(request("stream", "abc", max_tokens=200, ignore_eos=True))
    for _ in range(4):
        collect(told, core.step())
    core.submit(request("newcomer", prompt, max_tokens=8, ignore_eos=True))
    while core.busy:
        collect(told, core.step())
    assert end_of(told["newcomer"]).cached_tokens == len(prompt) - len(" and then?")
    bare = alone(engines.make(cache_ram=0), request("b", prompt, max_tokens=8, ignore_eos=True))
    assert told["newcomer"].text == bare.text
    assert told["stream"].tokens == 200


def test_what_the_disk_lost_is_computed_and_told(
    loaded: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engines = Engines(loaded, "plain")
    core = engines.make(cache_ram=120 * PER_TOKEN, cache_dir=str(tmp_path))
    first = request("first", SYSTEM, max_tokens=8, ignore_eos=True, session="s")
    prompt = next_prompt(first, alone(core, first), " and then?")
    archive = core.reuse.cache.archive
    assert archive is not None
    core.rest()
    assert archive.flush(30.0)
    core.rest()
    assert not archive.pending
    monkeypatch.setattr(archive, "_load", lambda name, whole: None)
    again = alone(core, request("again", prompt, max_tokens=8, ignore_eos=True, session="s"))
    bare = alone(engines.make(cache_ram=0), request("b", prompt, max_tokens=8, ignore_eos=True))
    report = end_of(again).cache
    assert again.text == bare.text
    assert (report.cause, report.reused, report.tier) == ("ram", 0, "none")
    assert end_of(again).cached_tokens == 0
    for one in engines.cores:
        one.close()
