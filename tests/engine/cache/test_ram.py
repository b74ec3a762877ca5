"""What is evicted first, and that the bytes add up."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.cache.radix import Radix, Segment, as_tokens
from engine.cache.ram import RamTier, Rank


def kept(tier: RamTier) -> list[int]:
    """The first tokens of what is held."""
    return sorted(int(min(one.nodes, key=lambda n: n.start).tokens[0]) for one in tier.held.values())


def put(
    tree: Radix, tier: RamTier, tokens: list[int], now: float, rank: Rank = Rank.common
) -> Segment | None:
    segment = tree.add(as_tokens(tokens))
    assert segment is not None
    segment.rank = rank
    return segment if tier.hold(segment, object(), segment.end - segment.start, now) is not None else None


def test_the_longest_unused_goes_first() -> None:
    tree, tier = Radix("m", True), RamTier(30)
    first, _, _ = (put(tree, tier, [n] * 10, n) for n in (1, 2, 3))
    assert first is not None
    tier.touch([first], 4)
    put(tree, tier, [4] * 10, 5)
    assert kept(tier) == [1, 3, 4]
    assert (tier.used, tier.evictions) == (30, 1)


def test_roots_outlive_leaves_however_old_they_are() -> None:
    tree, tier = Radix("m", True), RamTier(30)
    root = put(tree, tier, [1] * 10, 1)
    for turn in range(2, 20):
        assert put(tree, tier, [1] * 10 + [turn] * 10, turn) is not None
        assert root is not None
        assert root.kept is not None
    assert kept(tier) == [1, 18, 19]


def test_what_is_dear_to_compute_outlives_what_is_a_little_newer() -> None:
    tree, tier = Radix("m", True), RamTier(9000)
    root = put(tree, tier, [1] * 8000, 1)
    deep = put(tree, tier, [1] * 8000 + [2] * 400, 2)
    put(tree, tier, [3] * 400, 3)
    put(tree, tier, [4] * 500, 4)
    assert root is not None
    assert deep is not None
    assert kept(tier) == [1, 2, 4], "the deep one took twice as long as the newer, shallow one"


def test_ranks_and_locks() -> None:
    tree, tier = Radix("m", True), RamTier(40)
    put(tree, tier, [1] * 10, 1, Rank.pinned)
    put(tree, tier, [2] * 10, 2, Rank.active)
    put(tree, tier, [3] * 10, 3, Rank.superseded)
    locked = put(tree, tier, [4] * 10, 0)
    assert locked is not None
    locked.locks = 1
    assert put(tree, tier, [5] * 10, 5) is not None
    assert kept(tier) == [1, 2, 4, 5], "the superseded one went first"
    assert put(tree, tier, [6] * 10, 6) is not None
    assert kept(tier) == [1, 2, 4, 6]
    assert put(tree, tier, [7] * 20, 7) is None, "nothing goes for one of a lower rank"
    assert kept(tier) == [1, 2, 4, 6], "and then nothing at all"
    assert put(tree, tier, [8] * 20, 8, Rank.active) is not None
    assert kept(tier) == [1, 4, 8]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=10), max_size=40), st.integers(5, 40))
def test_bytes_add_up_and_the_budget_is_kept(texts: list[list[int]], budget: int) -> None:
    tree, tier = Radix("m", True), RamTier(budget)
    for now, text in enumerate(texts):
        segment = tree.add(as_tokens(text))
        if segment is None:
            continue
        gone = tier.hold(segment, object(), segment.end - segment.start, now)
        for one in gone if gone is not None else [segment]:
            assert one.kept is None
            for lost in tree.remove(one):
                tier.drop(lost)
        assert tier.used == sum(one.nbytes for one in tier.held.values()) <= budget
        assert all(one.kept is not None for one in tier.held.values())
        assert set(tier.held) == set(tree.segments)


class Stateful:
    """Something kept of which a part can be spared."""

    whole = True

    def thin(self) -> Stateful:
        thin = Stateful()
        thin.whole = False
        return thin


def test_what_can_be_spared_on_the_way_goes_before_any_segment() -> None:
    tree, tier = Radix("m", False), RamTier(60)
    path = [1] * 10
    segments: list[Segment] = []
    for turn in range(3):  # a root, an end that one goes on from, the last end
        segment = tree.add(as_tokens(path))
        assert segment is not None
        segment.stored = 10
        assert tier.hold(segment, Stateful(), 20, turn, spare=15) == []
        segments.append(segment)
        path = [*path, *[turn + 2] * 10]
    root, inner, last = segments
    other = tree.add(as_tokens([9] * 10))
    assert other is not None
    assert tier.hold(other, Stateful(), 10, 4, spare=5) == []
    assert [one.kept.whole for one in (root, inner, last, other)] == [True, False, True, True]
    assert (tier.used, inner.nbytes, inner.spare, tier.evictions) == (55, 5, 0, 0)
    assert tier.hold(inner, Stateful(), 20, 5, spare=15) == [last], "whole again, and something goes for it"
    assert tier.used == 50


def test_a_state_is_spared_only_where_it_can_come_back_and_nobody_needs_it() -> None:
    for spoil in ("not on disk", "locked", "two go on", "ranks higher"):
        tree, tier = Radix("m", False), RamTier(60)
        root, inner = (tree.add(as_tokens(tokens)) for tokens in ([1] * 10, [1] * 10 + [2] * 10))
        last = tree.add(as_tokens([1] * 10 + [2] * 10 + [3] * 10))
        assert root is not None
        assert inner is not None
        assert last is not None
        for one in (root, inner, last):
            one.stored = 10
            assert tier.hold(one, Stateful(), 20, 1, spare=15) == []
        if spoil == "not on disk":
            inner.stored = 0
        elif spoil == "locked":
            inner.locks = 1
        elif spoil == "two go on":
            assert tree.add(as_tokens([1] * 10 + [2] * 10 + [4] * 10)) is not None
        else:
            inner.rank = Rank.pinned
        newcomer = tree.add(as_tokens([9] * 10))
        assert newcomer is not None
        assert tier.hold(newcomer, Stateful(), 10, 2, spare=5) == [last]
        assert inner.kept.whole, spoil


def test_buffers_go_before_any_segment_and_take_no_place_from_active_ones() -> None:
    tree, tier = Radix("m", True), RamTier(40)
    first = put(tree, tier, [1] * 10, 1, Rank.active)
    second = put(tree, tier, [2] * 10, 2)
    assert first is not None
    assert second is not None
    assert tier.hold_buffers(first, "first", 20)
    assert tier.used == 40
    assert tier.hold_buffers(second, "second", 20), "older buffers go"
    assert (first.buffers, second.buffers, tier.used, tier.dropped) == (None, "second", 40, 1)
    assert tier.hold_buffers(second, "again", 15), "in place of its own"
    assert (tier.used, tier.dropped) == (35, 1)
    put(tree, tier, [3] * 10, 3)
    assert (kept(tier), tier.buffered, tier.used, tier.dropped) == ([1, 2, 3], {}, 30, 2)
    assert not tier.hold_buffers(first, "first", 15), "others would be lost"
    second.stored = 1
    assert tier.hold_buffers(first, "first", 15), "one of no session is on disk"
    assert (kept(tier), tier.used) == ([1, 3], 35)
    assert not tier.hold_buffers(first, "first", 40)
    assert tier.take_buffers(first) is None
    assert tier.hold_buffers(first, "first", 10)
    tier.drop(first)
    assert (kept(tier), tier.buffered, tier.used) == ([3], {}, 10)
    assert not tier.hold_buffers(first, "first", 10), "it is not in RAM"
