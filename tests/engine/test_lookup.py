"""What stood before is expected again: where it is found, what is learned from drafts, and that no token
changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config import EngineConfig
from engine.core import EngineCore
from engine.drafting import MOST_DRAFTED
from engine.lookup import FIRST_DRAFT, LEAST_REPEATED, MOST_REPEATED, Lookup
from engine.model import LoadedModel
from tests.engine.calls import SAMPLINGS, call_grammar, pair, same
from tests.engine.drive import alone, request, run

LETTERS: dict[str, Any] = {"logit_bias": dict.fromkeys(b"ab", 40.0)}  # a text of these repeats itself
FAR = range(1000, 1200)  # tokens that stand nowhere else


def play(prompt: Sequence[int], answer: Sequence[int], rows: int = 1) -> tuple[list[int], int]:
    """Has a drafter go along with an answer as the engine does: it is asked for each pass, and told a token
    one pass later. Returns the lengths of its drafts, and how many passes were made.
    """
    lookup, lengths = Lookup(prompt), list[int]()
    picked = passes = 0
    while picked < len(answer):
        passes += 1
        draft: Sequence[int] = ()
        if lookup.worth_asking(rows):
            draft = lookup.draft(answer[picked - 1] if picked else None, MOST_DRAFTED)
        assert len(draft) <= MOST_DRAFTED
        if draft:
            lengths.append(len(draft))
        known = next(
            (n for n, token in enumerate(draft) if answer[picked : picked + n + 1][-1:] != [token]),
            len(draft),
        )
        for _ in range(min(known + 1, len(answer) - picked)):
            if picked:
                lookup.note(answer[picked - 1])
            picked += 1
    return lengths, passes


def test_what_is_copied_takes_few_passes() -> None:
    text = [*FAR]
    lengths, passes = play([1, 2, *text, 3], [7, *text[20:180]])
    assert lengths[:4] == [FIRST_DRAFT, 2 * FIRST_DRAFT, 4 * FIRST_DRAFT, MOST_DRAFTED], "drafts grow"
    assert passes < 20


@pytest.mark.parametrize("period", [1, 2, 30])
def test_an_answer_may_repeat_itself(period: int) -> None:
    assert play([1], [*FAR[:period]] * (240 // period))[1] < period + 20


def test_nothing_is_expected_of_what_is_new() -> None:
    assert play([*FAR], [*range(400)]) == ([], 400)


@pytest.mark.parametrize("repeated", [LEAST_REPEATED - 1, LEAST_REPEATED])
def test_a_few_tokens_are_no_repetition(repeated: int) -> None:
    lookup = Lookup([*FAR])
    for token in FAR[10 : 10 + repeated]:
        lookup.note(token)
    assert lookup.worth_asking(1) is (repeated == LEAST_REPEATED)


def test_neither_before_the_first_token_nor_in_a_large_batch() -> None:
    lookup = Lookup([*FAR[:9], *FAR[:8]])
    assert not lookup.worth_asking(1)
    lookup.note(FAR[8])
    assert lookup.worth_asking(2)
    assert not lookup.worth_asking(3)


def test_the_longest_repetition_counts_and_of_equals_the_latest() -> None:
    a, b, c = [*FAR[:6]], [*FAR[10:16]], [*FAR[20:30]]
    prompt = [1, *a, *b, 50, 2, *b, 60, 3, *b, 70, *c]
    for before, told in ((a, 50), ([9], 70)):
        lookup = Lookup(prompt)
        for token in (*before, *b[:-1]):
            lookup.note(token)
        assert lookup.worth_asking(1)
        assert lookup.draft(b[-1], 1) == [told]
        assert lookup.draft(4, 1) == [], "another token was picked than the expected one"


def test_wrong_drafts_ask_for_longer_repetitions_and_right_ones_for_shorter() -> None:
    """A table whose rows begin alike and go on differently is soon left alone, and a copy found again."""
    row = [*FAR[:LEAST_REPEATED]]
    rows = [token for n in range(60) for token in (*row, 2 * n, 2 * n + 1)]
    lengths, passes = play([5], rows)
    assert len(lengths) <= 6
    assert passes >= len(rows) - 6
    text = [*FAR[50:]]
    lengths, passes = play([*text], [*rows, *text])
    assert max(lengths) == MOST_DRAFTED
    assert passes < len(rows) + MOST_REPEATED + 15


@given(st.lists(st.integers(0, 2), max_size=60), st.lists(st.integers(0, 2), max_size=60), st.integers(1, 3))
def test_whatever_is_written_a_draft_stood_there_before(
    prompt: list[int], answer: list[int], rows: int
) -> None:
    lookup, seen = Lookup(prompt), list(prompt)
    for token in answer:
        if lookup.worth_asking(rows):
            draft = [token, *lookup.draft(token, 8)]
            assert len(draft) <= 9
            if len(draft) > 1:
                last = seen[len(seen) - LEAST_REPEATED :]
                places = range(LEAST_REPEATED, len(seen))
                assert any(
                    seen[at - len(last) : at] == last and [*seen, *draft][at : at + len(draft)] == draft
                    for at in places
                )
        lookup.note(token)
        seen.append(token)


@pytest.mark.parametrize("seed", range(4))
def test_no_token_changes(loaded: LoadedModel, seed: int) -> None:
    """Alone, in a batch, and beside a call under a grammar, which may repeat something too."""
    rng = Random(seed)
    ahead, plain = pair(loaded, cache_ram=0, prompt_lookup=True)
    asked = [
        request(f"r{n}", "abcab" * (9 + n), max_tokens=120, ignore_eos=True, **{**LETTERS, **sampling})
        for n, sampling in enumerate(rng.sample(SAMPLINGS[:5], 2))
    ]
    asked.append(request("call", "please " * 3, grammar=call_grammar(seed), max_tokens=90))
    expected = {one.id: alone(plain, one) for one in asked}
    for one in asked:
        same(alone(ahead, one), expected[one.id])
    found = run(ahead, *asked)
    for one in asked:
        same(found[one.id], expected[one.id])


def test_passes_are_saved_and_the_setting_turns_it_off(loaded: LoadedModel) -> None:
    asked = request("r", "abcab" * 9, max_tokens=150, ignore_eos=True, **LETTERS)
    steps: dict[bool, int] = {}
    for on in (True, False):
        core = EngineCore(loaded, EngineConfig(model=loaded.info.path, cache_ram=0, prompt_lookup=on))
        alone(core, asked)
        steps[on] = core.stats().steps
    assert steps[True] < 0.8 * steps[False]
    assert steps[False] >= 150
