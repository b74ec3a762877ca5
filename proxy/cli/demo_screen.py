"""What `fortieth demo` prints: every turn as it comes, a running score below, and a comparison at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from corpora.world.driver import Ended, Run, Step
from corpora.world.score import RIGHT, VALID, Kind
from corpora.world.script import Script, Task
from proxy.records.request_record import RequestRecord

STYLES = {
    Kind.exact: "green",
    Kind.spoken: "green",
    Kind.wrong: "yellow",
    Kind.silent: "yellow",
    Kind.needless: "yellow",
    Kind.invalid: "red",
    Kind.malformed: "red",
    Kind.refused: "yellow",
}

BROKEN = (Kind.invalid, Kind.malformed)  # as the client got it


@dataclass(frozen=True, slots=True)
class SeenTurn:
    """One turn behind the scenes. emitted: the model's own texts, one for each attempt."""

    emitted: tuple[str, ...]
    account: RequestRecord | None = None


@dataclass(frozen=True, slots=True)
class PlayedArm:
    """A loop under one guard mode. seen: one entry for each step."""

    mode: str
    run: Run
    seen: tuple[SeenTurn, ...]


@dataclass(slots=True)
class Score:
    """What has been seen of one loop so far."""

    asked: int = 0
    valid: int = 0
    exact: int = 0
    repaired: int = 0
    reasked: int = 0
    constrained: int = 0

    def add(self, step: Step, seen: SeenTurn) -> None:
        account = seen.account
        self.repaired += bool(account and account.fixes)
        self.reasked += len(seen.emitted) > 1
        self.constrained += bool(account and account.drifted)
        if step.is_tool_turn:
            self.asked += 1
            self.valid += step.kind in VALID
            self.exact += step.kind is Kind.exact


class Screen:
    """Prints to `console`; a terminal also gets a live line below. Model text is never read as markup."""

    def __init__(self, console: Console, script: Script, title: str) -> None:
        self._console = console
        self._script = script
        self._title = title
        self._mode = ""
        self._score = Score()
        self._task = -1
        self._live: Live | None = None

    @contextmanager
    def starting(self) -> Iterator[None]:
        """Shows that the model is being loaded."""
        script = self._script
        self._print(f"{self._title}: {script.tool_turns} tool turns in ", "bold", end="")
        self._print(f"{len(script.tasks)} tasks over the toolbox {script.toolbox.name}", "bold")
        self._print("All names, numbers and files in it are invented.", "dim")
        with self._below(Text("loading the model ...")):
            yield

    @contextmanager
    def loop(self, mode: str) -> Iterator[None]:
        """Shows a running score while one loop is played."""
        self._mode, self._score, self._task = mode, Score(), -1
        self._print(f"\nguard {mode}", "bold underline")
        with self._below(self._running()):
            yield
        if not self._console.is_terminal:
            self._console.print(self._running(), no_wrap=True)

    @contextmanager
    def _below(self, line: Text) -> Iterator[None]:
        if not self._console.is_terminal:
            yield
            return
        with Live(line, console=self._console, transient=True) as self._live:
            yield
        self._live = None

    def show(self, task: Task, step: Step, seen: SeenTurn) -> None:
        """Prints one turn. What the model emitted and what the guard did is shown only where it is of
        interest.
        """
        if step.task != self._task:
            self._task = step.task
            self._line("user", task.text, "cyan")
        self._score.add(step, seen)
        label = f"{step.turn:>3}" if step.is_tool_turn else "   "
        verdict = step.kind.value if step.kind in RIGHT else f"{step.kind.value}: {step.flaw}"
        guard = guarding(step, seen)
        said = Text(f"{label} ", "bold")
        said.append("+ " if step.kind in RIGHT else "x ", STYLES[step.kind])
        said.append(verdict, STYLES[step.kind])
        if guard:
            said.append(f"  [guard: {guard}]", "magenta")
        plain = step.kind in RIGHT and not guard
        if plain:
            said.append(f"  {got(step)}", "dim")
        self._console.print(said, no_wrap=True, overflow="ellipsis", crop=True)
        if not plain:
            for who, text, style in behind(step, seen):
                self._line(who, text, style)
            if any("error" in result for result in step.ran):
                self._line("result", " ".join(step.ran), "dim")
        if self._live is not None:
            self._live.update(self._running())

    def compare(self, played: Sequence[PlayedArm]) -> None:
        """Prints the two loops side by side."""
        self._console.print()
        self._console.print(comparison(played, self._title))
        for one in played:
            if one.run.ended is not Ended.served:
                self._print(f"guard {one.mode} ended early: {one.run.reason}", "yellow")
        if not any(
            troubled(step, seen)
            for one in played
            for step, seen in zip(one.run.steps, one.seen, strict=False)
        ):
            self._print("No call broke in this loop: a higher --temperature or another --seed may.", "dim")

    def _running(self) -> Text:
        score = self._score
        return Text(
            f"guard {self._mode}: {score.asked} of {self._script.tool_turns} tool turns, "
            f"{score.valid} valid, {score.exact} exactly right, {score.repaired} repaired, "
            f"{score.reasked} re-asked",
            "reverse",
        )

    def _line(self, who: str, text: str, style: str) -> None:
        line = Text(f"    {who:<10}", "dim").append(" ".join(text.split()), style)
        self._console.print(line, no_wrap=True, overflow="ellipsis", crop=True)

    def _print(self, text: str, style: str, end: str = "\n") -> None:
        self._console.print(Text(text, style), end=end, soft_wrap=True)


def behind(step: Step, seen: SeenTurn) -> list[tuple[str, str, str]]:
    """What the model wrote in each attempt, what was wrong or changed, and what the client got: how each line
    begins, its text and its style.
    """
    emitted = [("emitted", text, "dim") for text in seen.emitted]
    found = [("guard", note, "magenta") for note in notes(seen.account)]
    return [*emitted, *found, ("delivered", got(step) or "(nothing)", STYLES[step.kind])]


def troubled(step: Step, seen: SeenTurn) -> bool:
    """Whether a call broke in this turn, for the client or before the guard mended it."""
    repaired = bool(seen.account and seen.account.fixes)
    return step.kind in (*BROKEN, Kind.refused) or repaired or len(seen.emitted) > 1


def guarding(step: Step, seen: SeenTurn) -> str:
    """What the guard did to this turn; "" for nothing."""
    done = []
    account = seen.account
    if account and account.fixes:
        done.append(f"repaired, {len(account.fixes)} fix{'es' if len(account.fixes) != 1 else ''}")
    if len(seen.emitted) > 1:
        done.append(f"re-asked {len(seen.emitted) - 1}x")
    if account and account.drifted:
        done.append("decoding constrained")
    if step.kind is Kind.refused:
        done.append("nothing executed")
    return ", ".join(done)


def notes(account: RequestRecord | None) -> list[str]:
    """Each fix and each problem of a turn, in one line each, and only once."""
    if account is None:
        return []
    fixes = [
        f"{fix.kind.value}{f' at {fix.path}' if fix.path else ''}: {fix.before or '(nothing)'} -> "
        f"{fix.after or '(nothing)'}"
        for fix in account.fixes
    ]
    asked = [problem for attempt in account.attempts for problem in attempt.problems]
    return list(dict.fromkeys(fixes + [problem.message for problem in asked or account.problems]))


def got(step: Step) -> str:
    if step.calls:
        return "; ".join(f"{call.name} {call.arguments}" for call in step.calls)
    return " ".join(str(step.answer.message.get("content") or "").split())


def comparison(played: Sequence[PlayedArm], title: str) -> Table:
    """The loops side by side."""
    script = played[0].run.script
    table = Table(title=f"{title}, {script.tool_turns} tool turns")
    table.add_column("")
    for one in played:
        table.add_column(f"guard {one.mode}", justify="right")
    columns = [figures(one, len(script.tasks)) for one in played]
    for name in columns[0]:
        table.add_row(name, *(column[name] for column in columns))
    return table


def figures(played: PlayedArm, tasks: int) -> dict[str, str]:
    """The rows of the comparison."""
    run, score = played.run, Score()
    for step, seen in zip(run.steps, played.seen, strict=True):
        score.add(step, seen)
    kinds = Counter(step.kind for step in run.steps)
    return {
        "tool turns asked": str(score.asked),
        "schema-valid calls": _share(score.valid, score.asked),
        "exactly right": _share(score.exact, score.asked),
        "tasks done": f"{len(run.served)} of {tasks}",
        "turns before the first broken one": str(run.survived),
        "broken turns handed to the client": str(sum(kinds[kind] for kind in BROKEN)),
        "turns repaired": str(score.repaired),
        "turns re-asked": str(score.reasked),
        "turns decoded under constraint": str(score.constrained),
        "turns refused": str(kinds[Kind.refused]),
    }


def _share(hits: int, total: int) -> str:
    return f"{hits} ({hits / total:.0%})" if total else "0"
