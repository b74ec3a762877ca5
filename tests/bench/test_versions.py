"""The ratios of `make bench-versions`: of the first arm to the second, without the pair that warms up."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.bench.versions import Figures, pairs


def arm(values: Iterator[float]) -> Figures:
    return {"seconds": next(values)}


def test_a_row_tells_this_checkout_over_the_other(capsys: pytest.CaptureFixture[str]) -> None:
    this, other = iter((900.0, 2.0, 3.0, 4.0)), iter((1.0, 1.0, 2.0, 4.0))
    pairs([lambda: arm(this), lambda: arm(other)], 3)
    assert capsys.readouterr().out == "| seconds | 1.500 | 1.000 to 2.000 |\n"
