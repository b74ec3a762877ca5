"""What requests wait for before they get a place: the disk, a grammar, or the prompt of another request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import takewhile

from engine.cache.manager import CacheManager
from engine.cache.prefix import Prefix
from engine.constraints import BadGrammar
from engine.scheduler import Scheduler, Stage
from engine.sequence import HeldBy, Sequence
from engine.types import GenerateRequest


class Holds:
    """Finds why requests have to wait, and releases them to the scheduler.

    sequences: all requests by id, in the order of arrival; it changes outside of this class.
    """

    def __init__(self, sequences: Mapping[str, Sequence], scheduler: Scheduler, reuse: CacheManager) -> None:
        self._sequences = sequences
        self._scheduler = scheduler
        self._reuse = reuse

    def of(self, prefix: Prefix, leader: Sequence | None) -> set[HeldBy]:
        """What a new request waits for. leader: as leader() has it."""
        reasons = {
            HeldBy.disk: self._reuse.waits(prefix),
            HeldBy.grammar: prefix.request.grammar is not None,
            HeldBy.leader: leader is not None,
        }
        return {hold for hold, holds in reasons.items() if holds}

    def leader(self, request: GenerateRequest) -> Sequence | None:
        """The earlier request whose prompt this one waits for, if any; so none waits for itself."""
        earlier = takewhile(lambda one: one.id != request.id, self._sequences.values())
        by_prefix = {one.prefix: one for one in earlier if one.queued.stage is not Stage.decoding}
        prefix = self._reuse.leader(request, list(by_prefix))
        return None if prefix is None else by_prefix[prefix]

    def take_grammars(self) -> list[tuple[Sequence, BadGrammar]]:
        """Releases the requests whose grammars are compiled; returns those whose grammars cannot be, which
        have to be ended.
        """
        failed: list[tuple[Sequence, BadGrammar]] = []
        for one in self._held(HeldBy.grammar):
            if one.grammar is None or not one.grammar.done():
                continue
            try:
                one.job = replace(one.job, matcher=one.grammar.result())
            except BadGrammar as error:
                failed.append((one, error))
            else:
                self._release(one, HeldBy.grammar)
        return failed

    def take_fetched(self) -> None:
        """Releases the requests whose prefixes have come from the disk, or would come too late."""
        for one in self._held(HeldBy.disk):
            if not self._reuse.waits(one.prefix):
                self._release(one, HeldBy.disk)

    def take_followers(self) -> None:
        """Releases requests that waited for a prompt which is computed by now, or never will be: then the
        next in line computes it.
        """
        for one in self._held(HeldBy.leader):
            if one.leader is not None and self._goes_on(one.leader):
                continue
            one.leader = self.leader(one.request)
            if one.leader is None:
                one.queued.remaining = self._reuse.left(one.prefix)
                self._release(one, HeldBy.leader)

    def _goes_on(self, leader: Sequence) -> bool:
        """Whether the leader's prompt is still to be computed, and may be."""
        return self._sequences.get(leader.id) is leader and leader.queued.stage is not Stage.decoding

    def _held(self, hold: HeldBy) -> list[Sequence]:
        return [one for one in self._sequences.values() if hold in one.holds]

    def _release(self, sequence: Sequence, hold: HeldBy) -> None:
        """Removes one reason to hold a request; it runs when none is left."""
        sequence.holds.discard(hold)
        if not sequence.holds:
            self._scheduler.release(sequence.queued)
