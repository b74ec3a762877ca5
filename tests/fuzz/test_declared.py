"""A slice of the hostile declared formats of `make fuzz`, and those that have once done harm."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from tests.fuzz.declared import SOUND, accept, check, draw


@pytest.mark.parametrize("seed", range(4))
def test_a_hostile_format_is_refused_or_serves(seed: int) -> None:
    rng, taken = Random(seed), 0
    for _ in range(60):
        table = draw(rng)
        wire = accept(table)
        if wire is not None:
            taken += 1
            check(rng, table, wire)
    assert taken > 3, "nothing was checked"


@pytest.mark.parametrize("shape", SOUND)
def test_what_the_hostile_ones_are_made_of_is_taken(shape: str) -> None:
    assert accept({"name": "own", "shape": shape, **SOUND[shape]}) is not None


@pytest.mark.parametrize(
    ("shape", "changed"),
    [
        ("objects", {"dropped": [""]}),
        ("objects", {"dropped": ["the"]}),
        ("objects", {"also": [" "]}),
        ("objects", {"also": ["<>"] * 17}),
        ("objects", {"reasoning": [["<hm>", ""]]}),
        ("objects", {"call": "Action:"}),
        ("objects", {"call": "<" + "x" * 100_000 + ">"}),
        ("objects", {"call": "<\ufffd>"}),
        ("objects", {"call": "<\x00q>"}),
        ("objects", {"call": "<\ud800q>"}),
        ("tags", {"parameter_end": ""}),
        ("tags", {"parameter_end": "{name}</p>"}),
        ("pairs", {"parameter_end": " "}),
        ("tags", {"section_end": '<p k="{key}">'}),
        ("tags", {"call_end": '<p k="end">'}),
        ("python", {"section": "", "section_end": ""}),
    ],
)
def test_a_format_that_did_harm_is_refused(shape: str, changed: dict[str, Any]) -> None:
    assert accept({"name": "own", "shape": shape, **SOUND[shape], **changed}) is None
