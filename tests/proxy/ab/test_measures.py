"""What one conversation's figures are made of."""

from __future__ import annotations

from dataclasses import replace

import pytest

from proxy.ab.measured import Delivered, MeasuredItem, MeasuredTurn
from proxy.ab.measures import MEASURES

ITEM = MeasuredItem("a", 1, "seed 1", 0, 0.0, 1.0, "done")
TURN = MeasuredTurn("a", 1, "seed 1", 1, 1, True, Delivered.valid, "", True, 0.0, 0.1, 0.2)
OF = {measure.name: measure.of for measure in MEASURES}


def test_only_texts_tell_how_fast_a_server_streams() -> None:
    # who holds calls back hands one out at once, in two pieces or three
    held = replace(TURN, gap=0.0001, pieces=3)
    text = replace(TURN, delivered=Delivered.none, gap=0.02, pieces=30)
    assert OF["time between pieces of text"](ITEM, [held, text, held]) == pytest.approx(0.02)
    assert OF["time between pieces of text"](ITEM, [held]) is None
    assert OF["time of a turn"](ITEM, [held, text]) == pytest.approx(0.2)
