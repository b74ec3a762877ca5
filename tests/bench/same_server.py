"""`python -m tests.bench.same_server` (make bench-same): how often `fortieth ab` tells a server from itself.

First runs of simulated turns go through the verdicts of `fortieth ab`: the share of them that claims a
difference between two arms that are the same. Then twenty real runs: two processes of one server, twenty
short loops each. Exits with 1 where more than 5% of the simulated runs (beyond chance), or more than two of
the real ones, claim a difference.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from corpora.exam import wilson
from engine.resolve import BUNDLED, bundled
from proxy.ab.measured import Delivered, MeasuredItem, MeasuredTurn, Results
from proxy.ab.statistics import LEVEL
from proxy.ab.verdicts import Comparison, compare
from proxy.cli.ab_run import AbRequest, run_ab
from tests.bench.servers import ours, running

MOST_OF_TWENTY = 2
_FAILED = (Delivered.invalid, Delivered.unreadable, Delivered.call_text)


@dataclass(frozen=True, slots=True)
class Simulated:
    """A run of two arms.

    streams: conversations at a time, each number for itself.
    broken: the share of broken turns that the second arm has more than the first; 0 for the same server.
    slower: the ratio of its times; 1 for the same server.
    """

    conversations: int = 20
    turns: int = 20
    streams: tuple[int, ...] = (1,)
    broken: float = 0.0
    slower: float = 1.0

    def results(self, seed: int) -> Results:
        """Both arms meet the same conversations, hard ones and easy ones; each arm's turns fall out by chance
        of their own. Conversations of one round share a noisy moment.
        """
        rng = np.random.default_rng(seed)
        turns: list[MeasuredTurn] = []
        items: list[MeasuredItem] = []
        for streams in self.streams:
            hard = rng.beta(1.0, 12.0, self.conversations)
            long = rng.lognormal(0.0, 0.3, self.conversations)
            for number, arm in enumerate(("A", "B")):
                noise = rng.lognormal(0.0, 0.1, -(-self.conversations // streams))
                for at in range(self.conversations):
                    round_ = at // streams
                    pace = float(long[at] * noise[round_] * (self.slower if number else 1.0))
                    chance = float(hard[at]) + (self.broken if number else 0.0)
                    played = self._conversation(rng, arm, streams, f"seed {at}", chance, pace)
                    done = sum(turn.exact is True for turn in played)
                    turns += played
                    items.append(
                        MeasuredItem(
                            arm, streams, f"seed {at}", round_, 0.0, 1.0, "done", "", self.turns, done
                        )
                    )
        return Results(tuple(turns), tuple(items))

    def _conversation(
        self, rng: np.random.Generator, arm: str, streams: int, item: str, chance: float, pace: float
    ) -> list[MeasuredTurn]:
        made = []
        for number in range(1, self.turns + 1):
            roll = rng.random()
            kind = Delivered.valid if roll > chance else _FAILED[int(roll * 1e6) % len(_FAILED)]
            seconds = pace * float(rng.lognormal(0.0, 0.4))
            exact = kind is Delivered.valid and roll < 0.95
            made.append(
                MeasuredTurn(
                    arm, streams, item, number, number, True, kind, "", exact, 0.0, seconds / 3, seconds,
                    gap=seconds / 40, prompt_tokens=100 * number,
                    cached_tokens=100 * number - int(rng.integers(1, 100)),
                )
            )  # fmt: skip
        return made


def verdicts(runs: int, run: Simulated, first_seed: int = 0) -> list[tuple[Comparison, ...]]:
    """Of so many simulated runs."""
    return [compare(run.results(first_seed + number), ("A", "B")) for number in range(runs)]


def claiming(found: Sequence[Sequence[Comparison]]) -> int:
    """How many runs claim a difference."""
    return sum(any(one.shown for one in comparisons) for comparisons in found)


def simulate(runs: int, run: Simulated) -> bool:
    """Prints how many runs claim a difference. Returns whether 5% lies within, or above, the interval."""
    found = verdicts(runs, run)
    claimed = claiming(found)
    low, high = wilson(claimed, runs)
    which = Counter(one.measure.name for comparisons in found for one in comparisons if one.shown)
    print(
        f"{runs} simulated runs of {run.conversations} conversations, {run.streams} at a time: "
        f"{claimed} claim a difference, {claimed / runs:.1%} ({low:.1%} to {high:.1%}); {dict(which)}",
        flush=True,
    )
    return low <= LEVEL


def play(runs: int, seeds: int, turns: int) -> bool:
    """Real runs of two processes of the bundled model's server, the guard off."""
    server, model = ours("--guard", "off", "--cache-dir", "off", "--log-level", "error"), bundled(BUNDLED[2])
    claimed = 0
    with (
        tempfile.TemporaryDirectory() as folder,
        running(server, model) as one,
        running(server, model) as other,
    ):
        arms = tuple(f"http://127.0.0.1:{live.port}/v1" for live in (one, other))
        for number in range(runs):
            out = Path(folder) / str(number)
            limits = (seeds, number * seeds, turns, "4", 1.5, 256, 600.0)
            with contextlib.redirect_stdout(io.StringIO()):
                run_ab(AbRequest(arms, None, "worlds", None, *limits, out, None))
            found = json.loads((out / "results.json").read_text("utf-8"))["verdicts"]
            shown = [verdict["words"] for verdict in found if verdict["shown"]]
            claimed += bool(shown)
            print(f"run {number + 1}: {'; '.join(shown) or 'no difference shown'}", flush=True)
    print(f"{claimed} of {runs} real runs claim a difference")
    return claimed <= MOST_OF_TWENTY


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--simulated", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--turns", type=int, default=2)
    asked = parser.parse_args()
    right = [simulate(asked.simulated, Simulated(streams=streams)) for streams in ((1,), (1, 8))]
    right += [play(asked.runs, asked.seeds, asked.turns)] if asked.runs else []
    return 0 if all(right) else 1


if __name__ == "__main__":
    sys.exit(main())
