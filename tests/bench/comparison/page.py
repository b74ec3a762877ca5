"""The pages of the comparison: one for each finished part, and one that sums up those that are written.

A part's page stays where it is written, so that parts can be measured on several days, and not all of them
have to be measured anew.
"""

from __future__ import annotations

import re
import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from corpora.exam import wilson
from proxy.ab.measured import MeasuredTurn, Results
from proxy.ab.measures import ArmSums, Scale, end_of, group, sum_up
from proxy.ab.plan import RunPlan
from proxy.ab.store import ResultStore
from proxy.ab.summary import ArmFacts
from proxy.ab.verdicts import Comparison, compare
from proxy.conversation.errors import StartError
from tests.bench.comparison.parts import LEAST_LOOPS, Part

LAST_TURNS = 10  # of a loop, whose times are told
_FEWER_IS_BETTER = {"broken turns", "refused or broken off"}
_HEART = ("| broken turns", "| exactly right", "| loops that came", "| first token", "| a turn")
_SO_FAR, _TO_COME = "Not played to its end yet:", "Not played enough yet:"
_MET, _MISSED = ": met.", ": **missed**"
_FOLDERS = re.compile(r"(?<![\w:/.])/(?:[^\s/'\"=,]+/)+")
# the page's prose, whose links are those of docs/
_INTRODUCTION, _CONDITIONS = (
    Path(__file__).with_name(f"{name}.md") for name in ("introduction", "conditions")
)


@dataclass(frozen=True, slots=True)
class Played:
    """A part as far as it was played.

    labels: of the arms that were, in order. names: of all that are to be, in the page.
    """

    part: Part
    results: Results
    labels: tuple[str, ...]
    names: Mapping[str, str]
    streams: int
    command: str
    machine: str
    began: str
    facts: tuple[ArmFacts, ...]
    notes: tuple[str, ...]

    @classmethod
    def read(cls, part: Part, folder: Path, names: Mapping[str, str], finished: bool = True) -> Played:
        """Raises StartError for a folder without a run.

        finished: else only what all arms have played counts.
        """
        store, kept = ResultStore.resume(folder)
        plan = RunPlan.read(kept)
        results = store.read()
        arms = plan.arms if finished else played_arms(results, plan.arms)
        return cls(
            part,
            results if finished else played_by_all(results, arms),
            arms,
            {arm: names.get(arm, arm) for arm in plan.arms},
            plan.levels[0],
            str(store.kept("command")),
            str(store.kept("machine")),
            str(store.kept("began"))[:10],
            tuple(ArmFacts(**one) for one in store.kept("facts") or ()),
            tuple(store.kept("notes") or ()),
        )

    def turns(self, label: str) -> Sequence[MeasuredTurn]:
        return self.results.turns_of(label, self.streams)

    def sums(self, label: str) -> ArmSums:
        return sum_up(self.results, label, self.streams)

    def intact(self, label: str) -> tuple[int, int]:
        """Loops in which an agent could go on from every turn to the last tool turn; all loops."""
        ends = [end_of(turns) for turns in group(self.turns(label)).values()]
        return sum(not broken and end >= self.part.last_turn for end, broken in ends), len(ends)

    def late(self, label: str, of: Callable[[MeasuredTurn], float | None]) -> float | None:
        """The median of the last ten tool turns of all loops; None where nothing was measured."""
        first = self.part.last_turn - LAST_TURNS
        known = [
            value for turn in self.turns(label) if turn.tool_turn > first and (value := of(turn)) is not None
        ]
        return statistics.median(known) if known else None


def played_arms(results: Results, arms: Sequence[str]) -> tuple[str, ...]:
    """The arms that have played as many loops as can show a difference."""
    loops = Counter(item.arm for item in results.items)
    return tuple(arm for arm in arms if loops[arm] >= LEAST_LOOPS)


def played_by_all(results: Results, arms: Sequence[str]) -> Results:
    """What was measured in the conversations that all of these arms have played."""
    times = Counter(item.item for item in results.items if item.arm in arms)
    shared = {item for item, count in times.items() if count == len(arms)}
    return replace(
        results,
        turns=tuple(turn for turn in results.turns if turn.arm in arms and turn.item in shared),
        items=tuple(item for item in results.items if item.arm in arms and item.item in shared),
    )


def conversations_so_far(folder: Path) -> int:
    """How many conversations the arms that have played enough of them share; 0 where fewer than two have."""
    try:
        store, kept = ResultStore.resume(folder)
    except StartError:
        return 0
    results = store.read()
    arms = played_arms(results, RunPlan.read(kept).arms)
    return len(played_by_all(results, arms).items) // len(arms) if len(arms) > 1 else 0


def write_part(part: Part, folder: Path, names: Mapping[str, str], finished: bool = True) -> str:
    """The page of a part, finished or so far. names: of its arms, in the page.

    Raises ValueError where a path of this machine would stand in it.
    """
    one = Played.read(part, folder, names, finished)
    head = f"# {part.title}\n"
    if not finished:
        head += f"\n{_SO_FAR} {conversations_so_far(folder)} of {part.conversations} loops on each arm.\n"
    text = "\n".join((head, *_results(one), *_provenance(one)))
    if left := re.search(r"(?<![\w:/.`])/(?:home|root|tmp|work|Users|opt|var)/\S*", text):
        raise ValueError(f"a path of this machine stands in the page: {left.group()}")
    return text


def write_summary(parts: Sequence[Part], written: Mapping[str, str], folder: str) -> str:
    """The page of all parts. written: the pages of parts, by key. folder: they are in, beside this page."""
    lines = [_INTRODUCTION.read_text("utf-8")]
    for part in parts:
        if part.key in written:
            lines += [f"## {part.title}\n", *_heart(written[part.key]), ""]
            lines += [f"[All that was measured, commands and versions]({folder}/{part.key}.md).\n"]
    if left := [part for part in parts if part.key not in written]:
        lines += ["## Not yet measured\n"]
        lines += [f"- {part.title}{f' ({part.why_not})' if part.why_not else ''}" for part in left] + [""]
    return "\n".join((*lines, _CONDITIONS.read_text("utf-8")))


def _heart(page: str) -> Iterator[str]:
    """The rows of a part's table that tell most, and whether it met its bars."""
    lines = page.splitlines()
    yield from (f"{line}\n" for line in lines if line.startswith(_SO_FAR))
    table = [line for line in lines if line.startswith("|")]
    yield from table[:2]
    yield from (line for line in table if line.startswith(_HEART))
    yield ""
    yield from (line for line in lines if line.startswith("- ") and (line.endswith(_MET) or _MISSED in line))
    yield from (f"\n{line}" for line in lines if line.startswith(_TO_COME))


def _results(one: Played) -> Iterator[str]:
    absent = [arm.name for arm in one.part.arms if arm.name not in one.names.values()]
    yield f"| | {' | '.join(one.names[label] for label in one.labels)} |"
    yield f"|---|{'--:|' * len(one.labels)}"
    for name, cells in _rows(one):
        yield f"| {name} | {' | '.join(cells)} |"
    yield ""
    yield from (f"- {line}" for line in _bars(one))
    better, worse = _differences(one)
    yield from (f"- {line}" for line in worse)
    yield ""
    if better:
        yield f"Where another arm is better than {one.names[one.labels[0]]}:\n"
        yield from (f"- {line}" for line in better)
    else:
        yield f"No arm is shown to be better than {one.names[one.labels[0]]} in anything that was measured."
    yield ""
    if absent:
        yield f"Not installed where this was measured: {', '.join(absent)}.\n"
    if to_come := [name for label, name in one.names.items() if label not in one.labels]:
        yield f"{_TO_COME} {', '.join(to_come)}.\n"
    yield from (f"{_named(one, note)}.\n" for note in one.notes)


def _rows(one: Played) -> Iterator[tuple[str, list[str]]]:
    sums = [one.sums(label) for label in one.labels]

    def kinds(*wanted: str) -> list[str]:
        return [str(sum(held.delivered.get(kind, 0) for kind in wanted)) for held in sums]

    yield "turns", [str(held.turns) for held in sums]
    yield "broken turns", [_share(*held.totals["broken turns"]) for held in sums]
    yield "of these, calls against their schema, or unreadable", kinds("invalid", "unreadable")
    yield "of these, text in place of a call", kinds("call text")
    yield "of these, calls that were announced and did not come", kinds("lost")
    yield "refused, or broken off", kinds("error")
    yield "cut by the token limit", kinds("cut")
    yield "exactly right", [_share(*held.totals["exactly right"]) for held in sums]
    if one.part.last_turn:
        turn = one.part.last_turn
        yield "tasks done", [_share(*held.totals["tasks done"]) for held in sums]
        yield f"loops that came unbroken to turn {turn}", [_share(*one.intact(label)) for label in one.labels]
        late = f"median of the last {LAST_TURNS} tool turns"
        yield f"first token, {late}", [_seconds(one.late(label, lambda t: t.ttft)) for label in one.labels]
        yield f"a turn, {late}", [_seconds(one.late(label, lambda t: t.seconds)) for label in one.labels]
        yield "prompt tokens reused", [_percent(*held.totals["prompt tokens reused"]) for held in sums]
    yield (
        "attempts of the model",
        ["not told" if held.attempts is None else str(held.attempts) for held in sums],
    )
    memory = [held.memory for held in sums]
    yield "memory at most", ["not known" if held is None else f"{held / 2**20:.0f} MiB" for held in memory]


def _bars(one: Played) -> Iterator[str]:
    """What the comparison is held to, met or missed."""
    first = one.labels[0]
    name, sums = one.names[first], one.sums(first)
    for kinds, told in (
        (("invalid", "unreadable"), "calls against their schema"),
        (("call text",), "turns of call-shaped text"),
    ):
        count = sum(sums.delivered.get(kind, 0) for kind in kinds)
        yield f"{name} delivers {count} {told}: {'met' if not count else '**missed**'}."
    rivals = [label for label in one.labels if not one.names[label].startswith("fortieth")]
    if not one.part.last_turn or not rivals:
        return
    low = wilson(*one.intact(first))[0]
    near = [one.names[label] for label in rivals if wilson(*one.intact(label))[1] >= low]
    apart = "met" if not near else f"**missed** beside {', '.join(near)}"
    turn = one.part.last_turn
    yield f"Its loops come unbroken to turn {turn} more often than any rival's, intervals apart: {apart}."
    ours = one.late(first, lambda turn: turn.ttft)
    sooner = [
        one.names[label]
        for label in rivals
        if ours is not None
        and (theirs := one.late(label, lambda turn: turn.ttft)) is not None
        and theirs < ours
    ]
    lowest = "met" if not sooner else f"**missed**: {', '.join(sooner)} begins sooner"
    yield f"Its first token comes soonest in the last {LAST_TURNS} turns: {lowest}."


def _differences(one: Played) -> tuple[list[str], list[str]]:
    """What is shown: where another arm is better than the first, and where the first is better."""
    shown = [found for found in compare(one.results, one.labels) if found.shown]
    better = [_named(one, found.words) for found in shown if _is_better(found)]
    return better, [_named(one, found.words) for found in shown if not _is_better(found)]


def _is_better(found: Comparison) -> bool:
    """Whether the second arm of a shown difference is the better one."""
    fewer = found.measure.scale is Scale.time or found.measure.name in _FEWER_IS_BETTER
    return (found.difference.mean < 0) is fewer


def _named(one: Played, words: str) -> str:
    """Labels of arms by their names in the page, the longest first: one may begin as another does."""
    for label in sorted(one.labels, key=len, reverse=True):
        words = words.replace(label, one.names[label])
    return _FOLDERS.sub("", words)


def _provenance(one: Played) -> Iterator[str]:
    """Command and versions."""
    yield "## Command and versions\n"
    yield f"Begun on {one.began}, on {_FOLDERS.sub('', one.machine)}. Folders are left out: `bin=` names the"
    yield "folder of a rival's program.\n"
    yield f"```\n{_FOLDERS.sub('', one.command)}\n```\n"
    yield "| | started as | versions |\n|---|---|---|"
    for facts in one.facts:
        versions = ", ".join(f"{name} {version}" for name, version in facts.versions.items())
        command = _FOLDERS.sub("", facts.command).replace("|", "\\|")
        yield f"| {one.names.get(facts.label, facts.label)} | `{command}` | {versions} |"
    yield ""


def _share(hits: int, total: int) -> str:
    if not total:
        return "not measured"
    low, high = wilson(hits, total)
    return f"{hits} of {total} ({low:.1%} to {high:.1%})"


def _percent(hits: int, total: int) -> str:
    return f"{hits / total:.1%}" if total else "not told"


def _seconds(value: float | None) -> str:
    return "not measured" if value is None else f"{value * 1000:.0f} ms" if value < 10 else f"{value:.1f} s"
