"""`python -m tests.bench.comparison FOLDER` (make comparison): plays what is missing of the comparison, and
writes a page for each finished part (comparison/PART.md) and one that sums up all that are written.

It takes a day of a machine. --hours ends it after so long, Ctrl-C at once; the next run goes on where it
stopped. Exits with 0 where everything that can be played here is finished, else with 75 (go on later).
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from proxy.ab.export import write_whole
from proxy.ab.store import NAME as RESULTS
from tests.bench.comparison.page import conversations_so_far, write_part, write_summary
from tests.bench.comparison.parts import Part, missing_arms, parts, turns_of
from tests.bench.servers import ROOT

GO_ON = 75  # EX_TEMPFAIL
PAGE, STATE = "comparison.md", "state.json"
STOP_S = 120.0
TRIES = 3  # of a part in which a server dies
INTERRUPTED = 130

#: runs a command for so many seconds at most, and returns its exit code
Runner = Callable[[Sequence[str], float], int]


@dataclass(frozen=True, slots=True)
class State:
    """How far a part is.

    arms: their names in the page, by the arms as `fortieth ab` took them.
    tries: how often a server died in it.
    finished: nothing more is played of it.
    seconds: that it was played.
    """

    arms: Mapping[str, str] = field(default_factory=dict)
    tries: int = 0
    finished: bool = False
    seconds: float = 0.0

    @classmethod
    def of(cls, folder: Path) -> State:
        file = folder / STATE
        return cls(**json.loads(file.read_text("utf-8"))) if file.exists() else cls()

    def keep(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder, {STATE: json.dumps(asdict(self))})


def run(command: Sequence[str], seconds: float) -> int:
    """Runs it; after so long it is ended as by Ctrl-C, and keeps what it has measured."""
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        return process.wait(seconds)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        process.send_signal(signal.SIGINT)
        process.wait(STOP_S)
        return INTERRUPTED


def play(part: Part, folder: Path, seconds: float, runner: Runner = run) -> State:
    """Plays one part, or goes on with it. It is finished when every conversation was played, or when a server
    has died in it so often that it would die again.
    """
    state = State.of(folder)
    going_on = (folder / RESULTS).exists()
    if not going_on:
        state = replace(state, arms={arm.arm: arm.name for arm in part.present})
        state.keep(folder)
    began = time.monotonic()
    code = runner(part.command(folder, going_on), seconds)
    tries = state.tries + (code not in (0, INTERRUPTED))
    took = state.seconds + time.monotonic() - began
    state = replace(state, tries=tries, finished=code == 0 or tries >= TRIES, seconds=took)
    state.keep(folder)
    return state


def play_all(chosen: Sequence[Part], folder: Path, hours: float, runner: Runner = run) -> Iterator[Part]:
    """Plays what is missing of the chosen parts, in order, and yields each that was played."""
    until = time.monotonic() + hours * 3600
    for part in chosen:
        left = until - time.monotonic()
        if part.why_not or State.of(folder / part.key).finished or left < 1:
            continue
        print(f"{part.key}: {part.title}", *(f"(without {name})" for name in missing_arms(part)), flush=True)
        play(part, folder / part.key, left, runner)
        yield part


def write(every: Sequence[Part], folder: Path, page: Path, so_far: bool = False) -> None:
    """Writes the pages of the finished parts, and the one of all parts whose pages are there: they may have
    been written on another day.

    so_far: those too of which some arms have played as many loops as can show a difference.
    """
    pages = page.with_suffix("")
    pages.mkdir(parents=True, exist_ok=True)
    for part in every:
        state = State.of(folder / part.key)
        if state.finished or (so_far and conversations_so_far(folder / part.key)):
            text = write_part(part, folder / part.key, state.arms, state.finished)
            write_whole(pages, {f"{part.key}.md": text})
    files = {part.key: pages / f"{part.key}.md" for part in every}
    written = {key: file.read_text("utf-8") for key, file in files.items() if file.exists()}
    write_whole(page.parent, {page.name: write_summary(every, written, pages.name)})


def told(part: Part, folder: Path) -> str:
    """A part and how far it is, in a line."""
    state = State.of(folder / part.key)
    how = part.why_not or ("finished" if state.finished else "begun" if state.seconds else "to be played")
    size = f", about {turns_of(part)} turns for each of {len(part.present)} arms" if turns_of(part) else ""
    return f"{part.key}: {how}, {state.seconds / 60:.0f} minutes so far{size}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="takes a folder for each part")
    parser.add_argument("--rivals", type=Path, default=Path("/nonexistent"))
    parser.add_argument("--second", type=Path, help="has qwen05, a model directory, and qwen05.gguf")
    parser.add_argument("--hours", type=float, default=1000.0)
    parser.add_argument("--only", nargs="+", default=(), metavar="PART")
    parser.add_argument("--page", type=Path, help="default: comparison.md in the folder")
    parser.add_argument("--so-far", action="store_true", help="writes a page of what is not finished, too")
    parser.add_argument("--list", action="store_true", help="the parts and how far they are")
    asked = parser.parse_args()
    folder = asked.folder.resolve()
    every = parts(asked.rivals.resolve(), asked.second and asked.second.resolve())
    if unknown := set(asked.only) - {part.key for part in every}:
        parser.error(f"there is no part {sorted(unknown)[0]}; --list tells them")
    page = asked.page or folder / PAGE
    if asked.list:
        print("\n".join(told(part, folder) for part in every))
        return 0
    chosen = [part for part in every if part.key in asked.only] if asked.only else list(every)
    for _ in play_all(chosen, folder, asked.hours):
        write(every, folder, page, asked.so_far)
    write(every, folder, page, asked.so_far)
    print(page)
    return 0 if all(State.of(folder / part.key).finished for part in chosen if not part.why_not) else GO_ON


if __name__ == "__main__":
    sys.exit(main())
