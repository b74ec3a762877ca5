"""Damaged calls as a stream: what of a call's markup has left before its turn is asked again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from corpora.malformations.specimen import ARGUMENTS, Specimen
from repair.doubt import Doubt
from repair.formats import AUTO
from repair.tools import ToolSet
from repair.turn import Turn, TurnPolicy
from repair.types import TextDelta, Verdict

#: the format is not told, or the specimen's own is
AS_TOLD = (AUTO, "its own")
SENT, WAITED = "sent", "waited"
_PIECE = 4  # characters, about a token


def sent_early(specimen: Specimen, told: str) -> str | None:
    """What a client of a stream has got by the end of a turn that is asked again; None for another turn."""
    format = specimen.format if told == AS_TOLD[1] else told
    turn = Turn(ToolSet.compile(specimen.tools), format, TurnPolicy(tool_choice=specimen.choice))
    doubt, sent = Doubt(), ""
    for at in range(0, len(specimen.text), _PIECE):
        for one in turn.feed(specimen.text[at : at + _PIECE]):
            sent += doubt.feed(one.text) if isinstance(one, TextDelta) else ""
        if turn.problems:
            break
    return sent if turn.close(specimen.finish).verdict is Verdict.reask else None


def is_markup(specimen: Specimen, sent: str) -> bool:
    """Whether a part of the call is in what was sent, and not only the words before it or its tool's name."""
    said = sent.strip("` \n\ufeff")
    name = any(said == written.name for written in specimen.written)
    return bool(said) and not name and not specimen.content.startswith(said)


def measure_streamed(
    specimens: Iterable[Specimen], told: str, show: int = 0
) -> tuple[Counter[str], list[str]]:
    """How many of the turns that are asked again had sent markup; examples of up to `show` of them."""
    counts: Counter[str] = Counter()
    shown: list[str] = []
    for specimen in specimens:
        if specimen.format == ARGUMENTS or specimen.choice == "none":
            continue
        sent = sent_early(specimen, told)
        if sent is None:
            continue
        early = is_markup(specimen, sent)
        counts[SENT if early else WAITED] += 1
        if early and len(shown) < show:
            done = " + ".join(specimen.done)
            shown.append(f"sent [{specimen.format}] {done}: {sent[-200:]!r} of {specimen.text[:400]!r}")
    return counts, shown


def streamed_table(found: Iterable[tuple[str, Counter[str]]]) -> str:
    """Of each way to tell the format: turns that are asked again, and those that had sent markup before."""
    lines = ["| the format told | asked again | **had sent markup** |", "|---|--:|--:|"]
    lines += [f"| {told} | {counts.total()} | {counts[SENT]} |" for told, counts in found]
    return "\n".join(lines)
