"""A turn that is handed on as it stands, under every way of cutting the text."""

from __future__ import annotations

import pytest

from repair.types import TextDelta, Verdict
from repair.verbatim import VerbatimTurn
from tests.repair.corpus import SPLITS, Split

MARKUP = '\n<think>a</think>\n<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>\n  '

# id -> (text, stops, what is shown, the stop string that ended it)
CASES: dict[str, tuple[str, tuple[str, ...], str, str | None]] = {
    "markup": (MARKUP, (), MARKUP, None),
    "nothing": ("", ("\n",), "", None),
    "first_character": ("\nabc", ("\n",), "", "\n"),
    "white_space_counts": ("  \n\nabc", ("\n\n",), "  ", "\n\n"),
    "in_a_call": (MARKUP, ("</tool_call>",), MARKUP[: MARKUP.index("</tool_call>")], "</tool_call>"),
    "half_of_one_at_the_end": ("abc<|", ("<|end|>",), "abc<|", None),
    "the_first_to_complete": ("abcd", ("cd", "bc"), "a", "bc"),
}


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("name", CASES)
def test_text_goes_out_up_to_a_stop_string(name: str, split: Split) -> None:
    text, stops, shown, found = CASES[name]
    turn = VerbatimTurn(stops)
    fed = [delta for piece in split(text) for delta in turn.feed(piece)]
    outcome = turn.close("length")
    assert "".join(one.text for one in (*fed, *outcome.events)) == shown
    assert all(isinstance(one, TextDelta) and one.text for one in (*fed, *outcome.events))
    assert (turn.stop_sequence, turn.stopped) == (found, found is not None)
    assert (outcome.calls, outcome.verdict, outcome.problems) == ((), Verdict.none, ())
    assert turn.feed("more") == [] if turn.stopped else turn.feed("more")
