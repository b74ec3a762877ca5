"""The single-turn examination, over any OpenAI base_url: `python -m corpora.exam [--base-url URL]`.

Asks the questions of `corpora.questions`. Serve with `--guard off` to examine the model and not the guard.
"""

from __future__ import annotations

import argparse
import asyncio
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import httpx

from corpora.questions import EXAM_SEED, PARTS, Question
from corpora.world.driver import GREEDY, Answer, Asking, ask
from corpora.world.score import VALID, Judge, Judgement, Kind, same


@dataclass(frozen=True, slots=True)
class Mark:
    """The result of one question."""

    question: Question
    judgement: Judgement
    answer: Answer

    @property
    def called(self) -> bool:
        return bool(self.judgement.calls)

    @property
    def valid(self) -> bool:
        return self.judgement.kind in VALID

    @property
    def named(self) -> bool:
        return [c.name for c in self.judgement.calls] == [c.name for c in self.question.expected]

    @property
    def exact(self) -> bool:
        return self.judgement.kind is Kind.exact

    @property
    def kinds(self) -> tuple[tuple[str, bool], ...]:
        """(kind of argument, copied rightly) for each argument that was due."""
        value = self.judgement.calls[0].value if self.judgement.calls else None
        got = value if isinstance(value, dict) else {}
        due = self.question.expected[0].arguments if self.question.expected else {}
        return tuple(
            (kind, same(got.get(name), due[name])) for name, kind in self.question.kinds if name in due
        )


def mark(question: Question, answer: Answer) -> Mark:
    """Judges one answer."""
    judge = Judge(question.tools)
    return Mark(question, judge.judge(question.expected, answer.message, answer.finish), answer)


async def examine(
    base_url: str,
    asked: Sequence[Question],
    asking: Asking = GREEDY,
    streams: int = 8,
) -> list[Mark]:
    """Asks all questions, `streams` at a time; returns marks in the questions' order. Ends the program where
    a request fails.
    """
    gate = asyncio.Semaphore(streams)
    async with httpx.AsyncClient(base_url=base_url.rstrip("/"), timeout=300) as client:

        async def one(question: Question) -> Mark:
            async with gate:
                answer = await ask(client, list(question.messages), question.tools, asking)
            if not isinstance(answer, Answer):
                raise SystemExit(f"{base_url}: {answer.reason}")
            return mark(question, answer)

        return await asyncio.gather(*map(one, asked))


def wilson(hits: int, total: int) -> tuple[float, float]:
    """The 95% Wilson score interval of a share (Wilson 1927)."""
    if total == 0:
        return 0.0, 1.0
    z, share = 1.96, hits / total
    middle = share + z * z / (2 * total)
    spread = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    scale = 1 + z * z / total
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)


def report(marks: Sequence[Mark]) -> str:
    """A Markdown table of shares with their intervals."""
    due = [m for m in marks if m.question.expected]
    idle_marks = [m for m in marks if not m.question.expected]
    rows = [("no call, and none was due", sum(not m.called for m in idle_marks), len(idle_marks))]
    rows += [
        ("a call", sum(m.called for m in due), len(due)),
        ("schema-valid as emitted", sum(m.valid for m in due), len(due)),
        ("right tool", sum(m.named for m in due), len(due)),
        ("exactly right", sum(m.exact for m in due), len(due)),
    ]
    seen = Counter(kind for m in marks for kind, _ in m.kinds)
    good = Counter(kind for m in marks for kind, ok in m.kinds if ok)
    rows += [(f"argument: {kind}", good[kind], seen[kind]) for kind in sorted(seen)]
    lines = ["| measure | share | of | 95% interval |", "|---|---|---|---|"]
    for name, hits, total in rows:
        if total:
            low, high = wilson(hits, total)
            lines.append(f"| {name} | {hits / total:.1%} | {total} | {low:.1%} to {high:.1%} |")
    return "\n".join(lines)


def show(mark: Mark) -> str:
    """A question, what was due and what came, for a person."""
    text = str(mark.answer.message.get("content") or "")
    got = "; ".join([*(f"{c.name} {c.arguments}" for c in mark.judgement.calls), text])
    wanted = "; ".join(f"{c.name} {dict(c.arguments)}" for c in mark.question.expected) or "text"
    said = mark.question.messages[-1]["content"]
    return f"\nasked:  {said}\nwanted: {wanted}\ngot:    {got}\nflaw:   {mark.judgement.flaw}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base-url", default="http://127.0.0.1:8040/v1")
    parser.add_argument("--part", choices=[*PARTS, "all"], default="unseen")
    parser.add_argument("--requests", type=int, default=200, help="of each part")
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--streams", type=int, default=8, help="requests at a time")
    parser.add_argument("--show", type=int, default=0, help="print this many wrong answers")
    options = parser.parse_args()
    for part in PARTS if options.part == "all" else [options.part]:
        asking = Asking(temperature=options.temperature)
        marks = asyncio.run(
            examine(options.base_url, PARTS[part](options.requests, EXAM_SEED), asking, options.streams)
        )
        print(f"\n{part}: {(PARTS[part].__doc__ or '').strip()}\n\n{report(marks)}")
        for wrong in [m for m in marks if m.judgement.flaw][: options.show]:
            print(show(wrong))


if __name__ == "__main__":
    main()
