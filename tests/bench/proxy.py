"""`python -m tests.bench.proxy` (make bench-proxy): what a proxy adds, ours and LiteLLM's, over loopback.

One scripted upstream in a process of its own, asked directly and through each proxy, by the same client, one
request at a time, in interleaved rounds. Prints Markdown; exits with 1 where a bar is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.proxy_arms import Arm, fortieth, litellm, upstream
from tests.bench.proxy_client import Connection
from tests.bench.proxy_upstream import Play

CALL = Play(calls=1)
ADDED_SHARE, STREAM_SHARE, STREAM_S = 0.5, 0.3, 0.001


def quantile(values: Sequence[float], share: float) -> float:
    """Of the sorted values the one at this share of the way."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@dataclass(slots=True)
class Measured:
    """Seconds of each request or piece, by arm and round."""

    rounds: dict[str, list[list[float]]] = field(default_factory=dict)

    def note(self, arm: str, took: list[float]) -> None:
        self.rounds.setdefault(arm, []).append(took)

    def pooled(self, arm: str, share: float) -> float:
        return quantile([one for took in self.rounds[arm] for one in took], share)

    def added(self, arm: str, share: float = 0.5) -> list[float]:
        """By round: beyond what the upstream itself takes."""
        pairs = zip(self.rounds[arm], self.rounds["direct"], strict=True)
        return [quantile(took, share) - quantile(direct, share) for took, direct in pairs]

    def ratio(self, arm: str, other: str) -> list[float]:
        """By round: what one adds over what the other adds."""
        return [ours / theirs for ours, theirs in zip(self.added(arm), self.added(other), strict=True)]


Measure = Callable[[Connection], list[float]]


def measure(arms: Sequence[Arm], rounds: int, one: Measure, seed: int = 1) -> Measured:
    """Every arm once in each round, in another order each time; the first round warms up and is left out."""
    found, rng = Measured(), random.Random(seed)
    for number in range(rounds + 1):
        for arm in rng.sample(list(arms), len(arms)):
            # one for each turn: servers close a connection that idles while the others have theirs
            with contextlib.closing(Connection(arm.port)) as connection:
                took = one(connection)
            if number:
                found.note(arm.name, took)
    return found


def table(title: str, found: Measured) -> str:
    """Milliseconds; the median over the rounds with the lowest and highest round."""
    lines = [f"| {title} | p50 ms | p99 ms | p50 added | lowest to highest round | p99 added |"]
    lines.append("|---|--:|--:|--:|---|--:|")
    for arm in found.rounds:
        halves, tails = found.added(arm), found.added(arm, 0.99)
        shown = [
            f"{1000 * found.pooled(arm, 0.5):.2f}",
            f"{1000 * found.pooled(arm, 0.99):.2f}",
            f"{1000 * statistics.median(halves):.2f}",
            f"{1000 * min(halves):.2f} to {1000 * max(halves):.2f}",
            f"{1000 * statistics.median(tails):.2f}",
        ]
        lines.append(
            " | ".join([f"| {arm}", *(shown if arm != "direct" else [*shown[:2], "", "", ""])]) + " |"
        )
    return "\n".join(lines)


def bars(call: Measured, text: Measured) -> list[tuple[str, float, float]]:
    """(what, found, at most)."""
    found = [
        ("streamed text, p50 added, ms", 1000 * statistics.median(text.added("fortieth")), 1000 * STREAM_S)
    ]
    if "litellm" in call.rounds:
        shares = (statistics.median(one.ratio("fortieth", "litellm")) for one in (call, text))
        found.append(("valid call, p50 added, of LiteLLM's", next(shares), ADDED_SHARE))
        found.append(("streamed text, p50 added, of LiteLLM's", next(shares), STREAM_SHARE))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rivals", type=Path, default=Path("/tmp/fortieth-rivals"))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--calls", type=int, default=100, help="requests of an arm in a round")
    parser.add_argument("--streams", type=int, default=3, help="streams of an arm in a round")
    parser.add_argument("--pieces", type=int, default=100, help="pieces of text in a stream")
    parser.add_argument("--gap-ms", type=float, default=5.0, help="between the pieces")
    asked = parser.parse_args()
    text = Play(pieces=asked.pieces, gap_s=asked.gap_ms / 1000, stamped=True)
    python = asked.rivals / "litellm" / "bin" / "python"
    with contextlib.ExitStack() as stack:
        arms = [stack.enter_context(upstream())]
        arms.append(stack.enter_context(fortieth(arms[0])))
        if python.exists():
            arms.append(stack.enter_context(litellm(python, arms[0])))
        else:
            print(f"no {python}: measured without LiteLLM's proxy")
        calls = measure(arms, asked.rounds, lambda to: [to.whole(CALL) for _ in range(asked.calls)])
        texts = measure(
            arms, asked.rounds, lambda to: [one for _ in range(asked.streams) for one in to.stamps(text)]
        )
    print(table("a valid call, not streamed", calls), table("streamed text, byte to byte", texts), sep="\n\n")
    missed = False
    print()
    for what, found, most in bars(calls, texts):
        missed |= found > most
        print(f"{what}: {found:.2f}, bar {most:g}: {'missed' if found > most else 'met'}")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
