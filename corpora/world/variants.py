"""Every variant of the bundled model, served and evaluated: `python -m corpora.world.variants OUT`.

Starts `fortieth serve` for each of full precision, 8, 4, 3 and 2 bits, at each temperature, with the guard
off or in the modes of `--guard`, and leaves in OUT a sheet for each, `tables.md` and `validity.svg`. A sheet
that is there is not made again, nor is the sheet of a single loop, which lies in a folder of its variant's
name: a run that was ended goes on.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from corpora.loops import WORLDS
from corpora.world.driver import Asking
from corpora.world.plot import validity_chart
from corpora.world.report import evaluate, write_loops, write_questions
from corpora.world.sheet import Sheet, to_markdown

BITS = (None, 8, 4, 3, 2)


@dataclass(frozen=True, slots=True)
class Variant:
    """One variant of the bundled model.

    bits: None is full precision.
    guard: the server's mode.
    context: tokens; None is the model's own.
    """

    bits: int | None
    temperature: float
    guard: str = "off"
    context: int | None = None

    @property
    def label(self) -> str:
        size = "full precision" if self.bits is None else f"{self.bits} bits"
        heat = f", T={self.temperature:g}" if self.temperature else ""
        guard = f", guard {self.guard}" if self.guard != "off" else ""
        return size + heat + guard + (f", up to {self.context} tokens" if self.context else "")

    @property
    def file(self) -> str:
        guarded = "" if self.guard == "off" else f"-{self.guard}"
        stretched = f"-{self.context}" if self.context else ""
        return f"{self.bits or 'full'}-{self.temperature:g}{guarded}{stretched}.json"


def quantised(model: Path, bits: int | None, out: Path) -> Path:
    """The directory of the model in so many bits; made in `out` where it does not lie beside the model."""
    if bits is None:
        return model
    beside, made = Path(f"{model}-{bits}bit"), out / f"{model.name}-{bits}bit"
    if beside.is_dir():
        return beside
    if not made.is_dir():
        command = [sys.executable, "-m", "corpora.training.quantize", str(model), str(bits), str(made)]
        subprocess.run(command, check=True)
    return made


def stretched(model: Path, context: int | None, out: Path) -> Path:
    """The model, or a copy of it in `out` that says it can do so many tokens, whatever it was trained on."""
    if context is None:
        return model
    copied = out / f"{model.name}-{context}"
    shutil.copytree(model, copied, dirs_exist_ok=True)
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps(config | {"max_position_embeddings": context}))
    return copied


@contextmanager
def served(model: Path, guard: str) -> Iterator[str]:
    """A server of its own over a model directory: its base_url."""
    command = [sys.executable, "-m", "proxy", "serve", str(model), "--port", "0", "--guard", guard]
    command += ["--log-level", "error"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            found = (re.search(r"http://\S+/v1", line) for line in process.stdout)
            address = next((match.group() for match in found if match), None)
            if address is None:
                raise SystemExit(f"{model}: the server did not come up")
            yield address
        finally:
            process.terminate()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", type=Path, default=Path("engine/models/fortieth-tiny"))
    parser.add_argument("--guard", nargs="+", default=["off"], help="modes, each an arm of its own")
    parser.add_argument("--temperatures", nargs="+", type=float, default=[0.0, 0.7])
    parser.add_argument("--questions", type=int, default=200)
    parser.add_argument("--runs", type=int, default=18)
    parser.add_argument("--turns", type=int, default=40)
    parser.add_argument("--workload", choices=list(WORLDS), default="worlds", help="what the loops are of")
    parser.add_argument("--streams", type=int, default=8)
    parser.add_argument("--context", type=int, help="serve beyond the trained length, up to so many tokens")
    parser.add_argument("--only", nargs="*", default=(), help="of these files' variants, such as 4-0.json")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    questions = write_questions(options.questions)
    scripts = write_loops(options.runs, options.turns, workload=options.workload)
    sheets = []
    heats: list[float] = options.temperatures
    arms = [Variant(b, t, guard, options.context) for t in heats for b in BITS for guard in options.guard]
    for variant in arms:
        if options.only and variant.file not in options.only:
            continue
        file = options.out / variant.file
        if not file.is_file():
            print(f"{variant.label}: {file}", file=sys.stderr)
            model = quantised(options.model, variant.bits, options.out)
            with served(stretched(model, variant.context, options.out), variant.guard) as base_url:
                asking = Asking(temperature=variant.temperature)
                kept = file.with_suffix("")
                sheet = evaluate(base_url, variant.label, questions, scripts, asking, options.streams, kept)
            sheet.save(file)
        sheets.append(Sheet.load(file))
    (options.out / "tables.md").write_text(to_markdown(sheets) + "\n", "utf-8")
    (options.out / "validity.svg").write_text(validity_chart(sheets), "utf-8")


if __name__ == "__main__":
    main()
