"""What must hold for any text of a model: shared by the fuzzer and by the slice of it in the tests."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import jsonschema_rs

from repair.events import Calls, join_texts
from repair.formats import FORMATS, dropped
from repair.stream import StreamParser
from repair.tools import ToolSet
from repair.turn import Outcome, Turn, TurnPolicy
from repair.types import ReasoningDelta, TextDelta, ToolDefinition, Verdict

CITY: dict[str, Any] = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "days": {"type": "integer"},
        "unit": {"enum": ["celsius", "fahrenheit"]},
        "tags": {"type": "array", "items": {"type": "string"}},
        "deep": {"type": "object", "properties": {"on": {"type": "boolean"}}},
    },
    "required": ["city"],
    "additionalProperties": False,
}
ANYTHING: dict[str, Any] = {"type": "object"}
LETTERS = 400  # so many characters of a text are also fed one by one
SCHEMAS = {"get_weather": CITY, "run": ANYTHING}
# Markers that are no content wherever they stand, and the beginnings of such.
NO_CONTENT = ("<|", "[", "think", *(one for form in FORMATS.values() for one in dropped(form)))
TOOLS = ToolSet.compile([ToolDefinition(name, "", schema) for name, schema in SCHEMAS.items()])


def play(
    pieces: Iterable[str], format: str, finish: str | None, policy: TurnPolicy
) -> tuple[str, str, Outcome]:
    """A turn from its pieces: all its text, all its reasoning, and the outcome."""
    turn = Turn(TOOLS, format, policy)
    deltas = [delta for piece in pieces for delta in turn.feed(piece)]
    lost = turn.problems
    outcome = turn.close(finish)
    assert not lost or outcome.verdict is Verdict.reask, "a turn that was lost in mid-stream is none"
    deltas += outcome.events
    text = "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))
    reasoning = "".join(delta.text for delta in deltas if isinstance(delta, ReasoningDelta))
    return text, reasoning, outcome


def split(text: str, cuts: Sequence[int]) -> list[str]:
    """`text` cut at the given places."""
    places = sorted({min(cut, len(text)) for cut in cuts})
    return [text[start:end] for start, end in zip([0, *places], [*places, len(text)], strict=True)]


def read(text: str, pieces: Sequence[str] | None, format: str) -> list[object]:
    """The parser's events of `pieces`; of None: of the text as it is read when it is complete."""
    parser = StreamParser(TOOLS, format)
    events = [event for piece in pieces or () for event in parser.feed(piece)]
    events += parser.read_all(text) if pieces is None else parser.close()
    return [
        (one.raw, one.bare, one.region.calls, one.region.closed, one.region.fragile)
        if isinstance(one, Calls)
        else one
        for one in join_texts(events)
    ]


def check_release(text: str, cuts: Sequence[int], format: str) -> None:
    """Raises AssertionError where a call left early that the whole text reads otherwise."""
    expected = read(text, None, format)
    for pieces in ([text], split(text, cuts), [*text[:LETTERS], text[LETTERS:]]):
        assert read(text, pieces, format) == expected, "what had left early was something else"


def check(text: str, cuts: Sequence[int], format: str, finish: str | None, policy: TurnPolicy) -> None:
    """Raises AssertionError where a promise is broken, and whatever the repair itself raises."""
    check_release(text, cuts, format)
    content, reasoning, outcome = play([text], format, finish, policy)
    again = play(split(text, cuts), format, finish, policy)
    assert (content, reasoning, outcome.calls, outcome.verdict, outcome.problems) == (
        *again[:2],
        again[2].calls,
        again[2].verdict,
        again[2].problems,
    ), "the pieces changed the result"
    if outcome.verdict in (Verdict.none, Verdict.reask):
        assert not outcome.calls, "a turn that is no call, or refused, hands out a call"
    else:
        assert outcome.calls
        assert not outcome.problems
    if (
        outcome.verdict is Verdict.reask
        and not reasoning
        and not any(marker in text for marker in NO_CONTENT)
    ):
        assert content == text, "a refused turn lost text"
    if policy.enabled:
        for call in outcome.calls:
            arguments = json.loads(call.arguments)
            assert jsonschema_rs.is_valid(SCHEMAS[call.name], arguments), "an invalid call was delivered"
