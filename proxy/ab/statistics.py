"""The statistics of paired measurements: intervals, a test by signs, a correction for many tests, sizes.

The unit is the conversation (its seed), never the turn: turns of one conversation hang together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

LEVEL = 0.05
RESAMPLES = 10_000
_EXACT_UP_TO = 14  # pairs for which every choice of signs is counted
_POWER = 0.8


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """The differences B - A of the same conversations, summed up.

    mean: of the differences.
    low, high: the ends of its 95% bootstrap interval.
    p: of the test by signs; 1 for no pairs.
    spread: the standard deviation of the differences; 0 with fewer than two.
    pairs: how many there are; apart: those of which the difference is not 0.
    """

    mean: float
    low: float
    high: float
    p: float
    spread: float
    pairs: int
    apart: int

    @property
    def least_p(self) -> float:
        """The smallest p that so many pairs can give."""
        return min(1.0, 2.0 ** (1 - self.apart))


def paired_difference(differences: Sequence[float], seed: int = 0) -> PairedDifference:
    """Sums up paired differences. The same differences and seed always give the same result."""
    held = np.asarray(differences, dtype=float)
    if not held.size:
        return PairedDifference(0.0, 0.0, 0.0, 1.0, 0.0, 0, 0)
    low, high = bootstrap_interval(held, seed)
    spread = float(held.std(ddof=1)) if held.size > 1 else 0.0
    apart = int(np.count_nonzero(held))
    return PairedDifference(float(held.mean()), low, high, sign_test(held, seed), spread, held.size, apart)


def bootstrap_interval(
    values: Sequence[float] | np.ndarray[tuple[int, ...], np.dtype[np.float64]], seed: int = 0
) -> tuple[float, float]:
    """The 95% percentile bootstrap interval of the mean (Efron 1979). Raises ValueError for no values."""
    held = np.asarray(values, dtype=float)
    if not held.size:
        raise ValueError("no values to draw from")
    generator = np.random.default_rng(seed)
    means = held[generator.integers(0, held.size, (RESAMPLES, held.size))].mean(axis=1)
    low, high = np.quantile(means, (LEVEL / 2, 1 - LEVEL / 2))
    return float(low), float(high)


def sign_test(
    differences: Sequence[float] | np.ndarray[tuple[int, ...], np.dtype[np.float64]], seed: int = 0
) -> float:
    """The p of Fisher's randomisation test of paired differences, two-sided: how many choices of signs give a
    sum as far from 0. It is exact where A and B are the same server, whatever the distribution. Above 14
    differences that are not 0, choices are drawn.
    """
    held = np.asarray(differences, dtype=float)
    held = held[held != 0]
    if not held.size:
        return 1.0
    if held.size <= _EXACT_UP_TO:
        bits = np.arange(2**held.size)[:, None] >> np.arange(held.size)
        signs, drawn = 1 - 2 * (bits & 1), 0
    else:
        generator = np.random.default_rng(seed)
        signs, drawn = generator.integers(0, 2, (2 * RESAMPLES, held.size)) * 2 - 1, 1
    sums, seen = np.abs(signs @ held), abs(held.sum())
    unseen = 1e-9 * np.abs(held).sum()  # equal sums differ by rounding
    as_far = int(np.count_nonzero(sums >= seen - unseen))
    return (as_far + drawn) / (len(sums) + drawn)


def corrected_level(least: Sequence[float], level: float = LEVEL) -> float:
    """The level at which each of several tests may claim a difference, so that all together claim one falsely
    in at most `level` of the runs (Tarone 1990). least: the smallest p that each test could give; tests that
    could claim nothing anyhow do not count.
    """
    for tests in range(1, len(least) + 1):
        if sum(one <= level / tests for one in least) <= tests:
            return level / tests
    return level


def seeds_needed(difference: PairedDifference, level: float) -> int | None:
    """How many pairs would show a difference of this size and spread in four of five runs; None where there
    is no difference, or not enough pairs to know the spread.
    """
    if not difference.mean or difference.pairs < 2:
        return None
    normal = NormalDist()
    reach = normal.inv_cdf(1 - level / 2) + normal.inv_cdf(_POWER)
    by_spread = (reach * difference.spread / difference.mean) ** 2
    # with fewer conversations that differ, no choice of signs is rare enough
    least = (1 + math.log2(1 / level)) * difference.pairs / max(1, difference.apart)
    return max(2, math.ceil(by_spread), math.ceil(least))


def survival(ends: Sequence[tuple[int, bool]]) -> list[tuple[int, float, int]]:
    """The share of conversations that are intact after each turn (Kaplan and Meier 1958).

    ends: of each conversation its last turn, and whether that turn broke it; a conversation that was not
        broken counts only as far as it went.

    Returns turn, share, and how many conversations had come to that turn, from turn 1 on.
    """
    share, curve = 1.0, []
    for turn in range(1, max((end for end, _ in ends), default=0) + 1):
        at_risk = sum(end >= turn for end, _ in ends)
        broken = sum(end == turn and broke for end, broke in ends)
        share *= 1 - broken / at_risk
        curve.append((turn, share, at_risk))
    return curve
