"""What stands behind the only call that is allowed: `python -m tests.bench.calls [--prompts N]`.

Asks for one call (`parallel_tool_calls: false`) of a strict tool, of any tool and of a named one, without a
token limit; half of the requests would need several calls, so that the model wants to write on. One line for
each choice: turns that came to one call, turns with words behind it, tokens of the longest turn.
"""

from __future__ import annotations

import argparse
import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from corpora.questions import Question, several, unseen
from corpora.world.variants import served
from engine.resolve import BUNDLED, MODELS

CHOICES = ("strict", "required", "named")


@dataclass(frozen=True, slots=True)
class Answered:
    """One turn. tokens: generated for it, all attempts together."""

    verdict: str
    calls: int
    words: str
    tokens: int


def body(question: Question, choice: str, temperature: float) -> dict[str, Any]:
    """A chat completion request for one call."""
    tools: list[Any] = list(question.tools)
    wanted: Any = "auto"
    if choice == "strict":
        tools = [{**tool, "function": {**tool["function"], "strict": True}} for tool in tools]
    elif choice == "required":
        wanted = "required"
    else:
        wanted = {"type": "function", "function": {"name": question.expected[0].name}}
    return {
        "model": "default",
        "messages": list(question.messages),
        "tools": tools,
        "tool_choice": wanted,
        "parallel_tool_calls": False,
        "temperature": temperature,
    }


async def ask_all(
    base_url: str, asked: Sequence[Question], choice: str, temperature: float, streams: int
) -> list[Answered]:
    gate = asyncio.Semaphore(streams)
    async with httpx.AsyncClient(base_url=base_url, timeout=600) as client:

        async def one(question: Question) -> Answered:
            async with gate:
                response = await client.post("/chat/completions", json=body(question, choice, temperature))
            response.raise_for_status()
            found: Mapping[str, Any] = response.json()
            message = found["choices"][0]["message"]
            return Answered(
                response.headers["x-fortieth-verdict"],
                len(message.get("tool_calls") or ()),
                (message.get("content") or "").strip(),
                found["usage"]["completion_tokens"],
            )

        return await asyncio.gather(*map(one, asked))


def line(choice: str, answers: Sequence[Answered]) -> str:
    verdicts = ", ".join(f"{count} {name}" for name, count in Counter(a.verdict for a in answers).items())
    one = sum(answer.calls == 1 for answer in answers)
    words = sum(bool(answer.calls and answer.words) for answer in answers)
    longest = max(answer.tokens for answer in answers)
    return f"| {choice} | {len(answers)} | {one} | {words} | {longest} | {verdicts} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, default=MODELS / BUNDLED[0])
    parser.add_argument("--prompts", type=int, default=100)
    parser.add_argument("--temperature", type=float, default=0.7)
    parser.add_argument("--streams", type=int, default=8)
    options = parser.parse_args()
    half = options.prompts // 2
    asked = [*unseen(options.prompts - half), *several(half)]
    print("| choice | turns | one call | words beside it | longest turn, tokens | verdicts |")
    print("|---|---|---|---|---|---|")
    with served(options.model, "full") as base_url:
        for choice in CHOICES:
            found = asyncio.run(ask_all(base_url, asked, choice, options.temperature, options.streams))
            print(line(choice, found), flush=True)


if __name__ == "__main__":
    main()
