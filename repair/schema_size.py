"""Tells whether the validators of all subschemas of a schema can be built in a moment.

Each is built with all that it refers to: a chain of 5,000 references took 278 s. Nobody writes such schemas;
whoever sends one has the model asked again where a value would have to be coerced.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from typing import Any

from repair.loose_schema import references

_MOST_NODES = 20_000  # objects and lists of the schema
_MOST_STEPS = 100_000  # references that are met when each place that is referred to is followed to its end


def has_light_parts(root: Mapping[str, Any]) -> bool:
    """Takes some milliseconds at most, whatever the schema is."""
    return _is_small(root) and _is_shallow(root)


def _is_small(root: Mapping[str, Any]) -> bool:
    waiting: list[Any] = [root]
    for _ in range(_MOST_NODES):
        if not waiting:
            return True
        node = waiting.pop()
        parts = node.values() if isinstance(node, Mapping) else node
        waiting += [part for part in parts if isinstance(part, Mapping | list)]
    return False


def _is_shallow(root: Mapping[str, Any]) -> bool:
    found = sorted((place, target[1:]) for place, target in references(root) if target.startswith("#"))
    places = [place for place, _ in found]

    def inside(place: str) -> set[str]:
        """What is referred to at the place and below it."""
        first, last = bisect_left(places, place + "/"), bisect_left(places, place + "0")
        return {target for _, target in found[first:last]}

    targets = {target for _, target in found}
    below = {target: inside(target) for target in targets}
    steps = 0
    for target in targets:
        reached, waiting = {target}, [target]
        while waiting:
            more = below[waiting.pop()]
            steps += 1 + len(more)
            if steps > _MOST_STEPS:
                return False
            waiting += more - reached
            reached |= more
    return True
