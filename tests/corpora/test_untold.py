"""Calls in a format that nobody told are read, or asked again; next to none passes as an answer in words."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random

import pytest

from corpora.malformations.specimen import ALL_FORMATS, Label, Specimen
from corpora.malformations.table import clean, draw_damaged, invented
from corpora.malformations.untold import SILENT, TOLD, judge_untold, measure_untold, untold_table
from tests.corpora.test_malformations import SEED


@pytest.mark.parametrize("told", TOLD)
def test_hardly_any_call_passes_as_text(told: str) -> None:
    counts, shown = measure_untold(draw_damaged(SEED, 600), told, show=9)
    assert counts.total() > 550
    assert counts["wrong"] == 0, shown
    assert counts[SILENT] <= 0.005 * counts.total(), shown


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
