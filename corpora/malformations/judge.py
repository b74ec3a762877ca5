"""Judges what a reader made of a damaged specimen against its label."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from corpora.malformations.specimen import ARGUMENTS, JSON_FORMATS, Label, Specimen, equal
from repair.jsonl import repair_arguments
from repair.tools import ToolSet
from repair.turn import Turn, TurnPolicy
from repair.types import Accepted, TextDelta, ToolCall, Verdict


class Mark(StrEnum):
    """The result of one specimen.

    exact: the true calls, and the content.
    leaked: the true calls, but a marker shows in the content, or text is lost.
    wrong: a changed value, a call where none may be, not all of the calls, or a call's shape that passes as
        text.
    missed: refused, although it could be recovered.
    refused: rightly refused.
    spared: refused where the rules leave it open.
    """

    exact = "exact"
    leaked = "leaked"
    wrong = "wrong"
    missed = "missed"
    refused = "refused"
    spared = "spared"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a reader returned.

    calls: (name, arguments text).
    content: what was shown beside the calls.
    silent: the turn passed as text.
    """

    calls: tuple[ToolCall, ...]
    content: str = ""
    clean: bool = False
    told: str = ""
    silent: bool = False


def read(specimen: Specimen, tools: ToolSet) -> Answer:
    """Reads the specimen as the guard does."""
    if specimen.format == ARGUMENTS:
        outcome = repair_arguments(specimen.written[0].name, specimen.text, tools, specimen.finish)
        if isinstance(outcome, Accepted):
            return Answer((outcome.call,), clean=not outcome.fixes, told=str(outcome.fixes))
        return Answer((), told=str(outcome.problems))
    turn = Turn(tools, specimen.format, TurnPolicy(tool_choice=specimen.choice))
    deltas = turn.feed(specimen.text)
    closed = turn.close(specimen.finish)
    content = "".join(one.text for one in (*deltas, *closed.events) if isinstance(one, TextDelta))
    told = f"{closed.verdict} {closed.fixes or closed.problems}"
    return Answer(
        closed.calls, content, closed.verdict is Verdict.clean, told, closed.verdict is Verdict.none
    )


def judge(specimen: Specimen, answer: Answer) -> Mark:
    """Judges the answer against the label."""
    if not answer.calls:
        if specimen.ask_again and answer.silent:
            return Mark.wrong
        return {
            Label.recoverable: Mark.missed,
            Label.destroying: Mark.refused,
            Label.undecided: Mark.spared,
        }[specimen.label]
    got = [[one.name, json.loads(one.arguments)] for one in answer.calls]
    if specimen.label is Label.destroying or not equal(got, [list(one) for one in specimen.truth]):
        return Mark.wrong
    leaked = specimen.label is Label.recoverable and answer.content.strip() != specimen.content
    return Mark.leaked if leaked else Mark.exact


def is_untouched(specimen: Specimen, answer: Answer) -> bool:
    """Whether a clean specimen came through unrepaired, its JSON arguments byte for byte the model's."""
    if not answer.clean or judge(specimen, answer) is not Mark.exact:
        return False
    sent = [one.arguments for one in answer.calls]
    return specimen.format not in JSON_FORMATS or sent == [one.text for one in specimen.written]


def truth_of(specimen: Specimen) -> Any:
    """The true arguments of a specimen with one call."""
    return specimen.truth[0][1]
