"""Whether calls in the text of an upstream's answer count, by what it did in this conversation before."""

from __future__ import annotations

from collections import OrderedDict

from proxy.guard.drift import SessionKey
from repair.placement import InText

_CAPACITY = 4096


class StructuredSessions:
    """The sessions seen last in which the upstream has sent a call as structure."""

    def __init__(self, capacity: int = _CAPACITY) -> None:
        self._capacity = capacity
        self._keys: OrderedDict[SessionKey, None] = OrderedDict()

    def note(self, key: SessionKey) -> None:
        self._keys[key] = None
        self._keys.move_to_end(key)
        if len(self._keys) > self._capacity:
            self._keys.popitem(last=False)

    def __contains__(self, key: SessionKey) -> bool:
        return key in self._keys


def calls_in_text(structured: bool, leaked_calls: bool, sends_structure: bool) -> InText:
    """Which calls in the text count.

    structured: the upstream can send calls otherwise than as text, which the bundled engine cannot.
    leaked_calls: whether what such an upstream writes as text may be a call at all.
    sends_structure: whether this upstream has sent a call as structure in this session.
    """
    if not structured:
        return InText.placed
    if not leaked_calls:
        return InText.never
    return InText.alone if sends_structure else InText.placed
