"""What `make bench-same` measures, in small: one server is not told from itself, and two servers are."""

from __future__ import annotations

from tests.bench.same_server import Simulated, claiming, verdicts

RUNS = 60


def test_whole_runs_of_one_server_claim_a_difference_hardly_ever() -> None:
    """At 5% more than 7 of 60 runs claim one once in a hundred times. Without the correction each run has
    nine tests, of which one finds something in more runs.
    """
    found = verdicts(RUNS, Simulated(turns=8))
    assert claiming(found) <= 7
    unchecked = sum(any(one.difference.p <= 0.05 for one in comparisons) for comparisons in found)
    assert unchecked > 7


def test_other_servers_are_told_apart() -> None:
    broken = verdicts(5, Simulated(turns=8, broken=0.3))
    assert all(
        any(one.shown and one.measure.name == "broken turns" for one in comparisons) for comparisons in broken
    )
    slower = verdicts(5, Simulated(turns=8, slower=1.5))
    assert all(
        any(one.shown and one.measure.name == "time of a turn" for one in comparisons)
        for comparisons in slower
    )
