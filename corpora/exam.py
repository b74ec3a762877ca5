"""The single-turn examination, over any OpenAI base_url: `python -m corpora.exam [--base-url URL]`.

Draws requests from a seed that training never uses, over tools invented on the spot, and counts what the
server's model did: a call at all, schema-valid as emitted, the right name, exactly the right arguments, and
right values by kind of argument. Serve with `--guard off` to examine the model and not the guard.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import httpx
import jsonschema_rs

from corpora.conversations import Conversation, Request, single_turn

#: far from every training seed (training uses small seeds times a million)
EXAM_SEED = 900_040


@dataclass(frozen=True, slots=True)
class Mark:
    """What became of one question. `kinds` lists (kind of argument, copied rightly)."""

    called: bool
    valid: bool
    named: bool
    exact: bool
    kinds: tuple[tuple[str, bool], ...]
    question: str
    wanted: str
    got: str


def questions(count: int, seed: int = EXAM_SEED) -> list[tuple[Conversation, Request]]:
    """`count` single-turn questions with their one right call."""
    return [single_turn(Random(seed * 1_000_003 + i)) for i in range(count)]


def mark(conversation: Conversation, request: Request, message: dict[str, Any]) -> Mark:
    """Judge one assistant message against the one right call."""
    calls = message.get("tool_calls") or []
    name, arguments = _only_call(calls)
    schemas = {t["function"]["name"]: t["function"]["parameters"] for t in conversation.tools}
    valid = len(calls) == 1 and name in schemas and jsonschema_rs.is_valid(schemas[name], arguments)
    named = name == request.tool.name
    got = arguments if isinstance(arguments, dict) else {}
    kinds = tuple(
        (p.kind, _same(got.get(p.name), request.arguments[p.name]))
        for p in request.tool.parameters
        if p.name in request.arguments
    )
    return Mark(
        called=bool(calls),
        valid=valid,
        named=named,
        exact=len(calls) == 1 and named and _same(arguments, request.arguments),
        kinds=kinds,
        question=request.text,
        wanted=f"{request.tool.name} {json.dumps(request.arguments, ensure_ascii=False)}",
        got=f"{name} {json.dumps(arguments, ensure_ascii=False)}" if calls else str(message.get("content")),
    )


def _only_call(calls: Sequence[dict[str, Any]]) -> tuple[str, Any]:
    if not calls:
        return "", None
    function = calls[0]["function"]
    try:
        return function["name"], json.loads(function["arguments"])
    except ValueError:
        return function["name"], None


def _same(got: Any, wanted: Any) -> bool:
    """Equal as JSON: 1 and true differ, 3 and 3.0 do not."""
    if isinstance(got, bool) != isinstance(wanted, bool):
        return False
    if isinstance(got, dict) and isinstance(wanted, dict):
        return got.keys() == wanted.keys() and all(_same(got[k], wanted[k]) for k in wanted)
    return bool(got == wanted)


async def ask(client: httpx.AsyncClient, conversation: Conversation, temperature: float) -> dict[str, Any]:
    """The assistant's message for a conversation without its last message."""
    body = {
        "model": "default",
        "messages": list(conversation.messages[:-1]),
        "tools": list(conversation.tools),
        "temperature": temperature,
        "max_tokens": 256,
    }
    response = await client.post("/chat/completions", json=body)
    if response.is_error:
        raise SystemExit(f"{response.request.url}: HTTP {response.status_code}: {response.text[:300]}")
    message: dict[str, Any] = response.json()["choices"][0]["message"]
    return message


async def examine(base_url: str, count: int, temperature: float, streams: int) -> list[Mark]:
    """Ask all questions, `streams` at a time; marks in the order of the questions."""
    gate = asyncio.Semaphore(streams)
    async with httpx.AsyncClient(base_url=base_url.rstrip("/"), timeout=120) as client:

        async def one(conversation: Conversation, request: Request) -> Mark:
            async with gate:
                return mark(conversation, request, await ask(client, conversation, temperature))

        return await asyncio.gather(*(one(c, r) for c, r in questions(count)))


def wilson(hits: int, total: int) -> tuple[float, float]:
    """The 95% Wilson score interval of a share (Wilson 1927)."""
    if total == 0:
        return 0.0, 1.0
    z, share = 1.96, hits / total
    middle = share + z * z / (2 * total)
    spread = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    scale = 1 + z * z / total
    return (middle - spread) / scale, (middle + spread) / scale


def report(marks: Sequence[Mark]) -> str:
    """A Markdown table of shares with their intervals."""
    rows = [
        ("a call", sum(m.called for m in marks), len(marks)),
        ("schema-valid as emitted", sum(m.valid for m in marks), len(marks)),
        ("right tool", sum(m.named for m in marks), len(marks)),
        ("exactly right", sum(m.exact for m in marks), len(marks)),
    ]
    seen = Counter(kind for m in marks for kind, _ in m.kinds)
    good = Counter(kind for m in marks for kind, ok in m.kinds if ok)
    rows += [(f"argument: {kind}", good[kind], seen[kind]) for kind in sorted(seen)]
    lines = ["| measure | share | of | 95% interval |", "|---|---|---|---|"]
    for name, hits, total in rows:
        low, high = wilson(hits, total)
        lines.append(f"| {name} | {hits / total:.1%} | {total} | {low:.1%} to {high:.1%} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base-url", default="http://127.0.0.1:8040/v1")
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--streams", type=int, default=8, help="requests at a time")
    parser.add_argument("--show", type=int, default=0, help="print this many wrong answers")
    options = parser.parse_args()
    marks = asyncio.run(examine(options.base_url, options.requests, options.temperature, options.streams))
    print(report(marks))
    for wrong in [m for m in marks if not m.exact][: options.show]:
        print(f"\nasked:  {wrong.question}\nwanted: {wrong.wanted}\ngot:    {wrong.got}")


if __name__ == "__main__":
    main()
