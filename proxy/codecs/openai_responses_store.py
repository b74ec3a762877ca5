"""Answers of the Responses API, kept in memory for `previous_response_id`, item references and GET.

A turn keeps what it added to its conversation, and the id of the turn before. Where the store is full, the
turns that were used longest ago go; whoever uses a turn uses those before it too, so that a conversation
that goes on keeps its beginning. All is kept compressed: a response says its request's tools and instructions
again, which are most of it.
"""

from __future__ import annotations

import zlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

MOST_RESPONSES = 4096
MOST_BYTES = 64 * 1024 * 1024
_LEVEL = 1  # of the compression: the fastest


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """previous: the id of the turn before, "" at the beginning. item_ids: of the output."""

    previous: str
    packed_items: bytes
    packed_response: bytes
    item_ids: tuple[str, ...]

    @classmethod
    def of(cls, previous: str, items: Sequence[Any], response: dict[str, Any]) -> StoredResponse:
        return cls(
            previous, _packed(items), _packed(response), tuple(item["id"] for item in response["output"])
        )

    @property
    def items(self) -> list[Any]:
        """What the turn added to the conversation, input and output."""
        items: list[Any] = msgspec.json.decode(zlib.decompress(self.packed_items))
        return items

    @property
    def response(self) -> bytes:
        """The JSON object that the client got."""
        return zlib.decompress(self.packed_response)

    @property
    def size(self) -> int:
        return len(self.packed_items) + len(self.packed_response)


class ResponseStore:
    """Not for several threads at once. Sizes in bytes as they are kept."""

    def __init__(self, most: int = MOST_RESPONSES, most_bytes: int = MOST_BYTES) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._kept: OrderedDict[str, StoredResponse] = OrderedDict()
        self._holders: dict[str, str] = {}  # id of an output item -> of its response
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def size(self) -> int:
        return self._bytes

    def put(self, previous: str, added: Sequence[Any], response: dict[str, Any]) -> None:
        """added: the input items of the turn. response: as the client gets it."""
        stored = StoredResponse.of(previous, [*added, *response["output"]], response)
        self._kept[response["id"]] = stored
        self._holders |= dict.fromkeys(stored.item_ids, response["id"])
        self._bytes += stored.size
        while self._kept and (len(self._kept) > self._most or self._bytes > self._most_bytes):
            self.drop(next(iter(self._kept)))

    def get(self, id: str) -> StoredResponse | None:
        return self._kept.get(id)

    def drop(self, id: str) -> bool:
        """Whether it was there."""
        stored = self._kept.pop(id, None)
        if stored is None:
            return False
        self._bytes -= stored.size
        for item_id in stored.item_ids:
            self._holders.pop(item_id, None)
        return True

    def conversation(self, id: str) -> list[Any] | None:
        """All items up to the end of this turn, in order; None where one of its turns is not kept."""
        chain: list[str] = []
        while id:
            if id not in self._kept:
                return None
            chain.append(id)
            id = self._kept[id].previous
        for one in chain:  # the oldest turn last, so that it is the last of them to go
            self._kept.move_to_end(one)
        return [item for one in reversed(chain) for item in self._kept[one].items]

    def item(self, id: str) -> Any | None:
        """An item of an answer that is kept."""
        holder = self._holders.get(id)
        if holder is None:
            return None
        return next((item for item in self._kept[holder].items if item.get("id") == id), None)


def _packed(value: Any) -> bytes:
    return zlib.compress(msgspec.json.encode(value), _LEVEL)
