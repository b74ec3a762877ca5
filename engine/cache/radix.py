"""The radix tree of kept prefixes, by their exact tokens. Pure: no MLX, no clock, no I/O.

A *segment* is an immutable run of tokens of one conversation, and the unit that is kept, moved and evicted. A
*node* is a run of tokens in the tree. A node that is split where two conversations part stays with its
segment, which then has several nodes. A segment is named by the digest of all tokens up to its end (the chain
hash: its parent's digest, then its own tokens), so that equal prefixes have equal names however they were
cut.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

DIGEST_SIZE = 20
Tokens = NDArray[np.int32]


def as_tokens(tokens: Sequence[int] | Tokens) -> Tokens:
    """Token ids as the tree compares them."""
    return np.ascontiguousarray(tokens, dtype=np.int32)


@dataclass(slots=True, eq=False)
class Segment:
    """Tokens [start, end) of a conversation.

    name: digest of all tokens up to `end`, and the start.
    kept: what is in RAM; None when nothing is.
    nbytes: size of what is kept.
    spare: bytes of it that are only needed to continue from its end.
    buffers: those of a request that ended where it does, see engine.cache.buffers; None when nothing is kept.
    buffer_bytes: their size.
    stored: bytes on disk; 0 when it is not there.
    session: which session computed it; "" for none.
    locks: requests that are about to use it.
    rank, worth, used: see engine.cache.ram.
    """

    name: bytes
    start: int
    end: int
    kept: Any = None
    nbytes: int = 0
    spare: int = 0
    buffers: Any = None
    buffer_bytes: int = 0
    stored: int = 0
    session: str = ""
    locks: int = 0
    rank: int = 0
    worth: float = 0.0
    used: float = 0.0
    nodes: list[Node] = field(default_factory=list)

    @property
    def parent(self) -> Segment | None:
        """The segment whose tokens come before."""
        first = min(self.nodes, key=lambda node: node.start)
        return None if first.parent is None else first.parent.segment

    def children(self) -> Iterator[Segment]:
        """The segments that continue this one; one may occur twice."""
        for node in self.nodes:
            for child in node.children.values():
                if child.segment is not None and child.segment is not self:
                    yield child.segment


@dataclass(slots=True, eq=False)
class Node:
    """Tokens [start, end) in the tree; only the root has no segment. digest: of all tokens up to `end`."""

    tokens: Tokens
    start: int
    parent: Node | None
    segment: Segment | None
    digest: hashlib.blake2b
    children: dict[int, Node] = field(default_factory=dict)

    @property
    def end(self) -> int:
        return self.start + len(self.tokens)

    @property
    def closed(self) -> bool:
        """Whether it ends where its segment does: a state that cannot be cut is kept only there."""
        return self.segment is not None and self.end == self.segment.end


@dataclass(frozen=True, slots=True)
class Piece:
    """Tokens [start, end), to be taken from this segment."""

    segment: Segment
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Match:
    """The longest known prefix of some tokens.

    length: tokens that agree.
    pieces: where they are, in order, without gaps. For a model whose state cannot be cut they end where it
        can continue, which may be earlier.
    """

    length: int
    pieces: tuple[Piece, ...]

    @property
    def usable(self) -> int:
        return self.pieces[-1].end if self.pieces else 0


class Radix:
    """The tree. sliceable: whether a segment can be used up to any of its tokens, or only whole."""

    def __init__(self, fingerprint: str, sliceable: bool) -> None:
        self.sliceable = sliceable
        digest = hashlib.blake2b(fingerprint.encode(), digest_size=DIGEST_SIZE)
        self.root = Node(as_tokens([]), 0, None, None, digest)
        self.segments: dict[bytes, Segment] = {}

    def match(self, tokens: Tokens, most: int) -> Match:
        """The longest prefix of `tokens`; the pieces cover `most` tokens of it at most."""
        path, length = self._walk(tokens)
        pieces: list[Piece] = []
        usable = 0
        for node in path:
            end = min(node.end, length, most)
            if end <= node.start or node.segment is None:
                break
            if pieces and pieces[-1].segment is node.segment:
                pieces[-1] = Piece(node.segment, pieces[-1].start, end)
            else:
                pieces.append(Piece(node.segment, node.start, end))
            if self.sliceable or (node.closed and end == node.end):
                usable = len(pieces)
        if not self.sliceable:
            pieces = [piece for piece in pieces[:usable] if piece.end <= most]
        return Match(length, tuple(pieces))

    def add(self, tokens: Tokens) -> Segment | None:
        """Adds all of `tokens`. Returns a new segment for the part that was not known, None when all was.

        Where states cannot be cut, a known end at which no state is kept gets a segment of its own.
        """
        path, length = self._walk(tokens)
        node = path[-1] if path else self.root
        if length < node.end:
            node = self._split(node, length)
        if length < len(tokens):
            return self._extend(node, tokens[length:], length)
        if self.sliceable or node.closed or node.segment is None:
            return None
        return self._recover(node, node.start)

    def graft(self, parent: bytes | None, start: int, tokens: Tokens, name: bytes) -> Segment | None:
        """Adds a segment found on disk: it continues the segment named `parent` from `start`.

        Returns None when the parent is not known, nothing in it is new, or `name` is not the digest of all
        its tokens.
        """
        node = self.root
        if parent is not None:
            owner = self.segments.get(parent)
            below = None if owner is None else max(owner.nodes, key=lambda node: node.start)
            while below is not None and below.start >= start:
                below = below.parent
            if below is None or below.end < start or below.segment is None:
                return None
            node = below if below.end == start else self._split(below, start)
        if node.end != start or name in self.segments:
            return None
        path, known = self._walk(tokens, node)
        digest = node.digest.copy()
        digest.update(tokens.tobytes())
        if make_name(digest, start) != name:
            return None
        last = path[-1] if path else node
        last = last if last.end == start + known else self._split(last, start + known)
        if known < len(tokens):
            return self._extend(last, tokens[known:], start)
        return None if self.sliceable or last.closed else self._recover(last, start)

    def remove(self, segment: Segment) -> list[Segment]:
        """Forgets a segment and all its continuations; returns what was forgotten."""
        gone: list[Segment] = []
        waiting = [segment]
        while waiting:
            one = waiting.pop()
            if self.segments.pop(one.name, None) is None:
                continue
            gone.append(one)
            waiting += one.children()
        for one in gone:
            for node in one.nodes:
                if node.parent is not None:
                    node.parent.children.pop(int(node.tokens[0]), None)
        return gone

    def find(self, tokens: Tokens) -> Segment | None:
        """The segment in which the last of `tokens` lies, when all are known."""
        path, length = self._walk(tokens)
        return path[-1].segment if path and length == len(tokens) else None

    def _walk(self, tokens: Tokens, node: Node | None = None) -> tuple[list[Node], int]:
        """The nodes below `node` that agree with `tokens`, the last perhaps in part; and how many tokens
        agree.
        """
        path: list[Node] = []
        node, at = node or self.root, 0
        while at < len(tokens):
            child = node.children.get(int(tokens[at]))
            if child is None:
                break
            path.append(child)
            agreed = common(child.tokens, tokens[at:])
            at += agreed
            if agreed < len(child.tokens):
                break
            node = child
        return path, at

    def _split(self, node: Node, at: int) -> Node:
        """Cuts a node at the absolute position `at`, strictly inside it; returns the upper half."""
        cut = at - node.start
        parent = node.parent
        assert parent is not None, "the root has no tokens to split"
        assert node.segment is not None
        digest = parent.digest.copy()
        digest.update(node.tokens[:cut].tobytes())
        upper = Node(node.tokens[:cut], node.start, parent, node.segment, digest)
        parent.children[int(upper.tokens[0])] = upper
        node.tokens, node.start, node.parent = node.tokens[cut:], at, upper
        upper.children[int(node.tokens[0])] = node
        node.segment.nodes.append(upper)
        return upper

    def _extend(self, parent: Node, tokens: Tokens, start: int) -> Segment:
        """Adds a node, and a segment that begins at `start`: at the node, or earlier where tokens were known
        already.
        """
        digest = parent.digest.copy()
        digest.update(tokens.tobytes())
        node = Node(tokens.copy(), parent.end, parent, None, digest)
        parent.children[int(tokens[0])] = node
        return self._cover(node, start)

    def _recover(self, node: Node, start: int) -> Segment:
        """Gives a node that lies within a segment a segment of its own, with a state at its end."""
        assert node.segment is not None
        node.segment.nodes.remove(node)
        return self._cover(node, start)

    def _cover(self, node: Node, start: int) -> Segment:
        segment = Segment(make_name(node.digest, start), start, node.end, nodes=[node])
        node.segment = segment
        self.segments[segment.name] = segment
        return segment


def make_name(digest: hashlib.blake2b, start: int) -> bytes:
    """The name of the segment that begins at `start` and ends where `digest` does."""
    return digest.digest() + start.to_bytes(4, "big")


def common(first: Tokens, second: Tokens) -> int:
    """How many tokens agree from the beginning."""
    size = min(len(first), len(second))
    first, second = first[:size], second[:size]
    if first.tobytes() == second.tobytes():
        return size
    return int(np.argmax(first != second))


def path_tokens(segment: Segment) -> Tokens:
    """All tokens up to the end of a segment."""
    node = max(segment.nodes, key=lambda node: node.start)
    parts: list[Tokens] = []
    while node.parent is not None:
        parts.append(node.tokens)
        node = node.parent
    return as_tokens(np.concatenate(parts[::-1]))
