"""Drift: finds sessions whose calls get worse, and decides when their decoding is constrained.

The rule is a CUSUM chart over "was the call valid as emitted?" (E. S. Page, Continuous inspection schemes,
Biometrika 41, 1954): a log-likelihood ratio of a drifted session against a healthy one, which never falls
below 0. Constrained turns say nothing about how the model does alone: they are counted down, and then the
model is tried without constraint.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass, replace

from proxy.records.request_record import bucket


@dataclass(frozen=True, slots=True)
class DriftRule:
    """When a session counts as drifted.

    healthy, drifted: the two shares of calls valid as emitted that are told apart.
    alarm: the score at which decoding is constrained.
    hold: turns decoded under constraint before the model is tried alone; doubled at each relapse.
    longest_hold: the limit of that doubling.
    head_start: the score with which a session comes back from constraint.
    trust: turns alone without an alarm after which the hold is short again.

    The error rates of the defaults are in docs/guard.md; a test simulates them.
    """

    healthy: float = 0.95
    drifted: float = 0.70
    alarm: float = 4.0
    hold: int = 5
    longest_hold: int = 40
    head_start: float = 2.0
    trust: int = 20

    @property
    def on_valid(self) -> float:
        return math.log(self.drifted / self.healthy)

    @property
    def on_invalid(self) -> float:
        return math.log((1 - self.drifted) / (1 - self.healthy))


@dataclass(frozen=True, slots=True)
class Drift:
    """The drift score of one session. remaining: turns still to be constrained; at 0 the model is alone."""

    score: float = 0.0
    remaining: int = 0
    hold: int = 0
    alone: int = 0
    alarms: int = 0

    @property
    def escalated(self) -> bool:
        return self.remaining > 0


FRESH = Drift()
DEFAULT_RULE = DriftRule()


def step(drift: Drift, valid: bool, rule: DriftRule = DEFAULT_RULE) -> Drift:
    """The score after one more turn with calls. valid: all of its calls were valid as emitted."""
    if drift.escalated:
        # an upstream that cannot constrain still emits invalid calls: then nothing has become better yet
        remaining = drift.remaining - 1 if valid else drift.hold
        return replace(drift, remaining=remaining, score=rule.head_start if remaining == 0 else drift.score)
    score = max(0.0, drift.score + (rule.on_valid if valid else rule.on_invalid))
    if score < rule.alarm:
        trusted = drift.alone + 1 >= rule.trust
        return replace(drift, score=score, alone=drift.alone + 1, hold=0 if trusted else drift.hold)
    hold = min(2 * drift.hold, rule.longest_hold) if drift.hold else rule.hold
    return Drift(score, remaining=hold, hold=hold, alone=0, alarms=drift.alarms + 1)


@dataclass(frozen=True, slots=True)
class Share:
    """How many turns held calls, and in how many of them all calls were valid as emitted."""

    turns: int = 0
    valid: int = 0


# First turns of the buckets by which shares are reported: 1-5, 6-10, 11-20, 21-40, 41 and later.
@dataclass(frozen=True, slots=True)
class SessionKey:
    """A session of one model. session: its id, from the client or from the conversation's beginning."""

    model: str
    session: str


class DriftStore:
    """The drift scores of the sessions seen last, at most `capacity` of them.

    Also the share of valid turns among those decoded without constraint, by model and bucket of turns.
    """

    def __init__(self, rule: DriftRule = DEFAULT_RULE, capacity: int = 4096) -> None:
        self._rule = rule
        self._capacity = capacity
        self._sessions: OrderedDict[SessionKey, Drift] = OrderedDict()
        self._shares: dict[tuple[str, int], Share] = {}

    def look(self, key: SessionKey) -> Drift:
        return self._sessions.get(key, FRESH)

    def note(self, key: SessionKey, turn: int, valid: bool, *, constrained: bool = False) -> Drift:
        """Counts one turn that held calls. turn: its number in the conversation, from 1."""
        if not constrained:
            place = (key.model, bucket(turn))
            share = self._shares.get(place, Share())
            self._shares[place] = Share(share.turns + 1, share.valid + valid)
        drift = step(self.look(key), valid, self._rule)
        self._sessions[key] = drift
        self._sessions.move_to_end(key)
        if len(self._sessions) > self._capacity:
            self._sessions.popitem(last=False)
        return drift

    def escalated(self) -> int:
        """How many of the remembered sessions are decoded under constraint now."""
        return sum(drift.escalated for drift in self._sessions.values())

    def shares(self) -> dict[tuple[str, int], Share]:
        """The share of valid turns, by model and by the first turn of the bucket."""
        return dict(self._shares)
