"""A slice of the corpus through the guard over real HTTP; `make guard` runs the whole."""

from __future__ import annotations

from tests.proxy.guard_corpus import hand_over, run
from tests.repair.corpus import CASES

# every format has its cases in one row: a step that no row's length divides meets all kinds
SLICE = [case for case in CASES if case["expect"] == "reask"][::17] + CASES[5::61]


def test_what_is_delivered_is_valid_and_was_meant() -> None:
    seen = list(run(SLICE))
    assert [(judged.play.key, judged.stream, judged.faults) for judged in seen if judged.faults] == []
    assert {judged.seen.verdict for judged in seen} == {"none", "clean", "repaired", "reasked", "failed"}
    assert {judged.play.arm for judged in seen} == {"text", "calls"}
    assert any(judged.kept for judged in seen)


def test_nothing_that_is_handed_over_can_be_executed() -> None:
    handed = list(hand_over(SLICE))
    assert [(play.key, seen.calls) for play, seen, executable in handed if executable] == []
    assert sum(bool(seen.calls) for _, seen, _ in handed) > len(handed) / 2
