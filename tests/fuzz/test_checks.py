"""A slice of the fuzzer that needs no fuzzer: seeded mutations of the corpus under the same checks."""

from __future__ import annotations

from random import Random

import pytest

from repair.formats import FORMATS
from repair.reasoning import KNOWN
from repair.turn import TurnPolicy
from tests.fuzz.checks import check, check_release
from tests.repair.corpus import CASES

LITERALS = sorted({literal for one in FORMATS.values() for literal in (*one.OPENERS, *one.CLOSERS)})
NOISE = (
    *LITERALS,
    '"',
    "\\",
    "{",
    "}",
    "[",
    "]",
    ",",
    "'",
    "\n",
    " ",
    "null",
    "1e999",
    "\ud83d\ude00",
    "get_weather",
)
POLICIES = (TurnPolicy(), TurnPolicy(tool_choice="required"), TurnPolicy(enabled=False))


def mutate(rng: Random, text: str) -> str:
    """One to three insertions, deletions or repetitions."""
    for _ in range(rng.randint(1, 3)):
        start = rng.randrange(len(text) + 1)
        end = min(len(text), start + rng.randint(0, 12))
        match rng.randrange(3):
            case 0:
                text = text[:start] + rng.choice(NOISE) + text[start:]
            case 1:
                text = text[:start] + text[end:]
            case _:
                text = text[:end] + text[start:]
    return text


@pytest.mark.parametrize("seed", range(8))
def test_mutated_cases_break_no_promise(seed: int) -> None:
    rng = Random(seed)
    for case in rng.sample(CASES, 100):
        if not isinstance(case["text"], str):
            continue
        text = mutate(rng, case["text"])
        cuts = [rng.randrange(len(text) + 1) for _ in range(3)]
        check(
            text, cuts, rng.choice(("auto", *FORMATS)), rng.choice(("stop", "length")), rng.choice(POLICIES)
        )


@pytest.mark.parametrize("opening", ["", *(opening for opening, _ in KNOWN)])
def test_a_marker_inside_a_longer_one_waits_for_it(opening: str) -> None:
    """In reasoning as in content: a marker may hold another that is complete sooner or as soon."""
    for literal in LITERALS:
        for format in ("auto", *(name for name, one in FORMATS.items() if literal in one.OPENERS)):
            check_release(f"{opening}{literal}", [len(opening) + 1, len(opening) + 2], format)
            check_release(f"{opening}{literal[:-1]} {literal}x", [len(opening) + 1], format)
