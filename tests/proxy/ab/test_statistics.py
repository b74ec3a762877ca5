"""The statistics of paired measurements against known values, and their properties."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.ab.measures import MEASURES
from proxy.ab.statistics import (
    LEVEL,
    PairedDifference,
    bootstrap_interval,
    corrected_level,
    paired_difference,
    seeds_needed,
    sign_test,
    survival,
)
from tests.repair.corpus import RELAXED


def least_p(pairs: int) -> float:
    return paired_difference([1.0] * pairs).least_p


def test_how_many_conversations_every_measure_needs() -> None:
    """As docs/ab.md tells it for two arms and one number of conversations at a time."""
    for primary, needed in ((True, 7), (False, 10)):
        tests = sum(one.primary is primary for one in MEASURES)
        for pairs, can in ((needed - 1, False), (needed, True)):
            level = corrected_level([least_p(pairs)] * tests, LEVEL / 2)
            assert (least_p(pairs) <= level) is can, (primary, pairs)


WHOLE = st.lists(st.integers(-5, 5), min_size=1, max_size=9)


def by_hand(values: list[int]) -> float:
    """The randomisation test as its definition says it."""
    sums = [
        abs(sum(s * v for s, v in zip(signs, values, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(values))
    ]
    return sum(one >= abs(sum(values)) for one in sums) / len(sums)


@RELAXED
@given(WHOLE)
def test_the_sign_test_counts_every_choice(values: list[int]) -> None:
    assert sign_test(values) == pytest.approx(by_hand(values))


@pytest.mark.parametrize(
    ("values", "p"),
    [([], 1.0), ([0, 0, 0], 1.0), ([1], 1.0), ([1] * 5, 2 / 32), ([1] * 8, 2 / 256), ([3, -3], 1.0)],
)
def test_known_values_of_the_sign_test(values: list[int], p: float) -> None:
    assert sign_test(values) == pytest.approx(p)


@RELAXED
@given(WHOLE, st.floats(0.001, 1000))
def test_sign_and_unit_mean_nothing_to_the_sign_test(values: list[int], unit: float) -> None:
    assert sign_test([-value * unit for value in values]) == pytest.approx(sign_test(values))


def test_many_pairs_are_drawn_and_come_near_the_exact_figure() -> None:
    values = [1.0] * 13 + [-1.0] * 7  # 13 of 20 heads or more apart: 2 * P(X >= 13) = 0.2632
    assert sign_test(values) == pytest.approx(0.2632, abs=0.015)
    assert sign_test(values) == sign_test(values)
    assert sign_test([1.0] * 60) < 0.001


def test_the_same_server_twice_is_told_apart_no_more_often_than_the_level() -> None:
    """Differences of skewed times, of which each sign is as likely: of 600 tests at 5%, at most 45 claim one
    (99.9% of the binomial distribution).
    """
    generator = np.random.default_rng(7)
    claimed = 0
    for _ in range(600):
        first, second = generator.lognormal(0, 1, (2, 10))
        claimed += sign_test(second - first) <= 0.05
    assert 5 <= claimed <= 45


@pytest.mark.parametrize(
    ("least", "level"),
    [
        ([], 0.05),
        ([0.001], 0.05),
        ([0.001] * 4, 0.0125),
        ([0.001, 0.5, 1.0, 0.25], 0.05),  # three tests can claim nothing: they cost nothing
        ([0.001, 0.001, 0.03, 0.03], 0.025),
    ],
)
def test_the_level_is_shared_among_tests_that_can_claim_something(least: list[float], level: float) -> None:
    assert corrected_level(least) == pytest.approx(level)


@RELAXED
@given(st.lists(st.floats(-100, 100), min_size=1, max_size=12), st.floats(-50, 50))
def test_the_bootstrap_interval_moves_with_the_values(values: list[float], by: float) -> None:
    low, high = bootstrap_interval(values, seed=3)
    assert min(values) - 1e-9 <= low <= high <= max(values) + 1e-9
    moved = bootstrap_interval([value + by for value in values], seed=3)
    assert moved == pytest.approx((low + by, high + by), abs=1e-6)


def test_the_bootstrap_interval_of_many_values_is_the_normal_one() -> None:
    values = np.random.default_rng(1).normal(10, 2, 2000)
    half = 1.96 * 2 / 2000**0.5
    low, high = bootstrap_interval(values)
    assert low == pytest.approx(values.mean() - half, abs=0.01)
    assert high == pytest.approx(values.mean() + half, abs=0.01)
    with pytest.raises(ValueError, match="no values"):
        bootstrap_interval([])


def test_the_survival_of_a_textbook() -> None:
    """Remission in weeks under 6-MP (Freireich and others 1963), as every textbook of survival analysis has
    it.
    """
    ended = [6, 6, 6, 7, 10, 13, 16, 22, 23]
    went_on = [6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35]
    curve = survival([(week, True) for week in ended] + [(week, False) for week in went_on])
    shares = {turn: share for turn, share, _ in curve}
    known = {5: 1.0, 6: 0.857, 7: 0.807, 10: 0.753, 13: 0.690, 16: 0.627, 22: 0.538, 23: 0.448, 35: 0.448}
    assert {week: round(shares[week], 3) for week in known} == known
    assert curve[0] == (1, 1.0, 21)
    assert survival([]) == []


def test_seeds_needed_follows_the_formula() -> None:
    difference = PairedDifference(0.5, 0.0, 1.0, 0.2, 1.0, 10, 10)
    assert seeds_needed(difference, 0.05) == 32  # ((1.960 + 0.842) / 0.5) ** 2 = 31.4
    assert seeds_needed(PairedDifference(0.0, 0.0, 0.0, 1.0, 0.0, 10, 0), 0.05) is None
    assert seeds_needed(PairedDifference(0.5, 0.5, 0.5, 1.0, 0.0, 1, 1), 0.05) is None
    # one conversation in ten differs: 6 that do are needed, whatever the spread is
    assert seeds_needed(PairedDifference(0.1, 0.0, 0.1, 1.0, 0.01, 10, 1), 0.05) == 54


@RELAXED
@given(st.lists(st.integers(-3, 3), max_size=10))
def test_a_paired_difference_is_whole(values: list[int]) -> None:
    found = paired_difference(values)
    assert found == paired_difference(values)
    assert found.pairs == len(values)
    assert found.apart == sum(value != 0 for value in values)
    assert found.low <= found.mean + 1e-9
    assert found.high >= found.mean - 1e-9
    assert found.least_p <= found.p + 1e-9
