"""A short slice of `make bench-memory`, and the checks of it that must be able to fail."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from tests.bench.memory import CONSTANT, RAM_GB, Arm, beyond, measured, missed

MB = 1 << 20
NOBODY: Any = None  # a server that is not asked
START = 130 * MB
BUDGET = int(RAM_GB * 2**30)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_distinct_prompts_leave_no_more_than_the_budgets_and_a_constant() -> None:
    (arm,) = measured(8, 1_500)
    assert len(arm.sizes) == 8
    assert min(arm.tokens) > 1_200
    assert beyond(arm)[0] <= CONSTANT


@pytest.mark.parametrize(
    ("sizes", "told"),
    [
        ([START] * 10 + [START + BUDGET + CONSTANT] * 10, []),
        ([START + 2 * BUDGET + 2 * CONSTANT] * 10 + [START + BUDGET] * 10, []),
        ([START] * 19 + [START + BUDGET + CONSTANT + MB], ["151 MB beyond", "grew"]),
        ([START] * 10 + [START + n * MB for n in range(1, 11)], ["grew"]),
    ],
    ids=["at the bar", "only its first half", "beyond", "growing"],
)
def test_what_counts_as_too_much(sizes: list[int], told: list[str]) -> None:
    arm = Arm("this", NOBODY, start=START, sizes=sizes)
    assert [one.split(" x")[0] for one in missed(arm)] == told
