"""What of a prompt's pieces is in RAM."""

from __future__ import annotations

from collections.abc import Sequence

from engine.cache.radix import Piece, Segment


def lacks(segment: Segment, whole: bool) -> bool:
    """Whether the segment is not in RAM, or lacks states that are asked for."""
    return segment.kept is None or (whole and not segment.kept.whole)


def can_go_on(piece: Piece) -> bool:
    """Whether the state of a model that cannot be cut is there, where this piece of a segment in RAM ends."""
    return piece.end == piece.segment.end and bool(piece.segment.kept.whole)


def reach(pieces: Sequence[Piece]) -> int:
    """Tokens covered by the pieces up to the first that is not in RAM."""
    length = 0
    for piece in pieces:
        if piece.segment.kept is None:
            break
        length = piece.end
    return length
