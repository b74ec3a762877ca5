"""Fills what a server keeps of past answers and sessions, so that what grows afterwards is a leak.

Those stores have bounds (4,096 answers of the Responses API, a million tokens of prompts) that the agents of
the long run take hours to reach. The requests are the last turns of the same tool worlds, which have the
longest prompts, played right, each answered with one token.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Iterator

from proxy.ab.client import StreamedAnswer
from proxy.ab.judge import TurnJudge
from proxy.ab.workload import DueRequest
from proxy.codecs.openai_responses_store import MOST_RESPONSES
from tests.bench.long_run.agents import BROKE_OFF, FAILED, Tally, dialogue_of
from tests.bench.long_run.dialects import Sdks, TurnRequest, ask_responses
from tests.bench.long_run.fleet import ServerUnderTest

STORED = MOST_RESPONSES
_AT_ONCE = 4
_TURNS = 20  # of each loop, the last ones: 4,096 answers come with 0.8 million tokens of prompts
_FIRST_SEED = 10_000_000  # no agent plays these conversations
_HANG_S = 60.0


async def fill(server: ServerUnderTest, model: str, tally: Tally, count: int, until: float) -> None:
    """Asks for `count` answers, or until time.monotonic() is `until`, but for a few at least.

    tally: gets "filled", and "not filled: ..." for what failed.
    """
    sdks, numbers = Sdks(server.port), iter(range(count))

    async def play(conversations: Iterator[int]) -> None:
        for seed in conversations:
            for due in list(turns_played_right(_FIRST_SEED + seed))[-_TURNS:]:
                if next(numbers, None) is None:
                    return
                tally.note(server.name, await _ask(sdks, model, f"fill-{seed}", due))
                if time.monotonic() > until:
                    return

    try:
        async with asyncio.TaskGroup() as group:
            for first in range(_AT_ONCE):
                group.create_task(play(itertools.count(first, _AT_ONCE)))
    finally:
        await sdks.close()


async def _ask(sdks: Sdks, model: str, session: str, due: DueRequest) -> str:
    headers = {"x-session-id": session, "x-fortieth-guard": "off"}
    asked = TurnRequest(model, due.messages, due.tools, False, 1.0, max_tokens=1, headers=headers)
    try:
        async with asyncio.timeout(_HANG_S):
            await ask_responses(sdks, asked)
    except (*FAILED, *BROKE_OFF) as problem:
        return f"not filled: {type(problem).__name__}"
    return "filled"


def turns_played_right(seed: int) -> Iterator[DueRequest]:
    """The requests of one loop, as a model makes them that calls what is due."""
    dialogue = dialogue_of(seed)
    while (due := dialogue.next()) is not None:
        yield due
        calls = tuple(
            {
                "id": f"call_{seed}_{len(due.messages)}_{index}",
                "type": "function",
                "function": {"name": call.name, "arguments": json.dumps(call.arguments)},
            }
            for index, call in enumerate(due.due or ())
        )
        answer = StreamedAnswer("" if calls else "It is done.", calls, "tool_calls" if calls else "stop")
        judged = TurnJudge(due.tools).judge(answer.content, answer.calls, answer.finish, due.due)
        dialogue.take(answer, judged)
