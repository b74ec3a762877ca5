"""The tree against a list of everything that was ever put into it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.cache.radix import Match, Radix, Segment, as_tokens

TEXT = st.lists(st.integers(0, 2), min_size=1, max_size=12)
STEPS = st.lists(st.tuples(st.sampled_from(["add", "match", "remove"]), TEXT), max_size=40)


def agreed(first: list[int], second: list[int]) -> int:
    size = 0
    while size < min(len(first), len(second)) and first[size] == second[size]:
        size += 1
    return size


def path_of(segment: Segment) -> list[int]:
    """All tokens up to the end of a segment."""
    node = max(segment.nodes, key=lambda node: node.start)
    tokens: list[int] = []
    while node.parent is not None:
        tokens = [*node.tokens.tolist(), *tokens]
        node = node.parent
    return tokens


def check(match: Match) -> None:
    """The pieces follow one another without gaps, each within its segment."""
    at = 0
    for piece in match.pieces:
        assert piece.start == at < piece.end <= piece.segment.end
        assert piece.segment.start <= piece.start
        at = piece.end
    assert match.usable == at <= match.length


@settings(max_examples=300, deadline=None)
@given(STEPS, st.integers(0, 12))
def test_a_sliceable_tree_finds_the_longest_prefix(steps: list[tuple[str, list[int]]], most: int) -> None:
    tree = Radix("model", sliceable=True)
    known: set[tuple[int, ...]] = set()
    for what, tokens in steps:
        if what == "add":
            fresh = tree.add(as_tokens(tokens))
            prefixes = {tuple(tokens[:n]) for n in range(1, len(tokens) + 1)}
            assert (fresh is None) == (prefixes <= known)
            known |= prefixes
        elif what == "remove":
            segment = tree.find(as_tokens(tokens))
            assert (segment is not None) == (tuple(tokens) in known)
            if segment is not None:
                begin = tuple(path_of(segment)[: segment.start + 1])
                tree.remove(segment)
                known = {one for one in known if one[: len(begin)] != begin}
        match = tree.match(as_tokens(tokens), most)
        check(match)
        longest = max((n for n in range(len(tokens) + 1) if tuple(tokens[:n]) in known), default=0)
        assert match.length == longest
        assert match.usable == min(longest, most)
    assert all(segment.name == name for name, segment in tree.segments.items())


@settings(max_examples=300, deadline=None)
@given(STEPS, st.integers(0, 12))
def test_a_tree_that_is_not_sliceable_ends_where_something_was_kept(
    steps: list[tuple[str, list[int]]], most: int
) -> None:
    tree = Radix("model", sliceable=False)
    ends: list[list[int]] = []
    for what, tokens in steps:
        if what == "add":
            tree.add(as_tokens(tokens))
            ends.append(tokens)
        match = tree.match(as_tokens(tokens), most)
        check(match)
        assert match.length == max((agreed(end, tokens) for end in ends), default=0)
        usable = [len(end) for end in ends if end == tokens[: len(end)] and len(end) <= most]
        assert match.usable == max(usable, default=0)


@settings(max_examples=200, deadline=None)
@given(st.lists(TEXT, max_size=15), st.booleans())
def test_a_tree_is_rebuilt_from_its_segments(texts: list[list[int]], sliceable: bool) -> None:
    """As it is at start from what lies on disk: names, starts, parents and tokens, shorter ones first."""
    tree = Radix("model", sliceable)
    records: list[tuple[int, int, bytes, bytes | None, list[int]]] = []
    for text in texts:
        segment = tree.add(as_tokens(text))
        if segment is not None:
            parent = segment.parent
            above = None if parent is None else parent.name
            records.append(
                (segment.start, segment.end, segment.name, above, text[segment.start : segment.end])
            )
    other = Radix("model", sliceable)
    for start, _, name, above, tokens in sorted(records, key=lambda record: record[:2]):
        assert other.graft(above, start, as_tokens(tokens), name) is not None
    for text in texts:
        left, right = tree.match(as_tokens(text), 99), other.match(as_tokens(text), 99)
        assert (left.length, left.usable) == (right.length, right.usable)


@pytest.mark.parametrize(
    ("start", "tokens", "wrong"),
    [(4, [9], "starts beyond its parent"), (3, [7], "has the name of other tokens"), (2, [3], "is known")],
)
def test_a_segment_that_does_not_fit_is_not_grafted(start: int, tokens: list[int], wrong: str) -> None:
    tree = Radix("model", sliceable=True)
    segment = tree.add(as_tokens([1, 2, 3]))
    assert segment is not None
    assert tree.graft(segment.name, start, as_tokens(tokens), b"no such digest") is None, wrong
    assert tree.graft(b"no such parent", 3, as_tokens([4]), b"") is None


def test_names_are_of_all_tokens_however_they_were_cut_and_of_the_model() -> None:
    def name(fingerprint: str, *texts: list[int]) -> bytes:
        tree = Radix(fingerprint, sliceable=True)
        return [segment for text in texts if (segment := tree.add(as_tokens(text)))][-1].name[:20]

    assert name("a", [1, 2, 3, 4]) == name("a", [1, 2], [1, 2, 3, 4]) == name("a", [1, 2, 9], [1, 2, 3, 4])
    assert len({name("a", [1, 2]), name("b", [1, 2]), name("a", [2, 1])}) == 3
