"""When a session is escalated to constrained decoding, and when it comes back; the rule's error rates are
exact.
"""

from __future__ import annotations

from collections import defaultdict

import pytest

from proxy.guard.drift import DEFAULT_RULE, FRESH, Drift, DriftRule, DriftStore, SessionKey, Share, step
from proxy.records.request_record import bucket


def play(outcomes: str, drift: Drift = FRESH) -> Drift:
    """v: valid as emitted; x: not."""
    for outcome in outcomes:
        drift = step(drift, outcome == "v")
    return drift


@pytest.mark.parametrize(
    ("outcomes", "escalated"),
    [
        ("", False),
        ("v" * 100, False),
        ("x", False),
        ("xx", False),
        ("xxx", True),
        ("v" * 50 + "xxx", True),
        ("xxvx", True),
        ("xvvxvvx", True),
        ("x" + "v" * 6 + "x" + "v" * 6 + "x", False),
        ("xxx" + "v" * 4, True),
        ("xxx" + "v" * 5, False),
        ("xxx" + "vvvvx" + "v" * 4, True),
    ],
)
def test_the_rule(outcomes: str, escalated: bool) -> None:
    assert play(outcomes).escalated is escalated


def test_a_relapse_is_seen_sooner_and_held_longer() -> None:
    back = play("xxx" + "v" * DEFAULT_RULE.hold)
    assert not back.escalated
    again = play("xx", back)
    assert again.escalated, "it comes back with a head start"
    assert again.remaining == 2 * DEFAULT_RULE.hold
    drift = again
    for _ in range(10):
        drift = play("v" * drift.remaining + "xx", drift)
    assert drift.remaining == DEFAULT_RULE.longest_hold
    trusted = play("v" * (drift.remaining + DEFAULT_RULE.trust), drift)
    assert play("xxx", trusted).remaining == DEFAULT_RULE.hold, "a long good run makes it short again"


def escalated_within(turns: int, valid: float, rule: DriftRule = DEFAULT_RULE) -> list[float]:
    """The probability, exactly, that a session whose calls are valid with this chance was escalated by each
    turn.
    """
    alone: dict[Drift, float] = {FRESH: 1.0}
    alarmed, by_turn = 0.0, []
    for _ in range(turns):
        following: dict[Drift, float] = defaultdict(float)
        for drift, weight in alone.items():
            for outcome, chance in ((True, valid), (False, 1 - valid)):
                state = step(drift, outcome, rule)
                if state.escalated:
                    alarmed += weight * chance
                else:
                    following[Drift(round(state.score, 9))] += weight * chance
        alone = following
        by_turn.append(alarmed)
    return by_turn


@pytest.mark.parametrize(
    ("valid", "low", "high"),
    [
        (0.99, 0.0, 0.005),
        (0.97, 0.005, 0.02),
        (0.95, 0.04, 0.07),
        (0.8, 0.8, 0.9),
        (0.7, 0.98, 1),
        (0.5, 0.999, 1),
    ],
)
def test_error_rates_over_forty_turns(valid: float, low: float, high: float) -> None:
    """The table in docs/guard.md."""
    assert low <= escalated_within(40, valid)[-1] <= high


@pytest.mark.parametrize(("valid", "median"), [(0.8, 18), (0.7, 10), (0.5, 5)])
def test_how_soon_it_is_seen(valid: float, median: int) -> None:
    by_turn = escalated_within(60, valid)
    assert next(turn for turn, seen in enumerate(by_turn, 1) if seen >= 0.5) == median


def test_the_store_is_bounded_and_forgets_the_oldest() -> None:
    store = DriftStore(capacity=3)
    keys = [SessionKey("m", str(number)) for number in range(5)]
    for key in keys:
        for _ in range(3):
            store.note(key, 1, valid=False)
    assert [store.look(key).escalated for key in keys] == [False, False, True, True, True]
    assert store.escalated() == 3


def test_sessions_and_models_are_apart() -> None:
    store = DriftStore()
    for _ in range(3):
        store.note(SessionKey("m", "a"), 1, valid=False)
    assert store.look(SessionKey("m", "a")).escalated
    assert not store.look(SessionKey("m", "b")).escalated
    assert not store.look(SessionKey("n", "a")).escalated


def test_shares_by_model_and_turn() -> None:
    store = DriftStore()
    key = SessionKey("m", "a")
    for turn, valid in ((1, True), (5, False), (6, True), (40, True), (41, False)):
        store.note(key, turn, valid)
    store.note(key, 2, valid=True, constrained=True)
    assert store.shares() == {
        ("m", 1): Share(2, 1),
        ("m", 6): Share(1, 1),
        ("m", 21): Share(1, 1),
        ("m", 41): Share(1, 0),
    }
    assert [bucket(turn) for turn in (0, 1, 10, 11, 20, 1000)] == [1, 1, 6, 11, 11, 41]
