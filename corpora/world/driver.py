"""Plays the user of a script over any OpenAI base_url, runs the calls on a live world, and keeps a record.

The model's own messages stay in its context, mistakes included, as in any agent. After a turn that is not
right the task has failed: what the model called is run all the same, and the user goes on to the next wish.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import httpx

from corpora.conversations import Message
from corpora.world.base import Call, State, error
from corpora.world.score import RIGHT, VALID, Emitted, Judge, Judgement, Kind, is_call_text, same
from corpora.world.script import Script, Task, to_text


@dataclass(frozen=True, slots=True)
class Asking:
    """How the model is asked. seed: sent where it is given; it only matters above temperature 0."""

    model: str = "default"
    temperature: float = 0.0
    max_tokens: int = 256
    seed: int | None = None

    def body(self, messages: list[Message], tools: tuple[Mapping[str, Any], ...]) -> dict[str, Any]:
        """The body of a chat completion request."""
        body: dict[str, Any] = {
            "model": self.model,
            "messages": messages,
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
        }
        if tools:  # an empty list is refused by some servers
            body["tools"] = list(tools)
        return body if self.seed is None else body | {"seed": self.seed}


GREEDY = Asking()


@dataclass(frozen=True, slots=True)
class Answer:
    """One assistant message. verdict, fixes: the guard's, from the headers; "" from another server."""

    message: Mapping[str, Any]
    finish: str
    prompt_tokens: int
    completion_tokens: int
    verdict: str = ""
    fixes: int = 0


class Ended(StrEnum):
    """Why a run ended.

    served: every task was asked.
    context: the conversation outgrew the model.
    failed: a request failed.
    """

    served = "served"
    context = "context"
    failed = "failed"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why the server gave no answer."""

    ended: Ended
    reason: str


@dataclass(frozen=True, slots=True)
class Step:
    """One assistant turn.

    task: its index in the script.
    turn: the script's number of the tool turn, from 1; for a turn that needs no call, that of the last one
        before it.
    ran: the results of the calls, as the model will see them.
    """

    task: int
    turn: int
    expected: tuple[Call, ...]
    kind: Kind
    flaw: str
    calls: tuple[Emitted, ...]
    ran: tuple[str, ...]
    answer: Answer

    @property
    def is_tool_turn(self) -> bool:
        return bool(self.expected)

    @property
    def is_call_text(self) -> bool:
        """Whether the turn ended like an answer, but in the text of a call: most agents stop here without
        notice.
        """
        said = self.answer.message
        text = str(said.get("content") or "")
        return not said.get("tool_calls") and self.answer.finish == "stop" and is_call_text(text)


@dataclass(frozen=True, slots=True)
class Run:
    """A whole run. state: of the toolbox in the end. reason: why the run ended early; "" if it did not."""

    script: Script
    steps: tuple[Step, ...]
    ended: Ended
    reason: str
    state: State

    @property
    def tool_steps(self) -> tuple[Step, ...]:
        return tuple(step for step in self.steps if step.is_tool_turn)

    @property
    def served(self) -> frozenset[int]:
        """The tasks of which every turn was asked and right, the closing words included."""
        wrong = {step.task for step in self.steps if step.kind not in RIGHT}
        asked = {
            index
            for index, task in enumerate(self.script.tasks)
            if sum(step.task == index for step in self.steps) == len(task.turns) + 1
        }
        return frozenset(asked - wrong)

    @property
    def completed(self) -> bool:
        """Whether every task was served and the world is as it should be."""
        return len(self.served) == len(self.script.tasks) and same(self.state, self.script.end)

    @property
    def survived(self) -> int:
        """Tool turns before the first one that was not schema-valid as emitted."""
        bad = (at for at, step in enumerate(self.tool_steps) if step.kind not in VALID)
        return next(bad, len(self.tool_steps))


Watch = Callable[[Task, Step], None]


async def play_script(
    client: httpx.AsyncClient, script: Script, asking: Asking = GREEDY, watch: Watch | None = None
) -> Run:
    """Play a whole script. client: its base_url is the API's, up to and with /v1. watch: told every turn."""
    return await _Player(client, script, asking, watch).play()


async def ask(
    client: httpx.AsyncClient,
    messages: list[Message],
    tools: tuple[Mapping[str, Any], ...],
    asking: Asking,
) -> Answer | Failure:
    """One request."""
    try:
        response = await client.post("/chat/completions", json=asking.body(messages, tools))
    except httpx.HTTPError as problem:
        return Failure(Ended.failed, f"{type(problem).__name__}: {problem}")
    if response.is_error:
        return _refusal(response)
    try:
        body = response.json()
        choice, usage = body["choices"][0], body.get("usage") or {}
        answer = Answer(
            dict(choice["message"]),
            str(choice.get("finish_reason")),
            int(usage.get("prompt_tokens") or 0),
            int(usage.get("completion_tokens") or 0),
            response.headers.get("x-fortieth-verdict", ""),
            int(response.headers.get("x-fortieth-fixes", 0)),
        )
    except (ValueError, LookupError, TypeError) as problem:
        return Failure(Ended.failed, f"not a chat completion: {problem!r}: {response.text[:200]}")
    if answer.finish == "length" and 0 < answer.completion_tokens < asking.max_tokens:
        return Failure(Ended.context, "the context was full in the middle of an answer")
    return answer


def _refusal(response: httpx.Response) -> Failure:
    """OpenAI's code for a prompt that is too long, or the words that other servers use for it."""
    too_long = "context_length_exceeded" in response.text or "context length" in response.text
    ended = Ended.context if response.status_code == 400 and too_long else Ended.failed
    return Failure(ended, f"HTTP {response.status_code}: {response.text[:200]}")


class _Player:
    def __init__(
        self, client: httpx.AsyncClient, script: Script, asking: Asking, watch: Watch | None
    ) -> None:
        self._client = client
        self._script = script
        self._asking = asking
        self._watch = watch
        self._judge = Judge(script.toolbox.tools)
        self._state = copy.deepcopy(script.start)
        self._steps: list[Step] = []
        self._messages: list[Message] = []
        if script.system:
            self._messages.append({"role": "system", "content": script.system})

    async def play(self) -> Run:
        number = 0
        for index, task in enumerate(self._script.tasks):
            failure = await self._serve(index, task, number)
            if failure is not None:
                return self._run(failure.ended, failure.reason)
            number += len(task.turns)
        return self._run(Ended.served, "")

    def _run(self, ended: Ended, reason: str) -> Run:
        return Run(self._script, tuple(self._steps), ended, reason, self._state)

    async def _serve(self, index: int, task: Task, number: int) -> Failure | None:
        """Ask for one task until it is done or has failed. number: the tool turns before it."""
        self._messages.append({"role": "user", "content": task.text})
        due = [turn.calls for turn in task.turns]
        for at, expected in enumerate([*due, ()], 1):
            outcome = await ask(self._client, self._messages, self._script.toolbox.tools, self._asking)
            if isinstance(outcome, Failure):
                return outcome
            step = self._take(index, number + min(at, len(due)), expected, outcome)
            self._steps.append(step)
            if self._watch is not None:
                self._watch(task, step)
            if step.kind not in RIGHT:
                break
        return None

    def _take(self, index: int, number: int, expected: tuple[Call, ...], answer: Answer) -> Step:
        """Judge an answer, run its calls, and add both to the conversation."""
        judged = self._judge.judge(expected, answer.message, answer.finish)
        refused = answer.verdict == "failed"
        if refused:  # what it hands over no client that validates would run
            judged = Judgement(Kind.refused, "refused by the guard", ())
        results = tuple(to_text(self._result(call)) for call in judged.calls)
        calls = None if refused else answer.message.get("tool_calls")
        message: Message = {"role": "assistant", "content": answer.message.get("content") or ""}
        self._messages.append(message | ({"tool_calls": calls} if calls else {}))
        self._messages += [
            {"role": "tool", "tool_call_id": call.id, "content": result}
            for call, result in zip(judged.calls, results, strict=True)
        ]
        return Step(index, number, expected, judged.kind, judged.flaw, judged.calls, results, answer)

    def _result(self, call: Emitted) -> Any:
        if call.flaw:
            return error(self._judge.complaint(call))
        return self._script.toolbox.serve(self._state, call.name, call.value)
