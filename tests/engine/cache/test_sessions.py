"""Branches, protection, and the reasons that are told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.cache.radix import as_tokens
from engine.cache.ram import Rank
from engine.cache.sessions import CachedSessions, Reason
from engine.cache.store import PrefixCache
from engine.model import LoadedModel
from tests.engine.cache.computing import Bench, text
from tests.engine.cache.test_layers import network


class Desk:
    """Sessions over a cache, with a clock that is set by hand."""

    def __init__(self, bench: Bench, ram: int = 2**30, folder: Path | None = None) -> None:
        self.bench = bench
        self.now = 0.0
        self.cache: PrefixCache = bench.open(folder, ram)
        self.sessions = CachedSessions(self.cache, 100.0, 2**30, lambda: self.now)

    def turn(self, id: str, prompt: list[int], answer: int = 5, keep_s: float = 0.0) -> Reason:
        taken = self.bench.take(self.cache, prompt)
        reason = self.sessions.explain(id, as_tokens(prompt), taken)
        tokens = prompt + text(len(prompt) % 250, answer)
        caches, _ = self.bench.compute(tokens, taken)
        self.cache.keep(tokens, caches)
        self.cache.settle()
        self.sessions.turn(id, as_tokens(tokens), len(prompt), taken, reason, keep_s)
        return reason

    def ranks(self, tokens: list[int]) -> list[int]:
        match = self.cache.radix.match(as_tokens(tokens), len(tokens))
        return [piece.segment.rank for piece in match.pieces]


@pytest.fixture
def bench(loaded: LoadedModel) -> Iterator[Bench]:
    bench = Bench(loaded.network)
    yield bench
    for cache in bench.caches:
        cache.close()


def answered(prompt: list[int]) -> list[int]:
    return prompt + text(len(prompt) % 250, 5)


def test_reasons(bench: Bench) -> None:
    desk = Desk(bench)
    first = text(1, 60)
    assert desk.turn("a", first) == Reason("cold", 0)
    second = answered(first) + text(2, 30)
    assert desk.turn("a", second) == Reason("none", 65)
    edited = [*answered(second)[:70], 251, *text(3, 30)]
    reason = desk.turn("a", edited)
    assert (reason.cause, reason.at) == ("foreign-edit", 70)
    assert reason.now[6] == 251
    assert reason.was[:6] == reason.now[:6]
    assert reason.was[6] == answered(second)[70]
    assert desk.turn("b", first) == Reason("none", 59)


def test_what_was_evicted_is_told(bench: Bench) -> None:
    prompt = text(1, 60)
    desk = Desk(bench, ram=int(1.3 * bench.size(answered(prompt))))
    desk.turn("a", prompt)
    desk.now = 200.0
    desk.sessions.expire()
    desk.turn("b", text(2, 60))
    assert desk.turn("a", [*answered(prompt), 7]).cause == "evicted"


def test_a_state_that_cannot_be_cut_is_told(loaded: LoadedModel) -> None:
    desk = Desk(Bench(network("hybrid", loaded)))
    prompt = text(1, 60)
    desk.turn("a", prompt)
    reason = desk.turn("a", [*prompt[:40], 251, *text(2, 9)])
    assert (reason.cause, reason.at) == ("boundary", 40)


def test_another_model_is_told(bench: Bench, tmp_path: Path) -> None:
    desk = Desk(bench, folder=tmp_path)
    prompt = text(1, 60)
    desk.turn("a", prompt)
    desk.cache.close()
    other = bench.open(tmp_path, fingerprint="other")
    sessions = CachedSessions(other, 100.0, 2**30, lambda: 0.0)
    assert sessions.explain("a", as_tokens(prompt), bench.take(other, prompt)).cause == "fingerprint"


def test_an_active_session_is_protected_and_an_idle_one_is_not(bench: Bench) -> None:
    desk = Desk(bench)
    prompt = text(1, 60)
    desk.turn("a", prompt)
    assert desk.ranks(answered(prompt)) == [Rank.active]
    desk.now = 101.0
    desk.sessions.expire()
    assert desk.ranks(answered(prompt)) == [Rank.common]


def test_a_client_may_ask_for_longer_protection_and_for_no_more_than_an_hour(bench: Bench) -> None:
    """As an active session, which one that is pinned by hand outranks."""
    desk = Desk(bench)
    prompt, other, greedy = text(1, 60), text(2, 60), text(3, 60)
    desk.turn("a", prompt, keep_s=1000.0)
    desk.turn("b", other, keep_s=5.0)
    desk.turn("c", greedy, keep_s=1e9)
    for now, active in (
        (99.0, "abc"),
        (101.0, "ac"),
        (999.0, "ac"),
        (1001.0, "c"),
        (3599.0, "c"),
        (3601.0, ""),
    ):
        desk.now = now
        desk.sessions.expire()
        ranks = {
            "a": desk.ranks(answered(prompt)),
            "b": desk.ranks(answered(other)),
            "c": desk.ranks(answered(greedy)),
        }
        assert "".join(id for id, rank in ranks.items() if rank == [Rank.active]) == active, now
    desk.turn("a", [*answered(prompt), 7])
    desk.now += 101.0
    desk.sessions.expire()
    assert desk.ranks(answered([*answered(prompt), 7]))[-1] == Rank.common, "the last turn says it anew"


def test_what_a_turn_left_behind_goes_first_and_branches_stay(bench: Bench) -> None:
    desk = Desk(bench)
    system, turn = text(1, 60), text(2, 40)
    desk.turn("a", system + turn)
    desk.turn("a", text(9, 50))
    stripped = system + turn + text(3, 20)
    desk.turn("a", stripped)
    assert desk.ranks(answered(stripped))[-1] == Rank.active
    assert desk.ranks(answered(text(9, 50))) == [Rank.active], "a branch of its own"
    old = desk.cache.radix.match(as_tokens(answered(system + turn)), 1000)
    assert old.length == 105
    assert len(desk.sessions.known["a"].branches) == 2


def test_a_later_branch_goes_on(bench: Bench) -> None:
    desk = Desk(bench)
    first, second = text(1, 40), text(2, 60)
    desk.turn("a", first)
    desk.turn("a", second)
    assert desk.turn("a", [*answered(second), 7]) == Reason("none", 65)
    assert desk.turn("a", [*answered(first), 7]) == Reason("none", 45)


def test_pinned_by_hand_and_dropped(bench: Bench, tmp_path: Path) -> None:
    desk = Desk(bench, folder=tmp_path)
    system = text(1, 60)
    mine, other = system + text(2, 20), system + text(3, 20)
    desk.turn("a", mine)
    desk.turn("b", other)
    assert desk.sessions.pin("a", True)
    desk.now = 1000.0
    desk.sessions.expire()
    assert set(desk.ranks(answered(mine))) == {Rank.pinned}
    assert desk.cache.archive is not None
    assert desk.cache.archive.folder.protected
    assert desk.sessions.pin("a", False)
    assert not desk.cache.archive.folder.protected
    assert desk.sessions.drop("b")
    assert not desk.sessions.drop("b")
    assert not desk.sessions.pin("b", True)
    assert desk.cache.radix.match(as_tokens(other), 1000).length == 60
    assert desk.cache.radix.match(as_tokens(mine), 1000).length == 80
