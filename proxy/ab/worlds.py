"""The workload of the tool worlds: a user with wishes, tools over a state, and the calls that are right."""

from __future__ import annotations

import copy
import functools
from typing import Any

from corpora.conversations import Message
from corpora.loops import WORLDS
from corpora.questions import EXAM_SEED, held_out
from corpora.world.base import Call, error
from corpora.world.score import same
from corpora.world.script import Script, to_text, write_script
from proxy.ab.client import StreamedAnswer
from proxy.ab.judge import DeliveredCall, JudgedTurn
from proxy.ab.workload import DueRequest, WorkItem, Workload


def world_workload(seeds: int, turns: int, first_seed: int = 0, name: str = "worlds") -> Workload:
    """Loops of at least `turns` tool turns, one toolbox after the other; none that the bundled model's
    training has seen. name: of `corpora.loops.WORLDS`.
    """
    items, boxes = [], WORLDS[name]
    for seed in range(first_seed, first_seed + seeds):
        script = write_script(held_out(seed, EXAM_SEED + 4), boxes[seed % len(boxes)], turns)
        requests = script.tool_turns + len(script.tasks)
        items.append(WorkItem(f"seed {seed}", seed, requests, functools.partial(WorldDialogue, script)))
    told = "tool worlds" if name == "worlds" else name
    return Workload(f"{told}: {seeds} loops of {turns} tool turns", tuple(items))


class WorldDialogue:
    """Plays the user of a script and runs the calls. After a turn that is not right the task has failed: what
    the model called is run all the same, and the user goes on to the next wish.
    """

    independent = False

    def __init__(self, script: Script) -> None:
        self._script = script
        self._state = copy.deepcopy(script.start)
        self._messages: list[Message] = (
            [{"role": "system", "content": script.system}] if script.system else []
        )
        self._task = -1
        self._due: list[tuple[Call, ...]] = []
        self._tool_turn = 0
        self._done = 0

    def next(self) -> DueRequest | None:
        if not self._due and not self._next_task():
            return None
        due = self._due[0]
        self._tool_turn += bool(due)
        return DueRequest(tuple(self._messages), self._script.toolbox.tools, due, self._tool_turn)

    def _next_task(self) -> bool:
        self._task += 1
        if self._task >= len(self._script.tasks):
            return False
        task = self._script.tasks[self._task]
        self._messages.append({"role": "user", "content": task.text})
        self._due = [*(turn.calls for turn in task.turns), ()]
        return True

    def take(self, answer: StreamedAnswer, judged: JudgedTurn) -> None:
        self._messages.append(answer.message)
        self._messages += [
            {"role": "tool", "tool_call_id": call.id, "content": to_text(self._result(call))}
            for call in judged.calls
        ]
        if judged.exact:
            self._due.pop(0)
            self._done += not self._due
        else:
            self._tool_turn += max(0, sum(bool(calls) for calls in self._due[1:]))
            self._due = []

    def _result(self, call: DeliveredCall) -> Any:
        if call.flaw:
            return error(call.complaint)
        return self._script.toolbox.serve(self._state, call.name, call.value)

    def tasks(self) -> tuple[int, int]:
        return len(self._script.tasks), self._done

    @property
    def completed(self) -> bool:
        """Whether every task was done, and the world is as it should be."""
        return self._done == len(self._script.tasks) and same(self._state, self._script.end)
