"""The examination of room, manners and correction: `python -m corpora.examinations.run [--base-url URL]`.

Without `--base-url` the bundled model is served for it, with the guard off. Questions are a function of the
seed, and rules judge the answers. `make evaluate-variants ARGS='--workload workshop ...'` plays the loops of
the workshop.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx

from corpora.exam import wilson
from corpora.examinations.parts import PARTS, Item, Part
from corpora.questions import EXAM_SEED
from corpora.world.driver import Answer, Asking, Ended, ask
from corpora.world.variants import quantised, served, stretched

PATIENCE_S = 1800.0


@dataclass(frozen=True, slots=True)
class Given:
    """One judged answer. said: what came, for a person. tokens: of the prompt and of the answer."""

    kind: str
    flaw: str
    asked: str
    said: str
    tokens: tuple[int, int]


async def answer_all(base_url: str, items: Sequence[Item], asking: Asking, streams: int) -> list[Given]:
    """Asks every item, `streams` at a time. What is longer than the model's context counts as wrong. Ends the
    program where a request fails for anything else.
    """
    gate = asyncio.Semaphore(streams)
    async with httpx.AsyncClient(base_url=base_url.rstrip("/"), timeout=PATIENCE_S) as client:

        async def one(item: Item) -> Given:
            async with gate:
                answer = await ask(client, list(item.messages), item.tools, asking)
            asked = str(item.messages[-1]["content"])
            if isinstance(answer, Answer):
                tokens = (answer.prompt_tokens, answer.completion_tokens)
                return Given(item.kind, item.flaw(answer), asked, _said(answer), tokens)
            if answer.ended is Ended.context:
                return Given(item.kind, "longer than the context", asked, answer.reason, (0, 0))
            raise SystemExit(f"{base_url}: {answer.reason}")

        return await asyncio.gather(*map(one, items))


def _said(answer: Answer) -> str:
    calls = [one["function"] for one in answer.message.get("tool_calls") or ()]
    text = str(answer.message.get("content") or "")
    return "; ".join([text, *(f"{one['name']} {one['arguments']}" for one in calls)]).strip("; ")


def report(part: Part, given: Sequence[Given]) -> str:
    """A Markdown table of a part: all of it against its bar, then kind by kind, then what was wrong."""
    lines = ["| part | right | of | 95% interval | bar |", "|---|---|---|---|---|"]
    lines.append(_row(part.title, given, f"{part.bar:.0%}"))
    kinds = list(dict.fromkeys(one.kind for one in given))
    if len(kinds) > 1:
        lines += [_row(f"{kind}", [one for one in given if one.kind == kind], "") for kind in kinds]
    longest = max((one.tokens[0] for one in given), default=0)
    lines.append(f"\nThe longest prompt that was answered had {longest} tokens.")
    flaws = Counter(one.flaw for one in given if one.flaw)
    lines += [f"- {count} x {flaw}" for flaw, count in flaws.most_common()]
    return "\n".join(lines)


def _row(title: str, given: Sequence[Given], bar: str) -> str:
    right = sum(not one.flaw for one in given)
    low, high = wilson(right, len(given))
    return f"| {title} | {right / max(1, len(given)):.1%} | {len(given)} | {low:.1%} to {high:.1%} | {bar} |"


def read_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base-url", default="", help="of a running server; else one is started")
    parser.add_argument("--model", type=Path, default=Path("engine/models/fortieth-tiny"))
    parser.add_argument("--bits", type=int, help="of the model that is served; else full precision")
    parser.add_argument("--context", type=int, help="serve beyond the trained length, up to so many tokens")
    parser.add_argument("--guard", default="off", help="mode of the server that is started")
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--questions", type=int, help="of each part; else as many as the part has")
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=EXAM_SEED, help="training uses small ones")
    parser.add_argument("--streams", type=int, default=4, help="requests at a time")
    parser.add_argument("--show", type=int, default=0, help="print this many wrong answers of each part")
    parser.add_argument("--json", type=Path, help="also write every answer to this file")
    options = parser.parse_args(arguments)
    if options.seed < EXAM_SEED:
        parser.error(f"--seed must be at least {EXAM_SEED}, got {options.seed}: lessons use smaller ones")
    return options


@contextmanager
def server(options: argparse.Namespace) -> Iterator[str]:
    """The base_url that is examined."""
    if options.base_url:
        yield options.base_url
        return
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        model = stretched(quantised(options.model, options.bits, out), options.context, out)
        with served(model, options.guard) as base_url:
            yield base_url


def main(arguments: Sequence[str] | None = None) -> None:
    options = read_arguments(arguments)
    kept = []
    with server(options) as base_url:
        for name in options.parts:
            part = PARTS[name]
            items = part.draw(options.questions or part.count, options.seed)
            print(f"{name}: {len(items)} questions", file=sys.stderr)
            asking = Asking(temperature=options.temperature, max_tokens=part.max_tokens)
            given = asyncio.run(answer_all(base_url, items, asking, options.streams))
            kept.append({"part": name, "given": [asdict(one) for one in given]})
            print(f"\n{report(part, given)}")
            for one in [one for one in given if one.flaw][: options.show]:
                print(f"\nasked: {one.asked[-400:]}\ngot:   {one.said[:400]}\nflaw:  {one.flaw}")
    if options.json:
        options.json.write_text(json.dumps(kept, ensure_ascii=False, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
