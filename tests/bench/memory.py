"""`python -m tests.bench.memory` (make bench-memory): what the engine holds after many prompts (Linux).

Distinct prompts of about 6,000 tokens of the bundled model, over HTTP, one after the other, with budgets
that are full after the first few: what still grows afterwards is memory that was freed and is kept. With the
folder of another checkout each prompt is asked there too, in turns. Prints Markdown; exits with 1 where a
bar is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from engine.resolve import BUNDLED, MODELS
from tests.bench.restarts import CHARS
from tests.bench.servers import ROOT, Live, Server, engine_pid, ours, resident, running
from tests.bench.sessions import opening
from tests.bench.wire import ask

TOKENS = 6_000
RAM_GB, DISK_GB = 0.3, 0.5
CONSTANT = 150 << 20  # that the engine may hold beyond what it held after the start and its budget in RAM
FLAT = 1.05
LEAST_SPEED = 0.97
MODEL = BUNDLED[0]
HERE = {"this": ROOT}


@dataclass(slots=True)
class Arm:
    """One server. start: resident bytes of its engine before the first prompt; sizes: after each; tokens and
    seconds: of all its prompts.
    """

    name: str
    live: Live
    start: int = 0
    sizes: list[int] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def measure(self) -> int:
        return resident(engine_pid(self.live.pid))

    async def prompt(self, seed: int, chars: int) -> None:
        """Raises RuntimeError when it was not answered, or was known already."""
        request = {
            "model": MODEL,
            "messages": opening(seed, chars),
            "max_tokens": 2,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        answer = await ask(self.live.port, request)
        if answer.status != 200 or answer.error or answer.cached_tokens > 64:
            told = f"{answer.cached_tokens} tokens were known"
            raise RuntimeError(f"{self.name}: {answer.status} {answer.error[:200] or told}")
        self.tokens.append(answer.prompt_tokens)
        self.seconds.append(answer.ended - answer.began)
        self.sizes.append(self.measure())

    def speed(self, count: int) -> float:
        """Tokens a second of the first prompts."""
        return sum(self.tokens[:count]) / sum(self.seconds[:count])


def small_budgets(folder: str, root: Path = ROOT) -> Server:
    """The checkout at `root`, served without re-asks and with budgets for a few of these prompts."""
    server = ours("--guard", "off", "--log-level", "error", "--cache-dir", folder)
    budgets = (("FORTIETH_CACHE_RAM_GB", str(RAM_GB)), ("FORTIETH_CACHE_DISK_GB", str(DISK_GB)))
    return replace(server, environment=(*budgets, ("PYTHONPATH", str(root))))


async def prompts(arms: Sequence[Arm], count: int, chars: int, together: int) -> None:
    """Each of `count` distinct prompts, the first `together` of them asked of every arm in turn; the one that
    begins changes. The others are asked of the first arm alone.
    """
    for arm in arms:
        arm.start = arm.measure()
    for number in range(count):
        turn = arms if number < together else arms[:1]
        for arm in turn if number % 2 == 0 else turn[::-1]:
            await arm.prompt(number + 1, chars)
        if (number + 1) % 50 == 0:
            print(f"<!-- {number + 1}: {[arm.sizes[-1] >> 20 for arm in turn]} MB -->", flush=True)


def beyond(arm: Arm) -> tuple[int, float]:
    """(the most bytes of the second half beyond start and budget, its last tenth over its first)."""
    half = arm.sizes[len(arm.sizes) // 2 :]
    tenth = max(1, len(half) // 10)
    grown = statistics.median(half[-tenth:]) / statistics.median(half[:tenth])
    return max(half) - arm.start - int(RAM_GB * 2**30), grown


def missed(arm: Arm) -> list[str]:
    """Which bars of the first arm are missed."""
    bytes_beyond, grown = beyond(arm)
    found = [f"{bytes_beyond >> 20} MB beyond"] if bytes_beyond > CONSTANT else []
    return found + ([f"grew x{grown:.3f}"] if grown > FLAT else [])


def report(arms: Sequence[Arm]) -> list[str]:
    print(
        "| | prompts | tokens each | MB at the start | most MB in the second half | beyond start and budget |"
    )
    print("|---|--:|--:|--:|--:|--:|", end="")
    for arm in arms:
        most = max(arm.sizes[len(arm.sizes) // 2 :])
        bytes_beyond, grown = beyond(arm)
        print(
            f"\n| {arm.name} | {len(arm.sizes)} | {statistics.median(arm.tokens):.0f} | {arm.start >> 20} "
            f"| {most >> 20} | {bytes_beyond >> 20} MB, end x{grown:.3f} |",
            end="",
        )
    print()
    wrong = missed(arms[0])
    for other in arms[1:]:
        count = len(other.tokens)
        ratio = arms[0].speed(count) / other.speed(count)
        print(f"tokens a second: {ratio:.3f} of {other.name} (bar {LEAST_SPEED})")
        wrong += ["slower"] if ratio < LEAST_SPEED else []
    return wrong


def measured(
    count: int, tokens: int = TOKENS, roots: Mapping[str, Path] = HERE, together: int = 0
) -> list[Arm]:
    """A server for each checkout, and `count` prompts of so many tokens asked of all of them in turns."""
    with contextlib.ExitStack() as stack:
        arms = [
            Arm(name, stack.enter_context(running(small_budgets(folder, root), MODELS / MODEL)))
            for name, root in roots.items()
            if (folder := stack.enter_context(tempfile.TemporaryDirectory()))
        ]
        asyncio.run(prompts(arms, count, int(CHARS * tokens), together or count))
    return arms


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=600)
    parser.add_argument("--against", type=Path, help="another checkout's folder")
    parser.add_argument("--together", type=int, default=100, help="prompts that the other is asked too")
    arguments = parser.parse_args()
    others = {"the other": arguments.against.resolve()} if arguments.against else {}
    wrong = report(measured(arguments.prompts, roots={**HERE, **others}, together=arguments.together))
    print("\n".join(wrong) or "every bar is met")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
