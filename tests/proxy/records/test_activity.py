"""What runs, what ended last, and the totals since the start."""

from __future__ import annotations

from dataclasses import replace

from proxy.conversation.events import Usage
from proxy.conversation.verdict import GuardMode, Verdict
from proxy.records.activity import Activity, Phase, RunningRequest
from proxy.records.request_record import AttemptRecord, Ending
from tests.proxy.records.test_ledger import ACCOUNT


def begin(activity: Activity, request_id: str) -> RunningRequest:
    return activity.begin(request_id, "m", "s", 1, GuardMode.full, False)


def test_a_request_runs_until_it_has_ended() -> None:
    activity = Activity(clock=lambda: 5.0)
    first, second = begin(activity, "same id"), begin(activity, "same id")
    first.phase = Phase.writing
    assert [(one.number, one.at, one.phase) for one in activity.running] == [
        (1, 5.0, Phase.writing),
        (2, 5.0, Phase.waiting),
    ]
    activity.end(first, ACCOUNT)
    assert activity.running == (second,)
    (ended,) = activity.ended()
    assert (ended.number, ended.order, ended.record) == (1, 1, ACCOUNT)


def test_the_newest_are_kept_in_the_order_of_their_ends() -> None:
    activity = Activity(kept=2)
    running = [begin(activity, str(number)) for number in range(4)]
    for one in reversed(running):
        activity.end(one, replace(ACCOUNT, request_id=one.request_id))
    assert [one.record.request_id for one in activity.ended()] == ["1", "0"]
    assert [one.order for one in activity.ended(after=3)] == [4]
    assert (activity.order, activity.ended(after=4)) == (4, [])


def test_totals() -> None:
    activity = Activity()
    usage = Usage(10, 4, 6, 0)
    loop = AttemptRecord(None, repeated=True)
    for record in (
        replace(ACCOUNT, verdict=Verdict.reasked, attempts=(loop, loop), usage=usage, calls=2),
        replace(ACCOUNT, verdict=Verdict.none, attempts=(), usage=Usage(), calls=0),
        replace(ACCOUNT, ending=Ending.failed, reason=None, attempts=(), usage=Usage(), calls=0),
    ):
        activity.end(begin(activity, "r"), record)
    totals = activity.totals
    assert totals.requests == {"finished": 2, "failed": 1}
    assert totals.verdicts == {"reasked": 1, "none": 1}
    assert (totals.attempts, totals.calls, totals.repeated) == (2, 2, 2)
    assert (totals.prompt, totals.generated, totals.cached) == (10, 4, 6)
