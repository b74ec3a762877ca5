"""The page of a report: it asks for nothing, hides nothing, and shows what was found."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.ab.charts import Chart, Line, draw, ticks
from proxy.ab.client import AskOptions
from proxy.ab.export import turns_csv
from proxy.ab.measured import Delivered, MeasuredItem, MeasuredTurn, Results
from proxy.ab.plan import RunPlan
from proxy.ab.report import write_report
from proxy.ab.summary import Summary, summarise
from proxy.ab.verdicts import compare
from tests.repair.corpus import RELAXED

HOSTILE = '</pre><script>alert("1")</script><img src="http://elsewhere/x">'


def turn(arm: str, item: int, number: int, delivered: Delivered = Delivered.valid) -> MeasuredTurn:
    broken = delivered is not Delivered.valid
    return MeasuredTurn(
        arm, 1, f"seed {item}", number, number, True, delivered, HOSTILE if broken else "", not broken, 0.0,
        0.1 + number / 100, 0.2 + number / 100, prompt_tokens=300 * number, cached_tokens=200 * number,
        example=HOSTILE if broken else "",
    )  # fmt: skip


def played(arm: str, broken_at: int | None, items: int = 10, turns: int = 8) -> Results:
    kinds = {broken_at: Delivered.call_text}
    return Results(
        tuple(
            turn(arm, item, number, kinds.get(number, Delivered.valid))
            for item in range(items)
            for number in range(1, turns + 1)
        ),
        tuple(
            MeasuredItem(arm, 1, f"seed {item}", item, 0.0, 1.0, "done", "", 2, 1) for item in range(items)
        ),
    )


def both(first: Results, second: Results) -> Results:
    return Results(first.turns + second.turns, first.items + second.items)


def summary(results: Results, arms: tuple[str, ...]) -> Summary:
    plan = RunPlan(arms, ask=AskOptions(1.5, 256))
    facts = [{"label": arm, "base_url": "", "model": "m", "command": f"serve {HOSTILE}"} for arm in arms]
    return summarise(plan, results, {"facts": facts, "notes": [HOSTILE], "command": "fortieth ab"}, arms)


VOID = ("meta", "link", "line", "path", "circle")


class Page(HTMLParser):
    """What a page holds that could ask for something or run."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.tags: list[str] = []
        self.unnamed = 0
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        held = dict(attrs)
        self.tags.append(tag)
        self.links += [
            held[name] or "" for name in ("src", "href", "srcset", "action", "data") if name in held
        ]
        if tag == "svg" and not held.get("aria-label") and held.get("aria-hidden") != "true":
            self.unnamed += 1
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert tag in VOID or self.open.pop() == tag


def test_the_page_asks_for_nothing_and_is_well_formed() -> None:
    results = both(played("a<b>", 3), played("c&d", None))
    text = write_report(summary(results, ("a<b>", "c&d")), results)
    page = Page(text)
    assert page.links == ["data:,"]
    assert not {"script", "img", "iframe", "object", "form"} & set(page.tags)
    assert page.unnamed == 0
    assert page.open == []
    assert page.tags.count("h1") == 1
    assert "url(" not in text
    assert "default-src 'none'" in text


def test_the_page_shows_verdict_examples_and_what_was_run() -> None:
    results = both(played("A", 3), played("B", None))
    text = write_report(summary(results, ("A", "B")), results)
    assert "B delivers fewer broken turns than A: 0 of 80 against 10 of 80." in text
    assert "&lt;/pre&gt;&lt;script&gt;" in text
    assert "serve &lt;/pre&gt;" in text
    assert "<summary>call text: " in text
    assert "(10, 5 of them shown)" in text


def test_the_same_figures_show_no_difference() -> None:
    results = both(played("A", 3), played("B", 3))
    assert not any(one.shown for one in compare(results, ("A", "B")))
    assert "No difference shown." in write_report(summary(results, ("A", "B")), results)


def test_times_that_differ_by_a_twentieth_are_no_difference() -> None:
    first, second = played("A", None), played("B", None)
    for factor, shown in ((1.04, False), (1.1, True)):
        slower = tuple(replace(one, seconds=one.seconds * factor) for one in second.turns)
        found = compare(both(first, Results(slower, second.items)), ("A", "B"))
        (times,) = (one for one in found if one.measure.name == "time of a turn")
        assert times.shown is shown
        assert times.size == pytest.approx(factor)


def test_conversations_at_the_same_time_are_one_pair_of_times() -> None:
    first, second = played("A", None), played("B", None)
    slower = tuple(replace(one, seconds=one.seconds * 2) for one in second.turns)
    rounds = tuple(replace(item, round=at // 5) for at, item in enumerate(second.items))
    found = compare(both(first, Results(slower, rounds)), ("A", "B"))
    (times,) = (one for one in found if one.measure.name == "time of a turn")
    assert (times.difference.pairs, times.shown) == (2, False)


def test_too_few_conversations_say_how_many_would_do() -> None:
    results = both(played("A", 3, items=3), played("B", None, items=3))
    (broken,) = (one for one in compare(results, ("A", "B")) if one.measure.name == "broken turns")
    assert not broken.shown
    assert re.search(
        r"Broken turns: no difference shown \(0 of 24 against 3 of 24\)\. About \d+ conv", broken.words
    )


def test_the_csv_has_a_line_for_each_turn() -> None:
    lines = turns_csv(played("A", 3)).splitlines()
    assert len(lines) == 81
    assert lines[0].startswith("arm,streams,item,number")


@RELAXED
@given(st.floats(-1e4, 1e4), st.floats(1e-3, 1e6))
def test_ticks_reach_around_the_values(low: float, span: float) -> None:
    found = ticks(low, low + span)
    unseen = span / 10_000  # a fraction of a point of the chart
    assert found[0] <= low + unseen
    assert found[-1] >= low + span - unseen
    assert 2 <= len(found) <= 9
    assert found == sorted(set(found))


def test_a_chart_without_points_says_so() -> None:
    assert "not measured" in draw(Chart("t", "x", "y", (Line("A", 0, ()),)))
    assert "<circle" in draw(Chart("t", "x", "y", (Line("A", 0, ((1, 1),)),)))
