"""Score sheets: the sums of examinations and loops of one served variant, as values, JSON and Markdown."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from corpora.exam import Mark, wilson
from corpora.world.driver import Run, Step
from corpora.world.score import VALID, Kind

#: first and last tool turn of each row of the table by turn
BUCKETS = ((1, 10), (11, 20), (21, 30), (31, 40), (41, 50), (51, 60))


@dataclass(frozen=True, slots=True)
class Share:
    hits: int
    total: int

    def __str__(self) -> str:
        if not self.total:
            return "-"
        low, high = wilson(self.hits, self.total)
        share = self.hits / self.total
        return f"{share:.1%} ({low:.1%} to {high:.1%}) of {self.total}"

    def __add__(self, other: Share) -> Share:
        return Share(self.hits + other.hits, self.total + other.total)


NOTHING = Share(0, 0)


@dataclass(frozen=True, slots=True)
class TurnScore:
    """All tool turns of the loops with one number."""

    turn: int
    asked: int
    valid: int
    exact: int


@dataclass(frozen=True, slots=True)
class Sheet:
    """One variant's scores.

    shares: by measure.
    flaws: by kind and flaw, of the loops' tool turns.
    survived: of each loop, the tool turns before the first that was not valid.
    ended: loops by how they ended.
    """

    label: str
    shares: Mapping[str, Share] = field(default_factory=dict)
    turns: tuple[TurnScore, ...] = ()
    flaws: Mapping[str, int] = field(default_factory=dict)
    survived: tuple[int, ...] = ()
    ended: Mapping[str, int] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", "utf-8")

    @classmethod
    def load(cls, path: Path) -> Sheet:
        """Raises OSError, ValueError, KeyError, TypeError for what is no sheet."""
        found = json.loads(path.read_text("utf-8"))
        return cls(
            found["label"],
            {name: Share(**share) for name, share in found["shares"].items()},
            tuple(TurnScore(**turn) for turn in found["turns"]),
            found["flaws"],
            tuple(found["survived"]),
            found["ended"],
        )


def exam_shares(part: str, marks: Sequence[Mark]) -> dict[str, Share]:
    """The measures of one part of the examination. part: its name for people."""
    if all(not mark.question.expected for mark in marks):
        return {f"{part}: no call": Share(sum(m.judgement.kind is Kind.spoken for m in marks), len(marks))}
    return {
        f"{part}: schema-valid": Share(sum(m.valid for m in marks), len(marks)),
        f"{part}: exactly right": Share(sum(m.exact for m in marks), len(marks)),
    }


def loop_shares(runs: Sequence[Run]) -> dict[str, Share]:
    """The measures of the loops."""
    steps = [step for run in runs for step in run.steps]
    tools = [step for step in steps if step.is_tool_turn]
    several = [step for step in tools if len(step.expected) > 1]
    texts = [step for step in steps if not step.is_tool_turn]
    return {
        "loop: tool turns schema-valid": _share(tools, VALID),
        "loop: tool turns exactly right": _share(tools, (Kind.exact,)),
        "loop: turns of 2 or 3 calls exactly right": _share(several, (Kind.exact,)),
        "loop: turns that need no call, no call": _share(texts, (Kind.spoken,)),
        "loop: turns that end with `stop` in the text of a call": Share(
            sum(step.is_call_text for step in steps), len(steps)
        ),
        "loop: the same, and no header says that a call failed": Share(
            sum(step.is_call_text and step.answer.verdict != "failed" for step in steps), len(steps)
        ),
        "loop: tasks done": Share(
            sum(len(run.served) for run in runs), sum(len(run.script.tasks) for run in runs)
        ),
        "loop: whole loops done": Share(sum(run.completed for run in runs), len(runs)),
    }


def _share(steps: Sequence[Step], kinds: Iterable[Kind]) -> Share:
    wanted = frozenset(kinds)
    return Share(sum(step.kind in wanted for step in steps), len(steps))


def loop_turns(runs: Sequence[Run]) -> tuple[TurnScore, ...]:
    """The loops' tool turns by their number in the script."""
    asked: Counter[int] = Counter()
    valid: Counter[int] = Counter()
    exact: Counter[int] = Counter()
    for step in (step for run in runs for step in run.tool_steps):
        asked[step.turn] += 1
        valid[step.turn] += step.kind in VALID
        exact[step.turn] += step.kind is Kind.exact
    return tuple(TurnScore(turn, asked[turn], valid[turn], exact[turn]) for turn in sorted(asked))


def loop_flaws(runs: Sequence[Run]) -> dict[str, int]:
    """What was wrong with tool turns, the most frequent first."""
    seen = Counter(
        f"{step.kind.value}: {step.flaw}"
        for run in runs
        for step in run.tool_steps
        if step.kind != Kind.exact
    )
    return dict(seen.most_common())


def loop_sheet(label: str, runs: Sequence[Run]) -> Sheet:
    """The sheet of some loops."""
    return Sheet(
        label,
        loop_shares(runs),
        loop_turns(runs),
        loop_flaws(runs),
        tuple(run.survived for run in runs),
        dict(Counter(run.ended.value for run in runs)),
    )


def added(label: str, sheets: Sequence[Sheet]) -> Sheet:
    """One sheet for everything that several hold, each of other loops."""
    shares: dict[str, Share] = {}
    turns: dict[int, TurnScore] = {}
    flaws: Counter[str] = Counter()
    ended: Counter[str] = Counter()
    for sheet in sheets:
        for name, share in sheet.shares.items():
            shares[name] = shares.get(name, NOTHING) + share
        for turn in sheet.turns:
            old = turns.get(turn.turn, TurnScore(turn.turn, 0, 0, 0))
            turns[turn.turn] = TurnScore(
                turn.turn, old.asked + turn.asked, old.valid + turn.valid, old.exact + turn.exact
            )
        flaws.update(sheet.flaws)
        ended.update(sheet.ended)
    return Sheet(
        label,
        shares,
        tuple(turns[number] for number in sorted(turns)),
        dict(flaws.most_common()),
        tuple(survived for sheet in sheets for survived in sheet.survived),
        dict(ended),
    )


def measures_table(sheets: Sequence[Sheet]) -> str:
    """Every measure, one column for each sheet."""
    names = list(dict.fromkeys(name for sheet in sheets for name in sheet.shares))
    rows = [[name, *(str(sheet.shares.get(name, NOTHING)) for sheet in sheets)] for name in names]
    if any(sheet.survived for sheet in sheets):
        rows.append(["loop: tool turns before the first broken one, mean", *map(_mean_survived, sheets)])
        rows.append(["loops, and how they ended", *map(_endings, sheets)])
    return _table(["measure", *(sheet.label for sheet in sheets)], rows)


def _mean_survived(sheet: Sheet) -> str:
    return f"{sum(sheet.survived) / len(sheet.survived):.1f}" if sheet.survived else "-"


def _endings(sheet: Sheet) -> str:
    return ", ".join(f"{count} {ended}" for ended, count in sheet.ended.items()) or "-"


def turns_table(sheets: Sequence[Sheet]) -> str:
    """Validity and exactness by turn number: `valid / exactly right of asked`."""
    rows = []
    for first, last in BUCKETS:
        cells = [_bucket(sheet, first, last) for sheet in sheets]
        if any(cell != "-" for cell in cells):
            rows.append([f"{first} to {last}", *cells])
    return _table(["tool turns", *(sheet.label for sheet in sheets)], rows)


def _bucket(sheet: Sheet, first: int, last: int) -> str:
    inside = [turn for turn in sheet.turns if first <= turn.turn <= last]
    asked = sum(turn.asked for turn in inside)
    if not asked:
        return "-"
    valid, exact = sum(turn.valid for turn in inside), sum(turn.exact for turn in inside)
    return f"{valid / asked:.1%} / {exact / asked:.1%} of {asked}"


def flaws_table(sheets: Sequence[Sheet]) -> str:
    """What was wrong with the loops' tool turns: counts, and of how many turns."""
    total: Counter[str] = Counter()
    for sheet in sheets:
        total.update(sheet.flaws)
    asked = [sum(turn.asked for turn in sheet.turns) for sheet in sheets]
    rows = [[flaw, *(str(sheet.flaws.get(flaw, 0)) for sheet in sheets)] for flaw, _ in total.most_common()]
    rows.append(["of tool turns", *map(str, asked)])
    return _table(["what was wrong", *(sheet.label for sheet in sheets)], rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def to_markdown(sheets: Sequence[Sheet]) -> str:
    """All tables."""
    parts = [measures_table(sheets)]
    if any(sheet.turns for sheet in sheets):
        parts += [turns_table(sheets), flaws_table(sheets)]
    return "\n\n".join(parts)
