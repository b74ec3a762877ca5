"""`python -m tests.bench.gpu` (make bench-gpu): what is to be seen of the engine on a GPU, in ten minutes.

Each step is a process of its own with a share of the time that is left. It prints each row when it has it,
and is ended when its time is over, so that a run that is cut keeps what it has. All rows are in a JSON file
too, which is written anew with each of them. Needs no network.

On a CPU: --small --seconds 200 --sizes 1 2 --tokens 32 --turns 4 --cold 1000 --tests 'test_s*.py'
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from engine.cpu.blas import keep_float32, prepare_blas
from engine.tuning import keep_plans
from tests.bench.servers import ROOT, children

# Parts of the time, in this order; what a step leaves over goes to those behind it.
SHARES = {
    "machine": 6,
    "first": 6,
    "speed": 24,
    "loop": 14,
    "cold": 6,
    "promotion": 8,
    "bundled-speed": 12,
    "bundled-loop": 6,
    "tests": 18,
}
PATIENT_S = 8.0  # in which a step that is cut ends its servers


@dataclass(slots=True)
class Part:
    """What became of a step. state: done, cut or failed."""

    name: str
    state: str = ""
    seconds: float = 0.0
    rows: list[list[str]] = field(default_factory=list)


def cells(line: str) -> list[str] | None:
    """The cells of a row of a Markdown table; None of another line."""
    if not (line.startswith("| ") and line.endswith("|")):
        return None
    return [cell.strip() for cell in line.strip("|").split(" | ")]


def missed(parts: Sequence[Part]) -> list[str]:
    return [f"{one.name}: {row[0]}" for one in parts for row in one.rows if "**" in row[-1]]


def save(path: Path, parts: Sequence[Part]) -> None:
    """Writes all that is known so far, in one piece."""
    made = path.with_suffix(".part")
    made.write_text(json.dumps({"missed": missed(parts), "steps": [asdict(one) for one in parts]}, indent=1))
    made.replace(path)


def allowed(name: str, names: Sequence[str], left_s: float) -> float:
    """Seconds of a step, of those that are left for it and all behind it."""
    behind = names[names.index(name) :]
    return left_s * SHARES[name] / sum(SHARES[one] for one in behind)


def end(process: subprocess.Popen[str]) -> None:
    """Ends a step; it ends its servers, and what it leaves behind is ended here."""
    started = children(process.pid)
    process.terminate()
    try:
        process.wait(PATIENT_S)
    except subprocess.TimeoutExpired:
        process.kill()
    for pid in started:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def play(part: Part, command: Sequence[str], limit_s: float, path: Path, parts: Sequence[Part]) -> None:
    """Runs a step, prints its lines and keeps its rows."""
    began = time.monotonic()
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment) as process:
        over = threading.Timer(limit_s, end, (process,))
        over.start()
        assert process.stdout is not None, "it is a pipe"
        for line in process.stdout:
            print(line.rstrip("\n"), flush=True)
            row = cells(line.strip())
            if row is not None:
                part.rows.append(row)
                save(path, parts)
        status = process.wait()
        over.cancel()
    part.seconds = round(time.monotonic() - began, 1)
    part.state = "done" if status == 0 else "cut" if part.seconds >= limit_s else "failed"
    save(path, parts)


def run(asked: argparse.Namespace, arguments: Sequence[str]) -> list[Part]:
    began, parts = time.monotonic(), list[Part]()
    asked.folder.mkdir(parents=True, exist_ok=True)
    for name in asked.only:
        limit_s = allowed(name, asked.only, asked.seconds - (time.monotonic() - began))
        if limit_s <= PATIENT_S:
            print(f"\n{name}: no time is left", flush=True)
            continue
        print(f"\n### {name} ({limit_s:.0f} s at most)\n", flush=True)
        print("| measure | value | bar | met |\n|---|---|---|---|", flush=True)
        parts.append(Part(name))
        command = [sys.executable, "-m", "tests.bench.gpu", "--step", name, *arguments]
        play(parts[-1], command, limit_s - PATIENT_S, asked.json, parts)
        print(f"\n{name}: {parts[-1].state} after {parts[-1].seconds:.0f} s", flush=True)
    return parts


def step(asked: argparse.Namespace) -> None:
    """Does the work of one step in this process, as a server would compute: MLX must find the BLAS loaded."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    keep_float32()
    keep_plans()
    prepare_blas("auto")
    from tests.bench.gpu_steps import STEPS

    STEPS[asked.step](asked)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--seconds", type=float, default=570.0, help="of the whole run")
    made.add_argument("--only", nargs="*", choices=list(SHARES), default=list(SHARES))
    made.add_argument("--sizes", type=int, nargs="*", default=[1, 4, 8, 16], help="streams")
    made.add_argument("--tokens", type=int, default=256, help="of each stream")
    made.add_argument("--rounds", type=int, default=1)
    made.add_argument("--turns", type=int, default=40)
    made.add_argument("--cold", type=int, default=8192, help="tokens of a cold prompt")
    made.add_argument("--tests", default="test_*.py", help="files of tests/engine")
    made.add_argument("--small", action="store_true", help="a model of 10M parameters, for a CPU")
    made.add_argument("--folder", type=Path, default=Path("runs/gpu/models"), help="where models are made")
    made.add_argument("--json", type=Path, default=Path("runs/gpu/gpu.json"))
    made.add_argument("--step", choices=list(SHARES), help=argparse.SUPPRESS)
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    given = sys.argv[1:] if arguments is None else list(arguments)
    asked = parser().parse_args(given)
    if asked.step:
        step(asked)
        return 0
    asked.folder, asked.json = asked.folder.resolve(), asked.json.resolve()
    asked.json.parent.mkdir(parents=True, exist_ok=True)
    parts = run(asked, [*given, "--folder", str(asked.folder)])
    for name in missed(parts):
        print(f"missed: {name}")
    print(f"all rows are in {asked.json}")
    return int(any(one.state == "failed" for one in parts))


if __name__ == "__main__":
    sys.exit(main())
