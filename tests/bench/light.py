"""What stands on every path, beside another checkout: a clean turn, the formats in memory, `--help`.

    python -m tests.bench.light FOLDER

Each figure is a ratio of this checkout to the other in one run: of time the median of pairs, so that whatever
else the machine does falls on both. Both run in this environment's Python.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

PAIRS = 20
OWN = Path(__file__).parents[2]
_SETUP = """
import json, sys, time
try:
    from repair.jsonl import read_tools
except ImportError:
    from repair.offline import read_tools
from repair.turn import Turn
schema = {"type": "object", "properties": {"city": {"type": "string"}, "note": {"type": "string"}}}
tools = read_tools([{"type": "function", "function": {"name": "get_weather", "parameters": schema}}])
call = json.dumps({"name": "get_weather", "arguments": {"city": "Oslo", "note": "x y z " * 150}})
call = f"<tool_call>\\n{call}\\n</tool_call>"
texts = {"call": call, "text and call": f"I will look.\\n{call}"}
texts["text"] = "It is mild in Oslo, with some rain. " * 28
"""
TURNS = f"""{_SETUP}
def run(format, pieces):
    turn = Turn(tools, format)
    for piece in pieces:
        turn.feed(piece)
    turn.close("stop")
for line in sys.stdin:
    kind, format, size = json.loads(line)
    text = texts[kind]
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    count = max(10, 400 // len(pieces))
    best = 1e9
    for _ in range(4):
        began = time.perf_counter()
        for _ in range(count):
            run(format, pieces)
        best = min(best, (time.perf_counter() - began) / count)
    print(best * 1e6, flush=True)
"""
MEMORY = """
import collections, dataclasses, enum, functools, gc, json, re, tracemalloc
import jsonschema_rs
import repair.limits
tracemalloc.start()
import repair.turn
from repair.dialect import dialect
from repair.formats import FORMATS
dialect("auto", ("get_weather",))
gc.collect()
print(len(FORMATS), tracemalloc.get_traced_memory()[0] / 1024)
"""
HELP = """
import os
if os.path.exists("fortieth.py"):
    from fortieth import main
else:
    from proxy.cli import main
main()
"""


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(folder)}


def turns(folders: list[Path]) -> None:
    """Prints a row for each kind of turn, format and size of the pieces."""
    with_pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    children = [
        subprocess.Popen([sys.executable, "-c", TURNS], cwd=one, env=environment(one), **with_pipes)  # type: ignore[call-overload]
        for one in folders
    ]
    print("| turn of 1 KB | format | pieces | the other, us | this, us | ratio |\n|---|---|---|---|---|---|")
    for kind in ("text", "call", "text and call"):
        for format, size in (("hermes", 4096), ("auto", 4096), ("hermes", 4), ("auto", 4)):
            asked = f'["{kind}", "{format}", {size}]\n'
            found: list[list[float]] = []
            for _ in range(PAIRS + 1):
                pair = []
                for child in children:
                    child.stdin.write(asked)
                    child.stdin.flush()
                    pair.append(float(child.stdout.readline()))
                found.append(pair)
            other, own, ratio = (
                median(column) for column in zip(*((a, b, b / a) for a, b in found[1:]), strict=True)
            )
            print(f"| {kind} | {format} | {size} | {other:.1f} | {own:.1f} | {ratio:.2f} |", flush=True)
    for child in children:
        child.stdin.close()
        child.wait()


def memory(folders: list[Path]) -> None:
    """Prints what `import repair.turn` and the dialect of all formats hold."""
    rows = []
    for one in folders:
        told = subprocess.check_output(
            [sys.executable, "-c", MEMORY], cwd=one, env=environment(one), text=True
        )
        count, size = told.split()
        rows.append((int(count), float(size)))
    (before, small), (after, large) = rows
    told = f"{small:.0f} KB with {before} formats, {large:.0f} KB with {after}"
    print(f"repair in memory: {told}, {large / small:.2f}")
    print(f"of one format: {large / after / (small / before):.2f}")


def help_text(folders: list[Path]) -> None:
    """Prints what `fortieth --help` takes."""
    found = []
    for at in range(PAIRS + 1):
        pair = {}
        for one in folders if at % 2 else folders[::-1]:
            used, began = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime, time.perf_counter()
            command = [sys.executable, "-c", HELP, "--help"]
            subprocess.run(command, cwd=one, env=environment(one), stdout=subprocess.DEVNULL, check=True)
            wall = time.perf_counter() - began
            pair[one] = (wall, resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - used)
        (wall, cpu), (own_wall, own_cpu) = (pair[one] for one in folders)
        found.append((own_wall / wall, own_cpu / cpu))
    wall, cpu = (median(column) for column in zip(*found[1:], strict=True))
    print(f"\nfortieth --help: wall {wall:.2f}, user CPU {cpu:.2f} ({PAIRS} pairs)")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="another checkout")
    folders = [parser.parse_args().folder.resolve(), OWN]
    memory(folders)
    help_text(folders)
    turns(folders)


if __name__ == "__main__":
    main()
