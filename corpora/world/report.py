"""The evaluation of a served model: `python -m corpora.world.report [--base-url URL] [--json FILE]`.

Single turns of four kinds and agent loops over the tool world, from seeds that training never uses. Serve
with `--guard off` to evaluate the model and not the guard. `--merge FILES` prints sheets of several variants
side by side instead of asking a server.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import httpx

from corpora.exam import examine
from corpora.loops import WORLDS
from corpora.questions import EXAM_SEED, PARTS, Question, held_out
from corpora.world.driver import Asking, Ended, play_script
from corpora.world.script import Script, write_script
from corpora.world.sheet import Share, Sheet, added, exam_shares, loop_sheet, to_markdown

PATIENCE_S = 1800  # of one request: a large model on a busy CPU takes minutes

TITLES = {
    "unseen": "single turn, unseen tools",
    "known": "single turn, known toolboxes",
    "parallel": "2 or 3 parallel calls, unseen tools",
    "several": "2 or 3 parallel calls, known toolboxes",
    "idle": "requests that need no tool",
}


def write_loops(count: int, turns: int, seed: int = EXAM_SEED, workload: str = "worlds") -> list[Script]:
    """Loops of at least `turns` tool turns, one toolbox of the workload after the other."""
    boxes = WORLDS[workload]
    return [
        write_script(held_out(number, seed + 4), boxes[number % len(boxes)], turns) for number in range(count)
    ]


def write_questions(count: int, seed: int = EXAM_SEED) -> dict[str, list[Question]]:
    """`count` questions of each part."""
    return {part: draw(count, seed) for part, draw in PARTS.items()} if count else {}


async def play_loops(
    base_url: str, scripts: Sequence[Script], asking: Asking, streams: int, label: str, kept: Path | None
) -> list[Sheet]:
    """The sheet of each script's loop, `streams` at a time, each with a seed of its own. kept: a folder for
    these sheets; a loop whose sheet lies there is not played again.
    """
    gate = asyncio.Semaphore(streams)
    if kept is not None:
        kept.mkdir(parents=True, exist_ok=True)
    async with httpx.AsyncClient(base_url=base_url.rstrip("/"), timeout=PATIENCE_S) as client:

        async def one(number: int, script: Script) -> Sheet:
            file = None if kept is None else kept / f"{number}.json"
            if file is not None and file.is_file():
                return Sheet.load(file)
            async with gate:
                began = time.monotonic()
                run = await play_script(client, script, replace(asking, seed=number))
            turns, took = len(run.steps), time.monotonic() - began
            print(
                f"loop {number}: {len(run.tool_steps)} tool turns, {took / max(1, turns):.1f} s a turn,"
                f" {run.ended} {run.reason}",
                file=sys.stderr,
            )
            sheet = loop_sheet(label, [run])
            if file is not None and run.ended is not Ended.failed:
                sheet.save(file)
            return sheet

        return await asyncio.gather(*(one(number, script) for number, script in enumerate(scripts)))


def evaluate(
    base_url: str,
    label: str,
    questions: Mapping[str, Sequence[Question]],
    scripts: Sequence[Script],
    asking: Asking,
    streams: int,
    kept: Path | None = None,
) -> Sheet:
    """Asks everything. questions: by part of the examination. kept: as in play_loops(). Ends the program
    where a request fails.
    """
    shares: dict[str, Share] = {}
    for part, asked in questions.items():
        print(f"{len(asked)} x {TITLES[part]}", file=sys.stderr)
        marks = asyncio.run(examine(base_url, asked, asking, streams))
        shares |= exam_shares(TITLES[part], marks)
    if not scripts:
        return Sheet(label, shares)
    loops = asyncio.run(play_loops(base_url, scripts, asking, streams, label, kept))
    if any(Ended.failed in loop.ended for loop in loops):
        raise SystemExit(f"{base_url}: a request failed")
    return added(label, [Sheet(label, shares), *loops])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base-url", default="http://127.0.0.1:8040/v1")
    parser.add_argument("--label", default="", help="the variant's name in the tables")
    parser.add_argument("--questions", type=int, default=200, help="single turns of each kind, 0 for none")
    parser.add_argument("--runs", type=int, default=18, help="agent loops, 0 for none")
    parser.add_argument("--workload", choices=list(WORLDS), default="worlds", help="what the loops are of")
    parser.add_argument("--turns", type=int, default=40, help="tool turns of each loop, at least")
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=EXAM_SEED, help="training uses small ones")
    parser.add_argument("--streams", type=int, default=8, help="requests at a time")
    parser.add_argument("--json", type=Path, help="also write the sheet to this file")
    parser.add_argument("--merge", type=Path, nargs="+", help="print these sheets and ask nothing")
    options = parser.parse_args(arguments)
    if options.seed < EXAM_SEED:
        parser.error(
            f"--seed must be at least {EXAM_SEED}: training has used smaller ones, got {options.seed}"
        )
    if options.merge:
        print(to_markdown([Sheet.load(path) for path in options.merge]))
        return
    label = options.label or f"temperature {options.temperature:g}"
    questions = write_questions(options.questions, options.seed)
    scripts = write_loops(options.runs, options.turns, options.seed, options.workload)
    asking = Asking(temperature=options.temperature)
    sheet = evaluate(options.base_url, label, questions, scripts, asking, options.streams)
    if options.json:
        sheet.save(options.json)
    print(to_markdown([sheet]))


if __name__ == "__main__":
    main()
