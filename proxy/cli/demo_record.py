"""The demo as a picture: the turns that broke in each loop, and the comparison, as an SVG of a terminal."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from corpora.world.driver import Step
from corpora.world.score import Kind
from proxy.cli.demo_screen import BROKEN, STYLES, PlayedArm, SeenTurn, behind, comparison, guarding, troubled
from proxy.records.words import counted

_COLUMNS = 100
_TURNS = 3  # shown of each loop
_CHARS = 260  # of a text, which is three lines
_UNIQUE = "fortieth-demo"  # begins the names in the file, which would otherwise be another each time
_FONT = re.compile(r"\s*@font-face \{.*?\}", re.DOTALL)  # rich would have it loaded from a server


def write_svg(path: Path, title: str, played: Sequence[PlayedArm]) -> None:
    """Writes the picture. Raises OSError."""
    console = Console(record=True, width=_COLUMNS, file=io.StringIO(), force_terminal=True, highlight=False)
    console.print(Text("$ fortieth demo", "bold"))
    console.print(Text("One agent loop, played twice. All names in it are invented.", "dim"))
    for one in played:
        turns = [pair for pair in zip(one.run.steps, one.seen, strict=False) if troubled(*pair)]
        console.print(Text(f"\nguard {one.mode}: {summary(turns)}", "bold"))
        for step, seen in turns[:_TURNS]:
            _show(console, step, seen)
    console.print()
    console.print(comparison(played, title))
    picture = console.export_svg(title="fortieth demo", unique_id=_UNIQUE)
    path.write_text(_FONT.sub("", picture), "utf-8")


def summary(turns: Sequence[tuple[Step, SeenTurn]]) -> str:
    """What became of turns in which a call broke."""
    broken = sum(step.kind in BROKEN for step, _ in turns)
    refused = sum(step.kind is Kind.refused for step, _ in turns)
    ends = {"mended": len(turns) - broken - refused, "refused": refused}
    parts = [f"{counted(number, 'broken turn')} {end}" for end, number in ends.items() if number]
    return ", ".join((*parts, f"{counted(broken, 'broken turn')} handed to the client"))


def _show(console: Console, step: Step, seen: SeenTurn) -> None:
    done = guarding(step, seen) or f"{step.kind.value}: {step.flaw}"
    console.print(Text(f"turn {step.turn}: {done}", STYLES[step.kind]))
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=13, justify="right")
    grid.add_column(overflow="fold")
    for who, text, style in behind(step, seen):
        line = " ".join(text.split())
        shown = line if len(line) <= _CHARS else f"{line[:_CHARS]} ..."
        grid.add_row(Text(who, "dim"), Text(shown, style))
    console.print(grid)
