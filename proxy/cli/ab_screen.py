"""What `fortieth ab` prints: how far the run is, a table of each level, and the verdicts."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from proxy.ab.measured import Results
from proxy.ab.summary import Summary, table_rows
from proxy.ab.workload import WorkItem, Workload

_LINE_S = 30.0
_PIPE_WIDTH = 160  # a pipe has no width of its own, and rich's 80 columns cut too much


def open_console() -> Console:
    """The console that everything is printed to."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_PIPE_WIDTH)


class AbScreen:
    """A Watcher that prints to a console: a bar on a terminal, elsewhere a line now and then."""

    def __init__(
        self, console: Console, workload: Workload, levels: Sequence[int], arms: Sequence[str]
    ) -> None:
        self._console = console
        self._turns = {item.key: item.turns for item in workload.items}
        self._total = sum(self._turns.values()) * len(levels) * len(arms)
        self._told = workload.told
        self._done = 0
        self._before = 0  # turns of an earlier run that this one goes on with
        self._under_way: Counter[tuple[str, int]] = Counter()
        self._began = time.monotonic()
        self._printed = 0.0
        self._progress: Progress | None = None
        self._task = TaskID(0)

    @contextmanager
    def running(self, results: Results) -> Iterator[None]:
        """Shows how far the run is. results: of the run that this one goes on with."""
        self._before = self._done = sum(self._turns.get(item.item, 0) for item in results.items)
        self._began = time.monotonic()
        self.note(
            f"{self._told}: {self._total} turns in all" + (f", {self._done} done" if self._done else "")
        )
        if not self._console.is_terminal:
            yield
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self._console, transient=True) as self._progress:
            self._task = self._progress.add_task("turns", total=self._total, completed=self._done)
            yield
        self._progress = None

    def asked(self, arm: str, streams: int) -> None:
        self._under_way[arm, streams] += 1
        self._show(arm)

    def played(self, arm: str, streams: int, item: WorkItem, turns: int) -> None:
        """A loop may end with fewer turns than it was to have: a failed task is cut short."""
        self._under_way[arm, streams] -= min(turns, self._under_way[arm, streams])
        self._done += item.turns
        self._show(arm)

    def _show(self, arm: str) -> None:
        done = min(self._total, self._done + sum(self._under_way.values()))
        if self._progress is not None:
            self._progress.update(self._task, completed=done, description=arm)
        elif time.monotonic() - self._printed > _LINE_S and done > self._before:
            self._printed = time.monotonic()
            left = (self._printed - self._began) / (done - self._before) * (self._total - done)
            self.note(f"{done} of {self._total} turns, about {_duration(left)} left")

    def note(self, words: str) -> None:
        self._console.print(Text(words), soft_wrap=True)

    def compare(self, summary: Summary) -> None:
        """Prints tables and verdicts."""
        for streams in summary.levels:
            table = Table(title=f"{streams} at a time" if streams > 1 else "one conversation at a time")
            table.add_column("")
            for arm in summary.arms:
                table.add_column(Text(arm), justify="right")
            for name, cells in table_rows(summary, streams):
                table.add_row(Text(name), *map(Text, cells))
            self._console.print(table)
        for name, count in summary.recorded.items():
            self.note(f"the ledger says: {count} {name}")
        for note in summary.notes:
            self.note(note)
        several = len(summary.levels) > 1
        for one in summary.comparisons:
            at = f"{one.streams} at a time: " if several else ""
            self._console.print(Text(at + one.words, "bold" if one.shown else ""), soft_wrap=True)
        if summary.comparisons and not any(one.shown for one in summary.comparisons):
            self._console.print(Text("No difference shown.", "bold"))


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} minutes"
