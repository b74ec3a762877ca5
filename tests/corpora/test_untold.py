"""Calls in a format that nobody told are read, or asked again; next to none passes or is sent as words."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random

import pytest

from corpora.malformations.specimen import ALL_FORMATS, Label, Specimen
from corpora.malformations.streamed import (
    AS_TOLD,
    SENT,
    is_markup,
    measure_streamed,
    sent_early,
    streamed_table,
)
from corpora.malformations.table import clean, draw_damaged, invented
from corpora.malformations.untold import SILENT, TOLD, judge_untold, measure_untold, untold_table
from tests.corpora.test_malformations import SEED


@pytest.mark.parametrize("told", TOLD)
def test_hardly_any_call_passes_as_text(told: str) -> None:
    counts, shown = measure_untold(draw_damaged(SEED, 600), told, show=9)
    assert counts.total() > 550
    assert counts["wrong"] == 0, shown
    assert counts[SILENT] <= 0.005 * counts.total(), shown


@pytest.mark.parametrize("told", AS_TOLD)
def test_hardly_any_stream_sends_markup_before_it_is_asked_again(told: str) -> None:
    counts, shown = measure_streamed(draw_damaged(SEED, 600), told, show=9)
    assert counts.total() > 200
    assert counts[SENT] <= 0.01 * counts.total(), shown
    assert f"| {told} | {counts.total()} | {counts[SENT]} |" in streamed_table([(told, counts)])


def test_markup_is_told_from_the_words_before_it() -> None:
    specimen = replace(_specimen(), content="I look.")
    assert not is_markup(specimen, "I look.\n")
    assert not is_markup(specimen, f"```\n{specimen.written[0].name}")
    assert not is_markup(specimen, " ")
    assert is_markup(specimen, "I look.\n<tool")
    assert sent_early(specimen, "its own") is None


def _specimen() -> Specimen:
    rng = Random(SEED)
    return clean(invented(SEED)(rng, "hermes"), rng)


def test_a_call_that_passes_is_silent() -> None:
    specimen = replace(_specimen(), text="All is well.")
    assert judge_untold(specimen, "mistral") == SILENT
    assert judge_untold(replace(specimen, finish="length"), "mistral") != SILENT
    assert judge_untold(replace(specimen, choice="none"), "mistral") != SILENT
    told = replace(specimen, label=Label.destroying, content="All is well.")
    assert judge_untold(told, "mistral") == "refused"


def test_the_table_counts_what_was_found() -> None:
    assert len(ALL_FORMATS) > 40
    counts = Counter({"exact": 3, "leaked": 1, "refused": 2, "missed": 1, SILENT: 1})
    assert "| auto | 8 | 4 | 3 | 1 | 0 |" in untold_table([("auto", counts)])
