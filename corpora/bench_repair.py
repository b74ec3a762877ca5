"""The repair benchmark, as `make bench-repair` runs it: `python -m corpora.bench_repair [--injections N]`.

Draws true calls, damages them with a label, repairs them, and prints Markdown tables: per format, per
malformation, the same argument texts through other readers, text that is no call, and the speed. With `--bfcl
FOLDER` real tools are used, too. The exit status is 1 if a single call came out wrong, or was made out of
nothing.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from corpora.exam import wilson
from corpora.malformations.judge import Answer, Mark, is_untouched, judge, read
from corpora.malformations.leaderboard import load_cases, load_irrelevant, source_of
from corpora.malformations.negatives import negatives
from corpora.malformations.readers import READERS
from corpora.malformations.specimen import ARGUMENTS, Label, Specimen
from corpora.malformations.streamed import AS_TOLD, measure_streamed, streamed_table
from corpora.malformations.table import Source, draw_clean, draw_damaged, draw_tool_sets
from corpora.malformations.untold import TOLD, measure_untold, untold_table
from repair.jsonl import repair_arguments
from repair.tools import ToolSet
from repair.turn import Turn
from repair.types import ToolCall, ToolDefinition, Verdict

_SINGLE, _DOUBLE = "one at a time", "two at a time"
_OURS = "fortieth"
_REQUESTS = ("What is the weather like on Mars?", "Write a poem about rivers.", "Who wrote this?\n\n1, 2, 3")


@dataclass(slots=True)
class Tally:
    """Counts of (label, mark) under a name, and examples worth showing."""

    counts: dict[str, Counter[tuple[Label, Mark]]] = field(default_factory=dict)
    shown: list[str] = field(default_factory=list)

    def add(self, names: Iterable[str], specimen: Specimen, mark: Mark) -> None:
        for name in names:
            self.counts.setdefault(name, Counter())[specimen.label, mark] += 1

    def total(self, name: str, marks: Sequence[Mark], label: Label | None = None) -> int:
        counted = self.counts.get(name, Counter())
        return sum(hits for (one, mark), hits in counted.items() if mark in marks and label in (None, one))


@dataclass(slots=True)
class Run:
    """One pass over damaged specimens. seconds: spent in repair alone."""

    formats: Tally = field(default_factory=Tally)
    malformations: Tally = field(default_factory=Tally)
    overall: Tally = field(default_factory=Tally)
    seconds: float = 0.0
    count: int = 0

    @property
    def wrong(self) -> int:
        """Calls with a changed value, and calls where there should be none."""
        return sum(self.overall.total(name, (Mark.wrong,)) for name in (_SINGLE, _DOUBLE))


def measure(specimens: Iterable[Specimen], show: int) -> Run:
    """Judges every specimen; keeps the texts of up to `show` that came out wrong, leaked or missed."""
    run = Run()
    for specimen in specimens:
        tools = ToolSet.compile(specimen.tools)
        start = time.perf_counter()
        answer = read(specimen, tools)
        run.seconds += time.perf_counter() - start
        run.count += 1
        mark = judge(specimen, answer)
        run.overall.add([_SINGLE if len(specimen.done) == 1 else _DOUBLE], specimen, mark)
        run.formats.add([specimen.format], specimen, mark)
        if len(specimen.done) == 1:
            run.malformations.add(specimen.done, specimen, mark)
        if mark in (Mark.wrong, Mark.missed, Mark.leaked) and len(run.overall.shown) < show:
            run.overall.shown.append(_describe(specimen, answer, mark))
    return run


def compare(specimens: Iterable[Specimen]) -> Tally:
    """Counts for specimens of one call's arguments alone, through every reader."""
    tally = Tally()
    for specimen in specimens:
        tally.add([_OURS], specimen, judge(specimen, read(specimen, ToolSet.compile(specimen.tools))))
        for reader, reads in READERS.items():
            value = reads(specimen.text, specimen.tool(0).parameters)
            calls = () if value is None else (ToolCall(specimen.truth[0][0], json.dumps(value)),)
            tally.add([reader], specimen, judge(specimen, Answer(calls)))
    return tally


def _describe(specimen: Specimen, answer: Answer, mark: Mark) -> str:
    got = [(one.name, one.arguments) for one in answer.calls]
    return (
        f"{mark} [{specimen.format}] {' + '.join(specimen.done)} ({specimen.label})\n"
        f"  text    {specimen.text[:1500]!r}\n  meant   {specimen.truth}\n  got     {got}\n"
        f"  content {answer.content[:300]!r}\n  told    {answer.told[:300]}"
    )


def table(title: str, tally: Tally, names: Iterable[str]) -> str:
    """One row for each name, with what became of its specimens."""
    lines = [
        f"| {title} | injections | recoverable: exact | 95% interval | refused | leaked "
        "| destroying: refused | open: exact | refused | **wrong** |",
        "|---|--:|--:|---|--:|--:|--:|--:|--:|--:|",
    ]
    for name in names:
        every = tally.total(name, tuple(Mark))
        recoverable = tally.total(name, tuple(Mark), Label.recoverable)
        exact = tally.total(name, (Mark.exact,), Label.recoverable)
        low, high = wilson(exact, recoverable)
        share = f"{exact} of {recoverable}" if recoverable else ""
        interval = f"{low:.1%} to {high:.1%}" if recoverable else ""
        destroying = tally.total(name, tuple(Mark), Label.destroying)
        refused = f"{tally.total(name, (Mark.refused,))} of {destroying}" if destroying else ""
        open_ended = tally.total(name, tuple(Mark), Label.undecided)
        cells = [
            *(name, every, share, interval),
            *(tally.total(name, (one,)) or "" for one in (Mark.missed, Mark.leaked)),
            refused,
            tally.total(name, (Mark.exact,), Label.undecided) if open_ended else "",
            tally.total(name, (Mark.spared,)) if open_ended else "",
            tally.total(name, (Mark.wrong,)),
        ]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def readers_table(tally: Tally) -> str:
    """The same argument texts through every reader."""
    lines = [
        "| reader | texts | recoverable: exact | 95% interval | **wrong** | 95% interval |",
        "|---|--:|--:|---|--:|---|",
    ]
    for name in (_OURS, *READERS):
        every = tally.total(name, tuple(Mark))
        recoverable = tally.total(name, tuple(Mark), Label.recoverable)
        exact = tally.total(name, (Mark.exact,), Label.recoverable)
        wrong = tally.total(name, (Mark.wrong,))
        (low, high), (least, most) = wilson(exact, recoverable), wilson(wrong, every)
        share = exact / recoverable if recoverable else 0
        lines.append(
            f"| {name} | {every} | {exact} of {recoverable} ({share:.1%}) | {low:.1%} to {high:.1%} "
            f"| {wrong} ({wrong / max(every, 1):.1%}) | {least:.2%} to {most:.2%} |"
        )
    return "\n".join(lines)


def report(run: Run) -> str:
    """All tables of one run."""
    high = wilson(run.wrong, run.count)[1]
    summary = f"Wrong: {run.wrong} of {run.count} (95%: at most {high:.3%})."
    return "\n\n".join(
        (
            table("damage", run.overall, (_SINGLE, _DOUBLE)),
            summary,
            "Per format:",
            table("format", run.formats, run.formats.counts),
            "Per malformation, one at a time:",
            table("malformation", run.malformations, sorted(run.malformations.counts)),
        )
    )


def count_clean(seed: int, count: int, source: Source | None = None) -> tuple[int, list[str]]:
    """How many clean specimens passed untouched, and those that did not."""
    failures = []
    for specimen in draw_clean(seed, count, source):
        answer = read(specimen, ToolSet.compile(specimen.tools))
        if not is_untouched(specimen, answer):
            failures.append(_describe(specimen, answer, judge(specimen, answer)))
    return count - len(failures), failures


def count_invented(
    cases: Iterable[tuple[tuple[ToolDefinition, ...], str]], seed: int
) -> tuple[int, list[str]]:
    """How many texts that are no call were read, and those out of which a call came."""
    rng = Random(f"{seed}:negatives")
    failures = []
    count = 0
    for tools, request in cases:
        compiled = ToolSet.compile(tools)
        for kind, format, text in negatives(tools, request, rng):
            turn = Turn(compiled, format)
            turn.feed(text)
            count += 1
            calls = turn.close("stop").calls
            if calls:
                failures.append(f"invented [{format}] {kind}\n  text {text[:1500]!r}\n  got  {calls}")
    return count, failures


def measure_speed() -> str:
    """Microseconds (median) for one clean call of 1 KB, beside json.loads in the same run."""
    schema = {"type": "object", "properties": {"path": {"type": "string"}, "content": {"type": "string"}}}
    tools = ToolSet.compile([ToolDefinition("write_file", "", {**schema, "required": ["path", "content"]})])
    text = json.dumps({"path": "src/main.py", "content": "print('hello')\n" * 60})
    turn = f'<tool_call>\n{{"name": "write_file", "arguments": {text}}}\n</tool_call>'

    def whole_turn() -> Verdict:
        one = Turn(tools, "hermes")
        one.feed(turn)
        return one.close("stop").verdict

    loads = _median(lambda: json.loads(text))
    rows = [("json.loads", loads)]
    rows.append(
        ("arguments through the ladder", _median(lambda: repair_arguments("write_file", text, tools)))
    )
    rows.append(("a whole turn (Hermes)", _median(whole_turn)))
    lines = [f"One clean call, arguments of {len(text)} bytes:", "", "| step | microseconds | ratio |"]
    lines += ["|---|--:|--:|", *(f"| {name} | {cost:.1f} | {cost / loads:.1f} |" for name, cost in rows)]
    return "\n".join(lines)


def _median(work: Callable[[], object], rounds: int = 2000) -> float:
    costs = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        costs.append(time.perf_counter() - start)
    return statistics.median(costs) * 1e6


def _section(title: str, run: Run, others: Tally, clean: tuple[int, int], invented: tuple[int, int]) -> str:
    return (
        f"## {title}\n\n{report(run)}\n\nArguments alone, the same texts through other readers:"
        f"\n\n{readers_table(others)}\n\nClean calls passed untouched: {clean[0]} of {clean[1]}."
        f"\n\nTexts that are no call: {invented[0]}; calls invented: {invented[1]}."
        f"\n\n{run.count / run.seconds:.0f} cases per second, {run.seconds / run.count * 1e6:.0f} "
        "microseconds per case (whole turns, repair alone)."
    )


def _examine(
    title: str,
    options: argparse.Namespace,
    source: Source | None,
    requests: Sequence[tuple[tuple[ToolDefinition, ...], str]],
) -> bool:
    """Prints one section; returns whether nothing was wrong."""
    run = measure(draw_damaged(options.seed, options.injections, source), options.show)
    texts_alone = draw_damaged(options.seed + 1, options.injections // 5, source, (ARGUMENTS,))
    others = compare(texts_alone)
    passes = options.injections // 10
    clean, spoilt = count_clean(options.seed, passes, source)
    texts, invented = count_invented(requests, options.seed)
    print(_section(title, run, others, (clean, passes), (texts, len(invented))), end="\n\n")
    for one in [*run.overall.shown, *spoilt[: options.show], *invented[: options.show]]:
        print(one, end="\n\n")
    return not (run.wrong or others.total(_OURS, (Mark.wrong,)) or spoilt or invented)


Measure = Callable[[Iterable[Specimen], str, int], tuple[Counter[str], list[str]]]


def _count_each(
    options: argparse.Namespace, ways: Sequence[str], seed: int, measure: Measure
) -> list[tuple[str, Counter[str]]]:
    """What `measure` counts in a fifth of the injections, by how the format is told; prints examples."""
    found = []
    for told in ways:
        counts, shown = measure(draw_damaged(seed, options.injections // 5), told, options.show)
        found.append((told, counts))
        for one in shown:
            print(one, end="\n\n")
    return found


def _examine_untold(options: argparse.Namespace) -> bool:
    """Prints what becomes of calls in a format that was not told; returns whether none was wrong."""
    found = _count_each(options, TOLD, options.seed + 2, measure_untold)
    print("In a format that was not told:", untold_table(found), sep="\n\n", end="\n\n")
    return not any(counts[Mark.wrong.value] for _, counts in found)


def _examine_streamed(options: argparse.Namespace) -> None:
    """Prints how much of the calls that are asked again a stream had sent."""
    found = _count_each(options, AS_TOLD, options.seed + 3, measure_streamed)
    print("In streams, of the turns that are asked again:", streamed_table(found), sep="\n\n", end="\n\n")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--injections", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--bfcl", type=Path, help="a folder of the leaderboard's files")
    parser.add_argument("--show", type=int, default=0, help="print this many that were not exact")
    options = parser.parse_args()
    requests = [(tools, request) for tools in draw_tool_sets(options.seed) for request in _REQUESTS]
    good = _examine("Invented tools", options, None, requests)
    good &= _examine_untold(options)
    _examine_streamed(options)
    if options.bfcl is not None:
        source = source_of(load_cases(options.bfcl))
        good &= _examine(
            "Berkeley Function Calling Leaderboard", options, source, load_irrelevant(options.bfcl)
        )
    print(measure_speed())
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
