"""Look, take, keep: with the tiny model's caches, RAM that is too small, and a disk."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import pytest

from engine.cache.archive import Loaded
from engine.cache.radix import as_tokens
from tests.engine.cache.computing import PER_TOKEN, Bench, conversation, text, written


def test_a_turn_pays_for_its_new_tokens_only(bench: Bench) -> None:
    cache = bench.open()
    lengths = [bench.turn(cache, prompt).length for prompt in conversation(1, 6)]
    assert lengths == [0, 90, 120, 150, 180, 210]
    assert cache.counts.reused_tokens == sum(lengths)


def test_an_exact_hit_leaves_a_token_to_run(bench: Bench) -> None:
    cache = bench.open()
    prompt = text(2, 100)
    bench.turn(cache, prompt)
    again = bench.turn(cache, prompt)
    assert again.length == (99 if cache.layout.sliceable else 0)
    assert again.known == 100


def test_where_conversations_part_both_are_found(bench: Bench) -> None:
    cache = bench.open()
    system = text(3, 100)
    first, second, third = (system + text(seed, 40) for seed in (4, 5, 6))
    bench.turn(cache, first)
    taken = bench.turn(cache, second)
    if cache.layout.sliceable:
        assert (taken.length, taken.forks) == (100, ())
        return
    assert (taken.length, taken.known, taken.forks) == (0, 100, (100,))
    cache.keep(second[:100], bench.compute(second[:100])[0])
    assert bench.turn(cache, third).length == 100
    assert bench.turn(cache, [*first, 7, 8]).length == len(first)


def test_found_again_by_the_next_process(bench: Bench, tmp_path: Path) -> None:
    prompts = conversation(7, 4)
    cache = bench.open(tmp_path)
    for prompt in prompts[:3]:
        bench.turn(cache, prompt)
    cache.close()
    cache = bench.open(tmp_path)
    taken = bench.turn(cache, prompts[3])
    assert (taken.length, taken.tier) == (150, "disk")
    assert bench.turn(cache, [*prompts[3], 1]).tier == "ram"


def test_another_model_finds_nothing(bench: Bench, tmp_path: Path) -> None:
    prompt = text(8, 100)
    cache = bench.open(tmp_path)
    bench.turn(cache, prompt)
    cache.close()
    cache = bench.open(tmp_path, fingerprint="another")
    assert bench.turn(cache, [*prompt, 1]).length == 0
    assert len(cache.foreign) == 1


def test_more_conversations_than_ram_are_reused_from_the_disk(bench: Bench, tmp_path: Path) -> None:
    """Eight in turn, four times what fits."""
    sessions = [conversation(seed, 4) for seed in range(20, 28)]
    cache = bench.open(tmp_path, ram=2 * bench.size(sessions[0][-1]))
    reused = reusable = 0
    for turn in range(4):
        for session in sessions:
            reused += bench.turn(cache, session[turn]).length
            reusable += len(session[turn - 1]) if turn else 0
            assert cache.ram.used <= cache.ram.budget
            written(cache)
    assert reused >= 0.95 * reusable
    assert cache.ram.evictions > 0


def test_what_was_written_is_read_though_it_has_not_reached_the_disk(bench: Bench, tmp_path: Path) -> None:
    first, second = text(30, 140), text(31, 140)
    cache = bench.open(tmp_path, ram=int(1.2 * bench.size(first)))
    bench.turn(cache, first)
    bench.turn(cache, second)
    assert bench.turn(cache, [*first, 1]).length == 140


def test_without_a_disk_what_is_evicted_is_forgotten(bench: Bench) -> None:
    first, second = text(32, 140), text(33, 140)
    cache = bench.open(ram=int(1.2 * bench.size(first)))
    bench.turn(cache, first)
    bench.turn(cache, second)
    assert bench.turn(cache, [*first, 1]).length == 0
    assert sum(segment.nbytes for segment in cache.radix.segments.values()) == cache.ram.used


def test_what_is_evicted_goes_before_the_newcomer_is_computed(bench: Bench) -> None:
    """Else both, and the sequence that the newcomer is cut from, were in memory at once."""
    prompt = text(31, 200)
    cache = bench.open(ram=bench.size(prompt) + 1000)
    bench.turn(cache, prompt)
    (first,) = cache.ram.held.values()
    other = text(32, 200)
    cache.keep(other, bench.compute(other)[0])
    assert first.kept is None
    assert cache.ram.used <= cache.ram.budget
    assert bench.turn(cache, [*other, 1, 2, 3]).length == 200


def test_one_that_is_evicted_before_it_is_computed_comes_to_the_disk(bench: Bench, tmp_path: Path) -> None:
    prompt, other = text(33, 200), text(34, 200)
    cache = bench.open(tmp_path, ram=bench.size(prompt) + 1000)
    cache.keep(prompt, bench.compute(prompt)[0])
    cache.keep(other, bench.compute(other)[0])
    cache.settle()
    written(cache)
    assert bench.turn(cache, [*prompt, 1, 2, 3]).length == 200
    assert bench.turn(cache, [*other, 1, 2, 3]).length == 200


def test_one_that_does_not_fit_into_ram_is_not_kept_there(bench: Bench, tmp_path: Path) -> None:
    cache = bench.open(tmp_path, ram=1000)
    bench.turn(cache, text(34, 140))
    assert cache.ram.used == 0
    assert cache.counts.refused > 0
    bench.turn(cache, [*text(34, 140), 1])


def test_damage_on_disk_is_a_miss_and_is_mended(bench: Bench, tmp_path: Path) -> None:
    prompt = text(35, 140)
    cache = bench.open(tmp_path)
    bench.turn(cache, prompt)
    cache.close()
    for file in tmp_path.rglob("*.val"):
        data = bytearray(file.read_bytes())
        data[-5] ^= 4
        file.write_bytes(data)
    cache = bench.open(tmp_path)
    assert bench.turn(cache, [*prompt, 1]).length == 0
    assert cache.archive is not None
    assert cache.archive.folder.counts.damaged == 1
    assert bench.turn(cache, [*prompt, 1, 2]).length == 141
    cache.close()
    assert bench.turn(bench.open(tmp_path), [*prompt, 1, 2, 3]).length == 142


def test_a_request_does_not_wait_for_ever(bench: Bench, tmp_path: Path) -> None:
    prompt = text(36, 140)
    cache = bench.open(tmp_path)
    bench.turn(cache, prompt)
    cache.close()
    cache = bench.open(tmp_path)
    waiting = cache.look(as_tokens([*prompt, 1]), lambda tokens: -tokens / 1000)
    assert waiting.reusable == 140
    assert not cache.waits(waiting)
    assert cache.take(waiting).late
    written(cache)


def test_a_disk_that_fails_at_something_is_a_miss_and_nobody_waits(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt = text(39, 140)
    cache = bench.open(tmp_path)
    bench.turn(cache, prompt)
    cache.close()

    def broken(*_: Any) -> Any:
        raise RuntimeError("a file of another kind")

    monkeypatch.setattr("engine.cache.archive.decode", broken)
    monkeypatch.setattr("engine.cache.archive.encode", broken)
    cache = bench.open(tmp_path)
    assert bench.turn(cache, [*prompt, 1]).length == 0
    written(cache)
    assert cache.archive is not None
    assert not cache.archive.pending


def test_a_request_that_is_gone_locks_nothing(bench: Bench) -> None:
    cache = bench.open()
    prompt = text(37, 100)
    bench.turn(cache, prompt)
    waiting = cache.look(as_tokens([*prompt, 1]), lambda _: 1.0)
    assert any(segment.locks for segment in cache.radix.segments.values())
    cache.forget(waiting)
    cache.forget(waiting)
    assert not any(segment.locks for segment in cache.radix.segments.values())


def test_what_a_failed_model_computed_is_forgotten(bench: Bench) -> None:
    cache = bench.open()
    prompt = text(38, 100)
    cache.keep(prompt, bench.compute(prompt)[0])
    cache.discard()
    assert bench.turn(cache, [*prompt, 1]).length == 0


def test_sessions_larger_than_ram_lose_nothing(bench: Bench, tmp_path: Path) -> None:
    """A state at the end of every turn is more than the way to the last turn needs."""
    talks = [conversation(seed, 6) for seed in (1, 2, 3, 4)]
    cache = bench.open(tmp_path, ram=2 * bench.size(talks[0][-1]))
    for turn in range(6):
        for talk in talks:
            taken = bench.turn(cache, talk[turn])
            written(cache)
            assert taken.length == (len(talk[turn - 1]) if turn else 0)
            assert cache.ram.used == sum(one.kept.nbytes for one in cache.ram.held.values())
            assert cache.ram.used <= cache.ram.budget
    assert cache.counts.refused == 0


def test_a_conversation_goes_on_from_an_end_whose_state_was_let_go(bench: Bench, tmp_path: Path) -> None:
    talk = conversation(5, 9)
    roomy = bench.open()
    for prompt in talk:
        bench.turn(roomy, prompt)
    states = [one.spare for one in roomy.ram.held.values()]
    cache = bench.open(tmp_path, ram=roomy.ram.used - 3 * max(states))
    for prompt in talk:
        bench.turn(cache, prompt)
        written(cache)
    thin = [one for one in cache.ram.held.values() if not one.kept.whole]
    assert bool(thin) == (not cache.layout.sliceable)
    edited = [*talk[2], *text(6, 40)]
    assert bench.turn(cache, edited).length == len(talk[2])
    assert bench.turn(cache, [*edited, *text(7, 20)]).length == len(edited)


def test_an_end_whose_state_is_nowhere_is_computed_and_kept_again(bench: Bench, tmp_path: Path) -> None:
    talk = conversation(8, 3)
    cache = bench.open(tmp_path)
    for prompt in talk:
        bench.turn(cache, prompt)
    written(cache)
    for one in cache.ram.held.values():  # as when there was no room for states, and the disk lost its files
        one.kept = one.kept.thin() if not cache.layout.sliceable else one.kept
        assert cache.archive is not None
        cache.archive.folder.remove(one.name)
    more = [*talk[-1], *text(9, 30)]
    taken = bench.turn(cache, more)
    assert taken.length == (len(talk[-1]) if cache.layout.sliceable else 0)
    assert bench.turn(cache, [*more, *text(10, 30)]).length == len(more)


def test_a_folder_that_is_taken_away_while_serving(bench: Bench, tmp_path: Path) -> None:
    """Nothing wrong comes of it, what is in memory is still used, and the next turns are on disk again."""
    prompts = conversation(12, 5)
    cache = bench.open(tmp_path / "cache", ram=4 * PER_TOKEN * 100)
    archive = cache.archive
    assert archive is not None
    archive.attend_s = 0.02
    bench.turn(cache, prompts[0])
    bench.turn(cache, text(13, 100))
    assert archive.flush(20)
    (tmp_path / "cache").rename(tmp_path / "gone")
    bench.turn(cache, prompts[1])
    until = time.monotonic() + 30
    while (archive.folder.readonly or not archive.folder.counts.outages) and time.monotonic() < until:
        time.sleep(0.01)
        cache.tick()
    assert archive.folder.readonly == ""
    assert archive.flush(20)
    cache.tick()
    bench.turn(cache, prompts[2])
    bench.turn(cache, prompts[3])
    assert archive.folder.counts.damaged == 0
    cache.close()
    taken = bench.turn(bench.open(tmp_path / "cache"), prompts[4])
    assert (taken.length, taken.tier) == (len(prompts[3]), "disk")


def test_files_that_go_while_they_are_read_are_misses(
    bench: Bench, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Once a file that went between its verification and its loading was a traceback."""
    cache = bench.open(tmp_path)
    archive = cache.archive
    assert archive is not None
    prompts = [text(100 + number, 60) for number in range(30)]
    for prompt in prompts:
        bench.turn(cache, prompt)
    assert archive.flush(20)
    cache.tick()
    names = list(archive.folder.entries)
    archive.breaks.hurry(True)
    for name in names * 3:
        archive.fetch(name)
    for name in names[::2]:
        archive.drop(name)
    assert archive.flush(20)
    loaded: list[Loaded] = []
    until = time.monotonic() + 30
    while len(loaded) < 3 * len(names) and time.monotonic() < until:
        loaded += [news for news in archive.news() if isinstance(news, Loaded)]
    assert len(loaded) == 3 * len(names)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_a_beginning_computed_anew_is_not_kept_for_the_whole_that_the_disk_has(
    bench: Bench, tmp_path: Path
) -> None:
    """An earlier turn comes again while a longer one lies on disk only, and did not wait for it."""
    cache = bench.open(tmp_path)
    whole = text(25, 400)
    bench.turn(cache, whole)
    written(cache)
    for segment in list(cache.ram.held.values()):
        cache.ram.drop(segment)
    beginning = whole[:60]
    cache.keep(beginning, bench.compute(beginning)[0])  # computed without a look at the disk
    cache.settle()
    for segment in cache.ram.held.values():
        assert segment.end <= len(beginning)
    assert bench.turn(cache, [*whole, 1, 2, 3]).length == 400


def test_one_that_is_above_the_bound_of_what_waits_is_written_alone(bench: Bench, tmp_path: Path) -> None:
    cache = bench.open(tmp_path, most_pending=1)
    bench.turn(cache, text(26, 200))
    written(cache)
    assert cache.archive is not None
    assert len(cache.archive.folder.entries) == 1
