"""Adds up the pieces of structured calls, and finds which of several calls a piece belongs to."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from proxy.conversation.events import continued
from proxy.upstreams.base import UpstreamCall, UpstreamCallPart
from proxy.upstreams.remote.surrogates import whole_characters, with_whole_characters

# After so many characters of a call its beginning is given out, and again each time it has grown by half.
_FIRST_PART = 300
_CLOSES = {"{": "}", "[": "]", '"': '"'}
# How far from an end of the arguments their first and last character may stand, behind white space.
_NEAR = 64
# What of a call is not read here and wanted back by its server, such as the signature of its thoughts.
_EXTRA = ("extra_content", "provider_specific_fields")


@dataclass(slots=True)
class CallInPieces:
    """One call. index: what the server counts it as; None where it does not count."""

    index: int | None = None
    id: str = ""
    name: str = ""
    arguments: str = ""
    extra: dict[str, Any] = field(default_factory=dict)
    pieces: int = 0
    next_part: int = _FIRST_PART

    def part(self) -> UpstreamCallPart | None:
        """The beginning of the call, where it has grown enough; the cost is linear in its length."""
        size = len(self.name) + len(self.arguments)
        if size < self.next_part:
            return None
        self.next_part = size + max(size // 2, 64)
        tokens, self.pieces = self.pieces, 0
        return UpstreamCallPart(whole_characters(self.name), whole_characters(self.arguments), tokens)

    def end(self, complete: bool) -> UpstreamCall:
        name, arguments = whole_characters(self.name), whole_characters(self.arguments)
        return UpstreamCall(name, arguments, complete, self.pieces, with_whole_characters(self.extra))

    @property
    def is_whole(self) -> bool:
        """Whether the arguments are JSON already, so that nothing can follow. Read only where their last
        character could be the end of it: this is asked for each piece.
        """
        begin, end = self.arguments[:_NEAR].lstrip()[:1], self.arguments[-_NEAR:].rstrip()[-1:]
        if end != _CLOSES.get(begin, end):
            return False
        try:
            json.loads(self.arguments)
        except (ValueError, RecursionError):
            return False
        return True


@dataclass(frozen=True, slots=True)
class _Piece:
    """A piece as it came. beside: it follows another one in the same delta."""

    index: int | None
    id: str
    name: str
    arguments: str
    beside: bool


class CallsInPieces:
    """The calls of one answer, in the order in which they began."""

    def __init__(self) -> None:
        self.calls: list[CallInPieces] = []

    def add(self, pieces: Sequence[Any]) -> Iterator[tuple[CallInPieces, str]]:
        """Takes the pieces of one delta, and gives the call of each with the text that it adds."""
        beside = False
        for one in pieces:
            if one is None:
                continue
            piece = _read(one, beside)
            beside = True
            call = self._of(piece)
            if call is None:
                call = CallInPieces(piece.index)
                self.calls.append(call)
            call.id = call.id or piece.id
            if piece.name != call.name:  # some servers repeat the name with every piece
                call.name += piece.name
            call.arguments += piece.arguments
            call.pieces += 1
            for key in _EXTRA:
                if extra := getattr(one, key, None):
                    call.extra[key] = continued(call.extra.get(key), extra)
            yield call, piece.arguments

    def _of(self, piece: _Piece) -> CallInPieces | None:
        """The call that a piece goes on with; None where it begins one. What is counted as no call that there
        is begins one where it has a name; else the count is wrong.
        """
        counted = [call for call in self.calls if piece.index is None or call.index == piece.index]
        places = counted or ([] if piece.name else self.calls)
        if not places:
            return None
        known = [call for call in places if piece.id and call.id == piece.id]
        last = (known or places)[-1]
        return None if _begins(piece, last) else last


def _begins(piece: _Piece, last: CallInPieces) -> bool:
    """Whether a piece begins a call although it stands where `last` does, or has no place at all.

    One without a name never does. One with a name does, where it has another id or name than the call that is
    open, or where that call is whole. Some servers send the name with every piece, with another id each time,
    or in pieces of its own.
    """
    if not piece.name or not last.name:
        return False
    another_id = bool(piece.id and last.id and piece.id != last.id)
    if piece.name != last.name:
        return bool(another_id or last.arguments or piece.arguments or piece.beside or piece.index is None)
    if last.arguments:
        alone = not piece.id and (bool(piece.arguments) or piece.index is None)
        return (alone or bool(piece.id and piece.id != last.id)) and last.is_whole
    if piece.beside and (another_id or (not piece.id and piece.index is None)):
        return True
    return another_id and not piece.arguments


def _read(piece: Any, beside: bool) -> _Piece:
    function = getattr(piece, "function", None)
    name = getattr(function, "name", None) or getattr(piece, "name", None) or ""
    arguments = getattr(function, "arguments", None)
    if arguments is None:
        arguments = getattr(piece, "arguments", None)
    if arguments is None:
        arguments = ""
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    id = getattr(piece, "id", None)
    return _Piece(_index(getattr(piece, "index", None)), "" if id is None else str(id), name, text, beside)


def _index(value: Any) -> int | None:
    match value:
        case bool() | None:
            return None
        case int():
            return value
        case float() if value.is_integer():
            return int(value)
        case str() if value.isascii() and value.isdigit():
            return int(value)
        case _:
            return None
