"""Damaged calls read without their format being told, or as another model's: which of them pass as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace

from corpora.malformations.judge import Mark, judge, read
from corpora.malformations.specimen import ARGUMENTS, Label, Specimen
from repair.formats import AUTO
from repair.tools import ToolSet

#: what is told instead; the second is a format whose markers many others resemble
TOLD = (AUTO, "hermes", "mistral")
SILENT = "silent"


def judge_untold(specimen: Specimen, told: str) -> str:
    """What becomes of the specimen, the format `told`: a Mark's value, or SILENT where it passed as text and
    was meant as a call.
    """
    answer = read(replace(specimen, format=told), ToolSet.compile(specimen.tools))
    mark = judge(specimen, answer)
    shown = specimen.label is Label.destroying and bool(specimen.content) and not specimen.ask_again
    cut, unasked = specimen.finish == "length", specimen.choice == "none"
    passed = answer.silent and not answer.calls and not (shown or cut or unasked)
    return SILENT if passed else mark.value


def measure_untold(specimens: Iterable[Specimen], told: str, show: int = 0) -> tuple[Counter[str], list[str]]:
    """How many came out how; examples of up to `show` that were silent or wrong."""
    counts: Counter[str] = Counter()
    shown: list[str] = []
    for specimen in _of_another_format(specimens, told):
        found = judge_untold(specimen, told)
        counts[found] += 1
        if found in (SILENT, Mark.wrong.value) and len(shown) < show:
            done = " + ".join(specimen.done)
            shown.append(f"{found}, {told} told [{specimen.format}] {done}: {specimen.text[:600]!r}")
    return counts, shown


def _of_another_format(specimens: Iterable[Specimen], told: str) -> Iterator[Specimen]:
    return (one for one in specimens if one.format not in (ARGUMENTS, told))


def untold_table(found: Iterable[tuple[str, Counter[str]]]) -> str:
    """Of each format that was told: how many were read, asked again, silent, wrong."""
    lines = ["| told | injections | the true calls | asked again | **silent** | **wrong** |"]
    lines.append("|---|--:|--:|--:|--:|--:|")
    for told, counts in found:
        called = counts[Mark.exact.value] + counts[Mark.leaked.value]
        silent, wrong = counts[SILENT], counts[Mark.wrong.value]
        every = counts.total()
        lines.append(
            f"| {told} | {every} | {called} | {every - called - silent - wrong} | {silent} | {wrong} |"
        )
    return "\n".join(lines)
